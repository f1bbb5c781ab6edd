"""Scenes side by side, over each other or not together at all."""

import numpy as np
import pytest
from affine import Affine

from infra.errors import UnusableInput
from tasks.raster.gdal import rasterio
from tasks.raster.grid import crop, whole
from tasks.raster.scene import describe_scene
from tasks.raster.union import unite

ORIGIN = Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)


@pytest.fixture
def make(tmp_path):
    """Write a scene whose first pixel lies at a row and column of a common pixel grid, and describe it."""
    made = []

    def write(pixels, row=0, col=0, *, names=None, transform=None, crs="EPSG:32636", nodata=0):
        pixels = np.asarray(pixels)
        path = tmp_path / f"{len(made)}.tif"
        made.append(path)
        place = transform or ORIGIN @ Affine.translation(col, row)
        with rasterio.open(
            path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
            dtype=pixels.dtype, crs=crs, transform=place, nodata=nodata,
        ) as target:  # fmt: skip
            target.write(pixels)
            target.descriptions = names or tuple(f"p{i}" for i in range(1, len(pixels) + 1))
        return describe_scene(path)

    return write


def random(seed, shape=(2, 40, 50), dtype="uint8"):
    return np.random.default_rng(seed).integers(1, 200, shape).astype(dtype)


def together(*scenes, bands=(), bounds=None, dtype=None):
    return unite(scenes, bands=bands, bounds=bounds, dtype=dtype)


def test_scenes_that_overlap_are_painted_in_order(make):
    """The oracle paints whole arrays."""
    one, two = random(1), random(2)
    one[:, 5:30, 30:45] = 0
    two[:, 0:20, 0:10] = 0
    union = together(make(one), make(two, 15, 25))
    canvas = np.zeros((2, 55, 75), np.uint8)
    for pixels, row, col in ((one, 0, 0), (two, 15, 25)):
        place = canvas[:, row : row + 40, col : col + 50]
        place[:] = np.where((pixels != 0).any(0), pixels, place)
    image, valid = union.read(whole(union.grid))
    assert union.grid.affine == ORIGIN
    np.testing.assert_array_equal(image, canvas)
    np.testing.assert_array_equal(valid, (canvas != 0).any(0))
    # Any window is a cut of the whole.
    for rows, cols in ((slice(10, 20), slice(20, 60)), (slice(50, 55), slice(0, 5)), (slice(0, 1), slice(74, 75))):
        part, there = union.read((rows, cols))
        np.testing.assert_array_equal(part, canvas[:, rows, cols])
        np.testing.assert_array_equal(there, valid[rows, cols])
    only, there = union.read_one(0, whole(union.grid))
    np.testing.assert_array_equal(only[:, :40, :50], one)
    assert not there[40:].any()


def test_the_order_of_neighbours_does_not_matter(make):
    left, right = random(3), random(4)
    one, two = make(left), make(right, 0, 50)
    expected = np.concatenate([left, right], axis=2)
    for scenes in ((one, two), (two, one)):
        union = together(*scenes)
        assert union.grid.affine == ORIGIN
        np.testing.assert_array_equal(union.read(whole(union.grid))[0], expected)


def test_bounds_cut_the_union(make):
    pixels = random(5)
    scene = make(pixels)
    rows, cols = slice(7, 21), slice(11, 50)
    part = crop(scene.grid, (rows, cols))
    union = together(scene, make(random(6), 0, 200), bounds=tuple(part.extent.boundingbox.bbox))
    assert union.grid == part
    np.testing.assert_array_equal(union.read(whole(union.grid))[0], pixels[:, rows, cols])
    with pytest.raises(UnusableInput, match="do not meet the scene"):
        together(scene, bounds=(0, 0, 1, 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transform": ORIGIN @ Affine.translation(0.3, 0)}, "does not lie on the pixel grid"),
        ({"transform": ORIGIN @ Affine.translation(50, 0) @ Affine.scale(2)}, "does not lie on the pixel grid"),
        # Off by 0.0005 of a pixel each, 0.025 at the far side.
        ({"transform": ORIGIN @ Affine.scale(1.0005)}, "does not lie on the pixel grid"),
        ({"transform": ORIGIN @ Affine.scale(1, -1)}, "does not lie on the pixel grid"),
        ({"crs": "EPSG:32637"}, "has another CRS"),
        ({"crs": None}, "has no CRS"),
    ],
)
def test_scenes_that_do_not_fit_are_refused(make, change, words):
    with pytest.raises(UnusableInput, match=words):
        together(make(random(1)), make(random(2), **change))


def test_a_little_rounding_of_the_transform_is_no_other_grid(make):
    union = together(make(random(1)), make(random(2), transform=ORIGIN @ Affine.translation(50.004, 0.003)))
    assert tuple(union.grid.shape) == (40, 100)


def test_bands_are_chosen_by_name_or_number_and_put_in_that_order(make):
    pixels = random(1, (3, 20, 20))
    scene = make(pixels, names=("red", "green", "blue"))
    for bands in (("blue", "red"), ("3", "1"), (" Blue", "1")):
        union = together(scene, bands=bands)
        assert union.names == ("blue", "red")
        np.testing.assert_array_equal(union.read(whole(union.grid))[0], pixels[[2, 0]])
    with pytest.raises(
        UnusableInput, match=r"no band 'nir'; choose of its bands, 1 red, 2 green, 3 blue, with --bands"
    ):
        together(scene, bands=("nir",))
    with pytest.raises(UnusableInput, match="no band '4'"):
        together(scene, bands=("4",))
    with pytest.raises(UnusableInput, match="name one twice"):
        together(scene, bands=("1", "red"))


def test_bands_of_another_order_are_matched_by_name(make):
    one, two = random(1, (3, 20, 20)), random(2, (3, 20, 20))
    union = together(make(one, names=("red", "green", "blue")), make(two, 0, 20, names=("blue", "green", "red")))
    np.testing.assert_array_equal(union.read(whole(union.grid))[0], np.concatenate([one, two[::-1]], axis=2))


@pytest.mark.parametrize("names", [("red", "green"), ("x", "y", "z")])
def test_other_bands_are_refused(make, names):
    first = make(random(1, (3, 20, 20)), names=("red", "green", "blue"))
    with pytest.raises(UnusableInput, match="has no band"):
        together(first, make(random(2, (len(names), 20, 20)), 0, 20, names=names))


def test_other_dtypes_need_a_choice_and_then_saturate(make):
    high = np.array([[[1, 254, 255, 256, 65535]]], np.uint16)
    low = np.array([[[1.4, 1.6, -3, 300, np.nan]], [[1, 1, 1, 1, 1]]], np.float32)
    one, two = make(high), make(low[:1], 1, 0, nodata=None)
    with pytest.raises(UnusableInput, match="types float32, uint16; choose one with --dtype"):
        together(one, two)
    union = together(one, two, dtype="uint8")
    image, valid = union.read(whole(union.grid))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[0], [[1, 254, 255, 255, 255], [1, 2, 0, 255, 0]])
    np.testing.assert_array_equal(valid[1], [True, True, True, True, False])


def test_float64_becomes_float32(make):
    pixels = random(1, dtype="float64") / 7
    union = together(make(pixels))
    assert union.dtype == "float32"
    np.testing.assert_array_equal(union.read(whole(union.grid))[0], pixels.astype(np.float32))
