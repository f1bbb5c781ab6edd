"""Pictures show the scene: shrunk by means, stretched by percentiles, nodata in grey."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.cube import BandStatistics, count_cells, create_cube, finish_cube, open_cube, write_block
from tasks.raster.grid import whole
from tasks.raster.picture import EMPTY, class_picture, draw_panels, rgb_bands, scene_picture, to_rgb


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("red", "green", "blue"), (0, 1, 2)),
        (("blue", "green", "red", "nir"), (2, 1, 0)),
        (("b1", "b2", "b3", "b4"), (0, 1, 2)),
        (("red", "nir"), (0, 0, 0)),
        (("gray",), (0, 0, 0)),
    ],
)
def test_the_bands_of_a_picture(names, expected):
    assert rgb_bands(names) == expected


def test_bytes_are_shown_as_they_are_and_others_stretched():
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    statistics = [BandStatistics(0, 0, 0, 0, 0, 0)] * 3
    np.testing.assert_array_equal(to_rgb(image, statistics), image.transpose(1, 2, 0))

    values = np.array([-5.0, 100.0, 150.0, 200.0, 900.0, np.nan], np.float32)
    wide = BandStatistics(0, 0, 0, 0, low=100, high=200)
    flat = BandStatistics(0, 0, 0, 0, low=7, high=7)
    found = to_rgb(np.stack([values, values * 2, values])[:, None], [wide, BandStatistics(0, 0, 0, 0, 200, 400), flat])
    assert found.dtype == np.uint8
    assert found[0, :, 0].tolist() == found[0, :, 1].tolist() == [0, 0, 128, 255, 255, 0]
    assert set(found[0, :, 2].tolist()) <= {0, 255}


def make_cube(path, image, valid):
    grid = GeoBox(valid.shape, Affine.identity(), None)
    create_cube(path, grid, bands=("red", "green", "blue"), dtype="uint8", scenes=[])
    write_block(path, whole(grid), image=image, valid=valid)
    statistics = (BandStatistics(0, 255, 0, 0, 0, 255),) * 3
    finish_cube(path, statistics=statistics, blocks=[(whole(grid), count_cells(image, valid))])
    return open_cube(path)


@pytest.mark.parametrize(
    ("shape", "side"), [((300, 500), 100), ((501, 300), 200), ((90, 80), 100), ((4, 900), 90), ((700, 650), 50)]
)
def test_a_scene_is_shrunk_by_the_mean_of_whole_squares(tmp_path, shape, side):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (3, *shape), dtype=np.uint8)
    valid = rng.random(shape) > 0.1
    found = scene_picture(make_cube(tmp_path / "c.zarr", image, valid), whole(GeoBox(shape, Affine.identity(), None)),
                          side=side)  # fmt: skip
    coloured = np.where(valid[..., None], image.transpose(1, 2, 0), np.array(EMPTY, np.uint8))
    factor = -(-max(shape) // side)
    tall, wide = min(factor, shape[0]), min(factor, shape[1])
    small = (shape[0] // tall, shape[1] // wide)
    cut = coloured[: small[0] * tall, : small[1] * wide]
    every = [range(n)[-(-n // 4) // 2 :: -(-n // 4)] for n in (tall, wide)]  # of large squares, some rows and columns
    squares = cut.reshape(small[0], tall, small[1], wide, 3)[:, every[0]][:, :, :, every[1]]
    expected = squares.mean(axis=(1, 3)).round()
    assert found.shape == (*small, 3)
    assert max(found.shape) <= side
    np.testing.assert_array_equal(found, expected)


def test_a_large_class_raster_is_read_in_parts_within_its_window():
    label = np.random.default_rng(2).integers(0, 6, (2500, 2600), dtype=np.uint8)
    label[100:200] = 255
    window = (slice(50, 2450), slice(10, 2590))
    seen = []

    def read(part):
        seen.append(part)
        return label[part]

    found = class_picture(read, window, classes=DEFAULT_CLASSES, side=900)
    palette = DEFAULT_CLASSES.palette()
    palette[255] = EMPTY
    expected = palette[label[window]].reshape(800, 3, 860, 3, 3).mean(axis=(1, 3)).round()
    np.testing.assert_array_equal(found, expected)
    assert len(seen) == 4
    assert max(r.stop - r.start for r, _ in seen) <= 2048


def test_panels_are_the_same_png_each_time(tmp_path):
    from PIL import Image

    left, right = (np.random.default_rng(s).integers(0, 256, (60, 80, 3), dtype=np.uint8) for s in (0, 1))
    for name in ("a.png", "b.png"):
        draw_panels(tmp_path / name, [("scene", left), ("map", right)], DEFAULT_CLASSES)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1.5 * picture.height
        colours = {c for _, c in picture.convert("RGB").getcolors(10**6)}
    assert {c.colour for c in DEFAULT_CLASSES.classes} <= colours  # the legend
