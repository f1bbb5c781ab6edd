"""The cube gives back what was written, or nothing at all."""

import numpy as np
import pytest
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.cube import (
    BandStatistics,
    DamagedCube,
    block_names,
    cells_of,
    count_cells,
    create_cube,
    finish_cube,
    is_cube,
    open_cube,
    window_of_cells,
    write_block,
)
from tasks.raster.digest import digest_pair
from tasks.raster.grid import whole, windows
from tasks.raster.zarrays import open_group, shard_names

SHAPE = (700, 2300)
GRID = GeoBox(SHAPE, Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), "EPSG:32636")
STATISTICS = (BandStatistics(1, 2, 1.5, 0.25, 1.1, 1.9), BandStatistics(0, 0, 0, 0, 0, 0))
BLOCKS = list(windows(SHAPE, 2048))


def fill(path, image, valid):
    """Make a cube of an image and its holes; what the finished ingest calls its pixels."""
    create_cube(path, GRID, bands=("red", "nir"), dtype=str(image.dtype), scenes=["a.tif"])
    for window in BLOCKS:
        write_block(path, window, image=image[:, *window], valid=valid[window])
    cells = [(window, count_cells(image[:, *window], valid[window])) for window in BLOCKS]
    return finish_cube(path, statistics=STATISTICS, blocks=cells)


@pytest.fixture(scope="module")
def pixels():
    """Image (2, y, x) and valid (y, x): holes all over, and nothing in one cell."""
    rng = np.random.default_rng(0)
    valid = rng.random(SHAPE) > 0.2
    valid[:512, 512:1024] = False
    return rng.integers(1, 60_000, (2, *SHAPE), dtype=np.uint16), valid


@pytest.fixture
def made(pixels, tmp_path):
    """A cube of two shards across, its pixels and its holes."""
    path = tmp_path / "cube.zarr"
    fill(path, *pixels)
    return path, *pixels


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


def test_the_record_of_the_ingest_is_kept(made):
    cube = open_cube(made[0])
    assert cube.statistics == STATISTICS
    assert len(cube.fingerprint) == 32
    assert int(cube.fingerprint, 16) > 0


def test_the_fingerprint_is_of_the_pixels_and_of_their_holes(pixels, tmp_path):
    image, valid = pixels
    prints = [fill(tmp_path / f"{n}.zarr", image, valid) for n in range(2)]
    other, holes = image.copy(), valid.copy()
    other[1, 650, 2299] ^= 1
    holes[300, 600] = True
    prints += [fill(tmp_path / "other.zarr", other, valid), fill(tmp_path / "holes.zarr", image, holes)]
    assert prints[0] == prints[1] == open_cube(tmp_path / "0.zarr").fingerprint
    assert len(set(prints)) == 3


def test_every_cell_is_counted_and_digested(made):
    """The oracle walks over the cells of the whole image, edges cut short."""
    path, image, valid = made
    cube = open_cube(path)
    assert cube.digests.shape == (3, 2, 5, 2)
    assert cube.counts.shape == (2, 5)
    for row in range(2):
        for col in range(5):
            place = np.s_[row * 512 : (row + 1) * 512, col * 512 : (col + 1) * 512]
            assert cube.counts[row, col] == valid[place].sum()
            for n, plane in enumerate((*image, valid)):
                assert tuple(cube.digests[n, row, col]) == digest_pair(plane[place])
    assert cube.counts[0, 1] == 0


def test_where_no_cell_holds_data_is_known_without_reading(made):
    cube = open_cube(made[0])
    assert not cube.may_hold_data((slice(0, 512), slice(512, 1024)))
    assert not cube.may_hold_data((slice(511, 512), slice(700, 701)))
    assert cube.may_hold_data((slice(0, 513), slice(512, 1024)))
    assert cube.may_hold_data((slice(0, 512), slice(511, 1024)))


@pytest.mark.parametrize(
    ("window", "around"),
    [
        ((slice(0, 1), slice(0, 1)), (slice(0, 512), slice(0, 512))),
        ((slice(0, 512), slice(512, 1024)), (slice(0, 512), slice(512, 1024))),
        ((slice(511, 513), slice(1023, 1025)), (slice(0, 700), slice(512, 1536))),
        ((slice(600, 700), slice(2250, 2300)), (slice(512, 700), slice(2048, 2300))),
    ],
)
def test_what_is_proved_is_whole_cells_cut_at_the_edge(made, window, around):
    path, image, valid = made
    cube = open_cube(path)
    assert window_of_cells(cells_of(window), SHAPE) == around
    for bands in ((0, 1), (1,), ()):
        found, pixels, there = cube.read_proved(window, bands=bands)
        assert found == around
        np.testing.assert_array_equal(pixels, image[list(bands)][:, *around])
        np.testing.assert_array_equal(there, valid[around])


