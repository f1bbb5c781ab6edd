"""xarray and rioxarray see the stored arrays where their pixels lie."""

from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray
from affine import Affine

from flows import steps
from infra.progress import Silent
from infra.store import open_store
from tasks.raster.cube import open_cube
from tasks.raster.gdal import rasterio

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rioxarray's use of affine 3


def test_a_cube_lies_where_its_scene_lies(ingested, scene):
    with xarray.open_zarr(Path(ingested) / "cube.zarr") as data, rasterio.open(scene) as source:
        image = data["image"]
        assert image.dims == ("band", "y", "x")
        assert data.rio.crs == source.crs
        assert data.rio.transform() == source.transform
        assert data.rio.bounds() == tuple(source.bounds)
        x, y = source.xy(700, 300)
        here = image.sel(x=x, y=y, method="nearest")
        np.testing.assert_array_equal(here, source.read(window=((700, 701), (300, 301)))[:, 0, 0])
        part = data["valid"].rio.clip_box(*source.window_bounds(((900, 1300), (800, 1200))))
        assert not part.values[1:-1, 1:-1].any()


def test_one_request_tells_all_metadata_and_an_older_copy_fools_nobody(ingested, engine, scene, pixels, tmp_path):
    with xarray.open_zarr(Path(ingested) / "cube.zarr", consolidated=True) as data:
        before = data["image"].attrs["fingerprint"]
    assert before == open_cube(open_store(ingested).zarr("cube.zarr")).fingerprint
    image, valid = pixels
    engine.write_scene(tmp_path / "other.tif", image[:, ::-1], valid)
    workspace = engine.ingest(tmp_path / "other.tif", ingested)
    with xarray.open_zarr(Path(workspace) / "cube.zarr", consolidated=True) as data:
        assert data["image"].attrs["fingerprint"] != before


def test_a_prediction_is_read_as_shares(predicted):
    steps.mosaic(predicted, progress=Silent())
    with (
        xarray.open_zarr(Path(predicted) / "probability.zarr") as data,
        rasterio.open(Path(predicted) / "products/probability.tif") as source,
    ):
        shares = data["probability"].values
        stored = source.read(masked=True)
        assert data.rio.transform() == source.transform
    np.testing.assert_array_equal(np.isnan(shares), stored.mask)
    assert np.nanmax(np.abs(shares - stored.filled(0) / 254)[~stored.mask]) < 1e-6
    assert np.nansum(shares, axis=0)[~stored.mask[0]] == pytest.approx(1)


def test_a_turned_grid_has_a_transform_and_no_axes(tmp_path, engine):
    turned = Affine.translation(4e5, 5e6) @ Affine.rotation(20) @ Affine.scale(2, -2)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=90, width=80, count=3, dtype="uint8",
                       crs="EPSG:32633", transform=turned) as target:  # fmt: skip
        target.write(np.full((3, 90, 80), 9, np.uint8))
    with xarray.open_zarr(Path(engine.ingest(tmp_path / "a.tif", tmp_path / "ws")) / "cube.zarr") as data:
        assert "x" not in data.coords
        assert tuple(data.rio.transform()) == pytest.approx(tuple(turned))
