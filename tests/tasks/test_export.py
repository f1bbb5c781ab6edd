"""The cube as GeoTIFF holds every pixel, the mask and the place."""

import json
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rio_cogeo.cogeo import cog_validate

from flows import steps
from infra.progress import Silent
from tasks.raster.gdal import rasterio


def test_the_scene_comes_out_as_it_went_in(ingested, scene, pixels):
    path = steps.export_cog(ingested, progress=Silent()).place
    assert cog_validate(path, strict=True)[:2] == (True, [])
    image, valid = pixels
    with rasterio.open(path) as product, rasterio.open(scene) as source:
        assert (product.crs, product.transform, product.shape) == (source.crs, source.transform, source.shape)
        assert product.descriptions == ("red", "green", "blue")
        np.testing.assert_array_equal(product.dataset_mask() > 0, valid)
        np.testing.assert_array_equal(product.read()[:, valid], np.maximum(image, 1)[:, valid])
        assert product.overviews(1)[0] == 2


def test_the_scene_says_whose_it_is_and_is_in_the_item(predicted, tmp_path):
    workspace = Path(predicted)
    document = json.loads((workspace / "workspace.json").read_text())
    document["sources"][0] |= {"attribution": "(c) Somebody", "date": "2024-05-06T07:08:09Z"}
    (workspace / "workspace.json").write_text(json.dumps(document))
    steps.mosaic(predicted, progress=Silent())
    with rasterio.open(steps.export_cog(predicted, progress=Silent()).place) as product:
        tags = product.tags()
    assert tags["TIFFTAG_COPYRIGHT"] == "(c) Somebody"
    assert tags["TIFFTAG_DATETIME"] == "2024:05:06 07:08:09"
    item = json.loads((workspace / "products/item.json").read_text())
    assert [band["name"] for band in item["assets"]["scene.tif"]["bands"]] == ["red", "green", "blue"]


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_every_pixel_type_and_number_of_bands(tmp_path, engine, dtype):
    rng = np.random.default_rng(0)
    image = (rng.normal(size=(5, 600, 700)) * 300).clip(0 if dtype == "uint16" else -3e4, 3e4).astype(dtype)
    place = {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 7, 0, -1e-5, 50)}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=600, width=700, count=5, dtype=dtype,
                       **place) as target:  # fmt: skip
        target.write(image)
    path = steps.export_cog(engine.ingest(tmp_path / "a.tif", tmp_path / "ws"), progress=Silent()).place
    with rasterio.open(path) as product:
        assert product.dtypes == (dtype,) * 5
        np.testing.assert_array_equal(product.read(), image)
        assert product.transform == place["transform"]