DAMAGES = {
    "deleted": lambda _: None,
    "emptied": lambda _: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:1000] + bytes([content[1000] ^ 16]) + content[1001:],
    "without its index": lambda content: content[:-20] + bytes(20),
}


@pytest.mark.parametrize("plane", ["image/c/1/0/1", "valid/c/0/1"])
@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_named_by_its_cell(made, how, plane):
    path, image, _ = made
    shard = path / plane
    content = DAMAGES[how](shard.read_bytes())
    if content is None:
        shard.unlink()
    else:
        shard.write_bytes(content)
    cube = open_cube(path)
    with pytest.raises(DamagedCube, match=r"cube\.zarr is damaged in rows (0 to 512|512 to 1024)") as raised:
        cube.read_proved(whole(GRID), bands=(0, 1))
    row, col = raised.value.cell
    assert row in (0, 1)
    assert col == 4, "the second shard is one cell wide"
    assert f"columns {col * 512} to {(col + 1) * 512}; run 'geoloom ingest'" in str(raised.value)
    assert isinstance(raised.value, UnusableInput)
    # What does not touch the damage is read as ever.
    around, pixels, _ = cube.read_proved((slice(0, 700), slice(0, 2048)), bands=(0, 1))
    np.testing.assert_array_equal(pixels, image[:, *around])
    if plane.startswith("image/c/1"):
        cube.read_proved(whole(GRID), bands=(0,))


