"""Labels that were not written are ignored, and say where they come from."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster import grid as grids
from tasks.raster.labels import create_labels, open_label, open_labels

GRID = GeoBox((300, 2200), Affine.identity(), None)


def test_labels_keep_pixels_and_origin_and_ignore_the_rest(tmp_path):
    path = tmp_path / "labels.zarr"
    group = create_labels(
        path, GRID, classes=("other", "building"), made_by="vectors", sources=["00ff"], from_truth=True, cube="c0be"
    )
    pixels = np.random.default_rng(0).integers(0, 2, (300, 2048), dtype=np.uint8)
    group["label"][:, :2048] = pixels
    group["instance"][:, :2048] = pixels.astype(np.uint32) * 4_000_000_000

    label = open_label(path)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label[:, :2048], pixels)
    assert (label[:, 2048:] == 255).all()
    found = open_labels(path)
    assert found["instance"][0:300, 0:2200].max() == 4_000_000_000
    assert (found["instance"][:, 2048:] == 0).all()
    assert (found["confidence"][:] == 255).all()
    about = dict(found.attrs)
    assert grids.from_json(about.pop("grid")) == GRID
    assert about == {
        "classes": ["other", "building"], "made_by": "vectors", "sources": ["00ff"], "from_truth": True, "cube": "c0be"
    }  # fmt: skip


def test_missing_labels_name_the_command(tmp_path):
    with pytest.raises(UnusableInput, match=r"There is no labels\.zarr in .*'geoloom label'"):
        open_label(tmp_path / "labels.zarr")
