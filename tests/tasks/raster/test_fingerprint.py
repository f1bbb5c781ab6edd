"""A fingerprint changes with what a result depends on, and with nothing else."""

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from zarr.storage import MemoryStore

from tasks.raster import cube as cubes
from tasks.raster.fingerprint import Fingerprints
from tasks.raster.grid import whole
from tasks.raster.tiling import cut_scene

NONE = cubes.BandStatistics(0, 0, 0, 0, 0, 0)


def cube_of(image, valid):
    grid, place = GeoBox(valid.shape, Affine.identity(), None), MemoryStore()
    cubes.create_cube(place, grid, bands=("a", "b"), dtype="uint8", scenes=[])
    cubes.write_block(place, whole(grid), image=image, valid=valid)
    cubes.finish_cube(place, statistics=(NONE, NONE), blocks=[(whole(grid), cubes.count_cells(image, valid))])
    return cubes.open_cube(place)


def scene():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, 2000, 1900), dtype=np.uint8), np.ones((2000, 1900), bool)


def test_a_changed_pixel_changes_just_the_tiles_and_blocks_whose_cells_hold_it():
    image, valid = scene()
    tiling = cut_scene(valid.shape, tile=128, margin=16, ramp=8, stride=8, shard=512)
    before = Fingerprints.of("plan", tiling, cube_of(image, valid), bands=(0,))
    image[0, 700, 1000] ^= 1
    after = Fingerprints.of("plan", tiling, cube_of(image, valid), bands=(0,))

    def sees(tile):
        rows, cols = tiling.extent(tile)
        return rows.start // 512 <= 1 <= (rows.stop - 1) // 512 and cols.start // 512 <= 1 <= (cols.stop - 1) // 512

    changed = {t for t in tiling.tiles() if before.tile(t) != after.tile(t)}
    assert changed == {t for t in tiling.tiles() if sees(t)}
    assert 0 < len(changed) < tiling.count
    blocks = {b for b in tiling.blocks() if before.block(b) != after.block(b)}
    assert blocks == {b for b in tiling.blocks() if any(sees(t) for t in tiling.touching(b))}
    assert 0 < len(blocks) < len(list(tiling.blocks()))


def test_a_band_that_the_network_does_not_take_changes_nothing():
    image, valid = scene()
    tiling = cut_scene(valid.shape, tile=128, margin=16, ramp=8, stride=8, shard=512)
    before = Fingerprints.of("plan", tiling, cube_of(image, valid), bands=(0,))
    image[1] ^= 255
    after = Fingerprints.of("plan", tiling, cube_of(image, valid), bands=(0,))
    assert all(before.block(b) == after.block(b) for b in tiling.blocks())
    valid[5, 5] = False
    holed = Fingerprints.of("plan", tiling, cube_of(image, valid), bands=(0,))
    assert before.block((0, 0)) != holed.block((0, 0))


def test_tiles_do_not_depend_on_the_blocks_but_blocks_do():
    image, valid = scene()
    small, large = (cut_scene(valid.shape, tile=128, margin=16, ramp=8, stride=8, shard=s) for s in (512, 1024))
    cube = cube_of(image, valid)
    one, other = (Fingerprints.of("plan", t, cube, bands=(0,)) for t in (small, large))
    assert all(one.tile(t) == other.tile(t) for t in small.tiles())
    assert one.block((0, 0)) != other.block((0, 0))
    assert one.tile((0, 0)) != Fingerprints.of("another plan", small, cube, bands=(0,)).tile((0, 0))
