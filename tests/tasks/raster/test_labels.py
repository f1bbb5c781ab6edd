"""Labels that were not written are ignored, and say where they come from."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster import grid as grids
from tasks.raster.labels import (
    are_labels,
    block_names,
    create_labels,
    open_label,
    open_labels,
    set_cube,
    write_labels,
)

GRID = GeoBox((300, 2200), Affine.identity(), None)
ABOUT = {
    "classes": ("other", "building"),
    "made_by": "vectors",
    "sources": ["00ff"],
    "from_truth": True,
    "pieces": False,
}
FIRST = (slice(0, 300), slice(0, 1536))


def write(path, window):
    """Write a block of random labels; returns them."""
    shape = tuple(s.stop - s.start for s in window)
    pixels = np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)
    instance = pixels.astype(np.uint32) * 4_000_000_000
    write_labels(path, window, label=pixels, instance=instance, confidence=pixels * 200)
    return pixels


def test_labels_keep_pixels_and_origin_and_ignore_the_rest(tmp_path):
    path = tmp_path / "labels.zarr"
    create_labels(path, GRID, **ABOUT)
    pixels = write(path, FIRST)

    label = open_label(path)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label[:, :1536], pixels)
    assert (label[:, 1536:] == 255).all()
    found = open_labels(path)
    np.testing.assert_array_equal(found["instance"][:, :1536], pixels * np.uint32(4_000_000_000))
    assert (found["instance"][:, 1536:] == 0).all()
    np.testing.assert_array_equal(found["confidence"][:, :1536], pixels * 200)
    assert (found["confidence"][:, 1536:] == 255).all()
    about = dict(found.attrs)
    assert grids.from_json(about.pop("grid")) == GRID
    assert about == ABOUT | {"classes": ["other", "building"], "cube": "", "known": ["building"], "rest": "other"}, (
        "labels begin as those of no cube"
    )
    set_cube(path, "c0be")
    assert open_labels(path).attrs["cube"] == "c0be"


def test_labels_of_a_request_are_known_by_all_that_they_say_of_themselves(tmp_path):
    path = tmp_path / "labels.zarr"
    assert not are_labels(path, GRID, **ABOUT)
    create_labels(path, GRID, **ABOUT)
    assert are_labels(path, GRID, **ABOUT)
    set_cube(path, "c0be")
    assert are_labels(path, GRID, **ABOUT), "whether they are finished does not matter"
    assert not are_labels(path, GeoBox((300, 2201), Affine.identity(), None), **ABOUT)
    for other in (
        {"classes": ("other", "road")}, {"made_by": "truth"}, {"sources": ["00fe"]}, {"from_truth": False}
    ):  # fmt: skip
        assert not are_labels(path, GRID, **ABOUT | other)


def test_a_block_is_the_files_that_are_said_to_hold_it(tmp_path):
    """The oracle is what zarr writes."""
    path = tmp_path / "labels.zarr"
    create_labels(path, GRID, **ABOUT)
    seen = {"x/c/0", "y/c/0"}  # where columns and rows lie
    for window in (FIRST, (slice(0, 300), slice(1536, 2200))):
        write(path, window)
        now = {str(p.relative_to(path)) for p in path.glob("*/c/**/*") if p.is_file()}
        assert set(block_names(window)) == now - seen
        assert len(now - seen) == 3
        seen = now


def test_missing_labels_name_the_command(tmp_path):
    with pytest.raises(UnusableInput, match=r"There is no .*labels\.zarr; .*'geoloom label'"):
        open_label(tmp_path / "labels.zarr")
