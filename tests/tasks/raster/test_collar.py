"""A frame without data is noticed, and nothing else is."""

import numpy as np
import pytest

from tasks.raster.collar import find_collar
from tasks.raster.gdal import rasterio
from tasks.raster.scene import describe_scene, read_scene


def write(path, pixels, **profile):
    with rasterio.open(
        path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
        dtype=pixels.dtype, **profile,
    ) as target:  # fmt: skip
        target.write(pixels)
    return path


def picture(dtype="uint8"):
    return np.random.default_rng(0).integers(1, 250, (3, 200, 300)).astype(dtype)


def cornered(value, dtype="uint8"):
    """A picture whose corner is cut off, as warping does."""
    pixels = picture(dtype)
    rows, cols = np.mgrid[0:200, 0:300]
    pixels[:, rows + cols < 120] = value
    return pixels


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0, "uint8"),
        (255, "uint8"),
        (65535, "uint16"),
        (0, "int16"),
        (-9999, "int16"),
        (0, "float32"),
        (-9999, "float32"),
    ],
)
def test_a_collar_is_found(tmp_path, value, dtype, tiled):
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64} if tiled else {}
    path = write(tmp_path / "a.tif", cornered(value, dtype), **layout)
    collar = find_collar(describe_scene(path))
    assert collar.value == value
    assert 0.1 < collar.share < 0.5
    scene = describe_scene(path, nodata=value)
    _, valid = read_scene(scene, (slice(0, 200), slice(0, 300)), bands=scene.bands)
    rows, cols = np.mgrid[0:200, 0:300]
    np.testing.assert_array_equal(valid, rows + cols >= 120)
    assert find_collar(scene) is None


def test_pictures_without_one_and_scenes_that_say_what_is_no_data_have_none(tmp_path):
    assert find_collar(describe_scene(write(tmp_path / "a.tif", picture()))) is None
    assert find_collar(describe_scene(write(tmp_path / "b.tif", cornered(0), nodata=0))) is None
    hole = picture()
    hole[:, 50:150, 50:250] = 255
    assert find_collar(describe_scene(write(tmp_path / "c.tif", hole))) is None


def test_what_a_file_says_itself_counts_more_than_what_is_given(tmp_path):
    assert describe_scene(write(tmp_path / "a.tif", cornered(0), nodata=0), nodata=7).nodata == 0


@pytest.mark.parametrize("tiled", [False, True])
def test_one_without_a_corner_is_found(tmp_path, tiled):
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64} if tiled else {}
    pixels = picture()
    pixels[:, :40, 90:210] = 255  # of the upper side two fifths, of all a tenth and more
    collar = find_collar(describe_scene(write(tmp_path / "a.tif", pixels, **layout)))
    assert collar.value == 255
    assert 0.1 < collar.share < 0.3