def test_the_one_damaged_cell_of_a_shard_is_found(made):
    """A flipped bit in one chunk of many: the codec's error says nothing of where."""
    path, image, _ = made
    shard = path / "image" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    # zarr's index of offsets and lengths stands at the end: 4 x 4 chunks, and a checksum of 4 bytes.
    index = np.frombuffer(content[-(4 * 4 * 16 + 4) : -4], "<u8").reshape(4, 4, 2)
    offset, length = (int(n) for n in index[1, 2])
    content[offset + length // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DamagedCube, match="rows 512 to 1024, columns 1024 to 1536") as raised:
        open_cube(path).read_proved(whole(GRID), bands=(0,))
    assert raised.value.cell == (1, 2)
    around, pixels, _ = open_cube(path).read_proved((slice(0, 512), slice(0, 2048)), bands=(0,))
    np.testing.assert_array_equal(pixels[0], image[0][around])


def test_other_pixels_under_a_good_checksum_are_damage_too(made):
    """A shard of another cube: every codec is content, the digest is not."""
    path, image, valid = made
    window = (slice(0, 700), slice(2048, 2300))
    write_block(path, window, image=image[:, *window] ^ 1, valid=valid[window])
    with pytest.raises(DamagedCube):
        open_cube(path).read_proved(window, bands=(0,))


def test_a_damaged_cube_can_be_told_to_another_process(made):
    """Errors of workers are pickled: the cell and the message must survive that."""
    import pickle

    again = pickle.loads(pickle.dumps(DamagedCube("cube.zarr is damaged.", (3, 4))))
    assert (again.cell, str(again)) == ((3, 4), "cube.zarr is damaged.")


def test_a_pixel_that_was_never_written_is_invalid(pixels, tmp_path):
    image, _ = pixels
    path = tmp_path / "cube.zarr"
    create_cube(path, GRID, bands=("red", "nir"), dtype="uint16", scenes=[])
    window = (slice(0, 700), slice(2048, 2300))
    write_block(path, window, image=image[:, *window], valid=np.ones((700, 252), bool))
    group = zarr.open_group(path, mode="r")
    there = np.asarray(group["valid"][:])
    assert not there[:, :2048].any()
    assert there[:, 2048:].all()


def test_a_cube_whose_ingest_did_not_end_is_not_opened(made, pixels, tmp_path):
    image, valid = pixels
    path = tmp_path / "half.zarr"
    create_cube(path, GRID, bands=("red", "nir"), dtype="uint16", scenes=[])
    with pytest.raises(
        UnusableInput, match=r"into /.*half\.zarr was interrupted; run 'geoloom ingest' with the same scenes again"
    ):
        open_cube(path)
    for window in BLOCKS:
        write_block(path, window, image=image[:, *window], valid=valid[window])
    with pytest.raises(UnusableInput, match="was interrupted"):
        open_cube(path)


def test_the_cube_of_a_request_is_known_whether_it_is_finished_or_not(made, tmp_path):
    same = {"bands": ("red", "nir"), "dtype": "uint16"}
    create_cube(tmp_path / "half.zarr", GRID, **same, scenes=[])
    moved = GeoBox(SHAPE, Affine(0.5, 0, 500_001, 0, -0.5, 4_000_000), "EPSG:32636")
    for path in (made[0], tmp_path / "half.zarr"):
        assert is_cube(path, GRID, **same)
        assert not is_cube(path, moved, **same)
        assert not is_cube(path, GeoBox((701, 2300), GRID.affine, GRID.crs), **same)
        assert not is_cube(path, GRID, **same | {"bands": ("nir", "red")})
        assert not is_cube(path, GRID, **same | {"dtype": "int16"})
    assert not is_cube(tmp_path / "none.zarr", GRID, **same)
    (made[0] / "zarr.json").write_text("{broken")
    assert not is_cube(made[0], GRID, **same)


def stored(path, array):
    """The files that zarr made for an array, relative to the group."""
    return {str(p.relative_to(path)) for p in (path / array / "c").rglob("*") if p.is_file()}


def test_a_block_is_the_files_that_are_said_to_hold_it(pixels, tmp_path):
    """The oracle is what zarr writes: the files of one block, and of no other."""
    image, valid = pixels
    path = tmp_path / "cube.zarr"
    create_cube(path, GRID, bands=("red", "nir"), dtype="uint16", scenes=[])
    seen = set()
    for window in BLOCKS:
        write_block(path, window, image=image[:, *window], valid=valid[window])
        now = stored(path, "image") | stored(path, "valid")
        assert set(block_names(window, bands=2)) == now - seen
        seen = now
    assert len(seen) == 6


@pytest.mark.parametrize("planes", [0, 3])
def test_shards_have_the_names_that_zarr_gives_them(tmp_path, planes):
    """Windows of several whole shards, of arrays with a first axis and without."""
    group = zarr.create_group(tmp_path / "group.zarr", zarr_format=3)
    lead = (planes,) if planes else ()
    array = group.create_array(
        "a",
        shape=(*lead, 70, 50),
        dtype="uint8",
        chunks=(*(1 for _ in lead), 8, 8),
        shards=(*(1 for _ in lead), 16, 16),
    )
    seen = set()
    for window in ((slice(0, 32), slice(16, 48)), (slice(32, 70), slice(48, 50)), (slice(64, 70), slice(0, 16))):
        array[..., *window] = 1
        now = stored(tmp_path / "group.zarr", "a")
        assert set(shard_names("a", window, side=16, planes=planes)) == now - seen
        seen = now


def test_a_flipped_bit_raises_and_never_passes_for_pixels(made):
    """Bits all over a shard, its index included: here the codec's own checksum is what is asked."""
    path, image, _ = made
    shard = path / "image" / "c" / "1" / "0" / "1"
    content = shard.read_bytes()
    window = (slice(0, 700), slice(2048, 2300))
    cube = open_cube(path)
    raised = 0
    places = [0, *np.random.default_rng(1).integers(0, len(content), 30), *range(len(content) - 40, len(content), 7)]
    for place in places:
        broken = bytearray(content)
        broken[place] ^= 1 << (place % 8)
        shard.write_bytes(broken)
        try:
            pixels, _ = cube.read(window, bands=(1,))
        except Exception:  # noqa: BLE001
            raised += 1
        else:
            np.testing.assert_array_equal(pixels[0], image[1][window])
    assert raised > len(places) * 0.9


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
    path = tmp_path / "cube.zarr"
    create_cube(path, grid, bands=("a",), dtype="float32", scenes=[])
    cells = count_cells(np.zeros((1, 10, 10), np.float32), np.zeros((10, 10), bool))
    finish_cube(path, statistics=STATISTICS[1:], blocks=[(whole(grid), cells)])
    assert open_cube(path).grid == grid
    assert "crs_wkt" not in zarr.open_group(path)["spatial_ref"].attrs


def test_what_is_no_cube_is_refused_and_names_the_command(tmp_path):
    with pytest.raises(UnusableInput, match=r"There is no .*cube\.zarr; make it with 'geoloom ingest'\."):
        open_cube(tmp_path / "cube.zarr")
    (tmp_path / "cube.zarr").mkdir()
    with pytest.raises(UnusableInput, match=r"There is no .*cube\.zarr; make it"):
        open_cube(tmp_path / "cube.zarr")
    (tmp_path / "cube.zarr" / "zarr.json").write_text("{broken")
    with pytest.raises(UnusableInput, match="not a Zarr group that geoloom wrote"):
        open_group(tmp_path / "cube.zarr", made_by="ingest")
