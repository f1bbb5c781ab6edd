"""What overlapping scenes become: the oracles work on whole arrays."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from scipy import ndimage

from tasks.raster.gdal import rasterio
from tasks.raster.grid import whole, windows
from tasks.raster.merge import FADE
from tasks.raster.scene import describe_scene
from tasks.raster.scene_order import by_data, by_date, valid_share
from tasks.raster.union import unite

ORIGIN = Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)
SIDE = 300
CORNERS = ((0, 0), (120, 90), (40, 200))


@pytest.fixture
def scenes(tmp_path):
    """Three that overlap, with holes; the middle one is the oldest."""
    made = []
    for n, (row, col) in enumerate(CORNERS):
        pixels = np.random.default_rng(n).integers(1, 255, (2, SIDE, SIDE)).astype(np.uint8)
        pixels[:, 100:130, 40 * n : 40 * n + 90] = 0
        path = tmp_path / f"{n}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=2, height=SIDE, width=SIDE, dtype="uint8", crs="EPSG:32636",
            transform=ORIGIN @ Affine.translation(col, row), nodata=0,
        ) as target:  # fmt: skip
            target.write(pixels)
            target.update_tags(TIFFTAG_DATETIME=f"{2020 + (n + 1) % 3}:06:01 10:00:00")
        made.append(describe_scene(path))
    return tuple(made)


def spread(scenes):
    """All on one canvas: (scene, band, y, x), and what is data."""
    shape = tuple(SIDE + max(c[axis] for c in CORNERS) for axis in (0, 1))
    stack, data = np.zeros((3, 2, *shape), np.uint8), np.zeros((3, *shape), bool)
    for n, (scene, (row, col)) in enumerate(zip(scenes, CORNERS, strict=True)):
        with rasterio.open(scene.path) as source:
            pixels = source.read()
        stack[n, :, row : row + SIDE, col : col + SIDE] = pixels
        data[n, row : row + SIDE, col : col + SIDE] = (pixels != 0).any(0)
    return stack, data


def median(stack, data):
    masked = np.ma.masked_array(stack, np.broadcast_to(~data[:, None], stack.shape))
    return np.rint(np.ma.median(masked, axis=0).filled(0))


def feathered(stack, data):
    far = np.stack([np.minimum(ndimage.distance_transform_edt(np.pad(d, 1))[1:-1, 1:-1], FADE) for d in data])
    return np.rint((far[:, None] * stack).sum(0) / np.maximum(far.sum(0), 1e-9))


@pytest.mark.parametrize(("merge", "oracle"), [("median", median), ("feather", feathered)])
def test_scenes_are_merged_as_whole_arrays_would_be_and_alike_in_any_blocks(scenes, merge, oracle):
    union = unite(scenes, bands=(), bounds=None, dtype=None, merge=merge)
    stack, data = spread(scenes)
    image, valid = union.read(whole(union.grid))
    np.testing.assert_array_equal(valid, data.any(0))
    np.testing.assert_array_equal(image, np.where(valid, oracle(stack, data), 0))
    for window in windows(tuple(union.grid.shape), 97):
        part, there = union.read(window)
        np.testing.assert_array_equal(part, image[:, window[0], window[1]])
        np.testing.assert_array_equal(there, valid[window])


def test_a_fade_has_no_step_where_a_scene_ends(tmp_path, scenes):
    """Two flat scenes: from one to the other in small steps, where one lies over the other in one large one."""
    flat = []
    for n, (value, col) in enumerate(((60, 0), (180, 150))):
        path = tmp_path / f"flat{n}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=1, height=SIDE, width=SIDE, dtype="uint8", crs="EPSG:32636",
            transform=ORIGIN @ Affine.translation(col, 0), nodata=0,
        ) as target:  # fmt: skip
            target.write(np.full((1, SIDE, SIDE), value, np.uint8))
        flat.append(describe_scene(path))
    steps = {}
    for merge in ("over", "feather"):
        image, _ = unite(tuple(flat), bands=(), bounds=None, dtype=None, merge=merge).read(
            (slice(100, 200), slice(0, 450))
        )
        steps[merge] = np.abs(np.diff(image[0].astype(int), axis=1)).max()
    assert steps == {"over": 120, "feather": 2}


def test_only_scenes_that_reach_a_window_are_seen_in_it(scenes):
    union = unite(scenes, bands=(), bounds=None, dtype=None)
    assert union.seen_in((slice(0, 20), slice(0, 20))) == (0,)
    assert union.seen_in((slice(200, 210), slice(200, 210))) == (0, 1, 2)
    faded = replace(union, merge="feather")
    assert faded.seen_in((slice(0, 20), slice(0, 20))) == (0,)
    assert faded.seen_in((slice(60, 90), slice(60, 80))) == (0, 1)


def test_by_date_the_newest_lies_on_top(scenes):
    assert [s.date[:4] for s in scenes] == ["2021", "2022", "2020"]
    assert by_date(scenes) == (scenes[2], scenes[0], scenes[1])


def test_by_data_the_fullest_lies_on_top(tmp_path, scenes):
    path = tmp_path / "thin.tif"
    with rasterio.open(scenes[0].path) as source:
        pixels, profile = source.read(), source.profile
    pixels[:, 60:] = 0
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)
    thin = describe_scene(path)
    assert valid_share(thin) == pytest.approx(0.2)
    assert by_data((scenes[2], thin, scenes[0])) == (thin, scenes[2], scenes[0])
