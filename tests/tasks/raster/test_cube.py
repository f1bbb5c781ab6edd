"""The cube gives back what was written, or nothing at all."""

import numpy as np
import pytest
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.cube import BandStatistics, create_cube, finish_cube, open_cube, write_block
from tasks.raster.grid import whole, windows
from tasks.raster.zarrays import open_group

SHAPE = (700, 2300)
GRID = GeoBox(SHAPE, Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), "EPSG:32636")


@pytest.fixture
def made(tmp_path):
    """A cube of two shards across, its pixels and its holes."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 60_000, (2, *SHAPE), dtype=np.uint16)
    valid = rng.random(SHAPE) > 0.2
    path = tmp_path / "cube.zarr"
    create_cube(path, GRID, bands=("red", "nir"), dtype="uint16", scenes=["a.tif"])
    for window in windows(SHAPE, 2048):
        write_block(path, window, image=image[:, *window], valid=valid[window])
    return path, image, valid


def test_what_was_written_is_read_back_by_any_window_and_band(made):
    path, image, valid = made
    cube = open_cube(path)
    assert cube.grid == GRID
    assert cube.bands == ("red", "nir")
    assert cube.dtype == np.uint16
    for window in (whole(GRID), (slice(3, 5), slice(2000, 2300)), (slice(699, 700), slice(0, 1))):
        pixels, there = cube.read(window)
        np.testing.assert_array_equal(pixels, image[:, *window])
        np.testing.assert_array_equal(there, valid[window])
    pixels, _ = cube.read((slice(0, 9), slice(0, 9)), bands=(1, 0, 1))
    np.testing.assert_array_equal(pixels, image[[1, 0, 1], :9, :9])


def test_dask_sees_the_same_pixels_a_chunk_a_shard(made):
    path, image, valid = made
    lazy, there = open_cube(path).dask()
    assert lazy.chunks == ((1, 1), (700,), (2048, 252))
    np.testing.assert_array_equal(lazy[:, 100:130, 2040:2060].compute(scheduler="sync"), image[:, 100:130, 2040:2060])
    assert int(there.sum().compute(scheduler="sync")) == valid.sum()


def test_the_record_of_the_ingest_is_kept(made):
    path, _, _ = made
    statistics = (BandStatistics(1, 2, 1.5, 0.25, 1.1, 1.9), BandStatistics(0, 0, 0, 0, 0, 0))
    finish_cube(path, statistics=statistics, fingerprint="abc")
    assert open_cube(path).statistics == statistics
    assert open_cube(path).fingerprint == "abc"


def test_a_pixel_that_was_never_written_is_invalid(tmp_path):
    path = tmp_path / "cube.zarr"
    create_cube(path, GRID, bands=("red",), dtype="uint8", scenes=[])
    window = (slice(0, 700), slice(2048, 2300))
    write_block(path, window, image=np.full((1, 700, 252), 9, np.uint8), valid=np.ones((700, 252), bool))
    _, valid = open_cube(path).read(whole(GRID))
    assert not valid[:, :2048].any()
    assert valid[:, 2048:].all()


def test_a_missing_shard_reads_as_invalid(made):
    path, _, valid = made
    (path / "valid" / "c" / "0" / "0").unlink()
    _, there = open_cube(path).read(whole(GRID))
    assert not there[:, :2048].any()
    np.testing.assert_array_equal(there[:, 2048:], valid[:, 2048:])


def test_a_flipped_bit_raises_and_never_passes_for_pixels(made):
    """Bits all over a shard, its index included."""
    path, image, _ = made
    shard = path / "image" / "c" / "1" / "0" / "1"
    content = shard.read_bytes()
    window = (slice(0, 700), slice(2048, 2300))
    raised = 0
    places = [0, *np.random.default_rng(1).integers(0, len(content), 30), *range(len(content) - 40, len(content), 7)]
    for place in places:
        broken = bytearray(content)
        broken[place] ^= 1 << (place % 8)
        shard.write_bytes(broken)
        try:
            pixels, _ = open_cube(path).read(window, bands=(1,))
        except Exception:  # noqa: BLE001
            raised += 1
        else:
            np.testing.assert_array_equal(pixels[0], image[1][window])
    assert raised > len(places) * 0.9
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(Exception):  # noqa: B017, PT011
        open_cube(path).read(window, bands=(1,))


def test_gis_readers_find_the_grid(made):
    """CF's grid mapping, as rioxarray and GDAL read it."""
    group = zarr.open_group(made[0], mode="r")
    for name, axes in (("image", ("band", "y", "x")), ("valid", ("y", "x"))):
        assert group[name].metadata.dimension_names == axes
        mapping = group[group[name].attrs["grid_mapping"]].attrs
        assert Affine.from_gdal(*map(float, mapping["GeoTransform"].split())) == GRID.affine
        assert mapping["crs_wkt"] == mapping["spatial_ref"] == GRID.crs.wkt


def test_a_grid_without_crs_says_none(tmp_path):
    grid = GeoBox((10, 10), Affine.identity(), None)
    create_cube(tmp_path / "cube.zarr", grid, bands=("a",), dtype="float32", scenes=[])
    assert open_cube(tmp_path / "cube.zarr").grid == grid
    assert "crs_wkt" not in zarr.open_group(tmp_path / "cube.zarr")["spatial_ref"].attrs


def test_what_is_no_cube_is_refused_and_names_the_command(tmp_path):
    with pytest.raises(UnusableInput, match=r"There is no cube\.zarr in .*; make it with 'geoloom ingest'\."):
        open_cube(tmp_path / "cube.zarr")
    (tmp_path / "cube.zarr").mkdir()
    with pytest.raises(UnusableInput, match="not a Zarr group that geoloom wrote"):
        open_cube(tmp_path / "cube.zarr")
    (tmp_path / "cube.zarr" / "zarr.json").write_text("{broken")
    with pytest.raises(UnusableInput, match="not a Zarr group that geoloom wrote"):
        open_group(tmp_path / "cube.zarr", made_by="ingest")
