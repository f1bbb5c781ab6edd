"""No seam: tiles blended together equal one pass over the whole scene."""

import numpy as np
import pytest
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from torch import nn
from zarr.storage import MemoryStore

from models.quantise import quantise_probability
from tasks.raster import cube as cubes
from tasks.raster.blend import NODATA
from tasks.raster.grid import whole
from tasks.raster.tiling import cut_scene
from tasks.raster.weave import weave_whole


class Pooled(nn.Module):
    """A network whose receptive half-width is under 16 pixels, with pooling of stride 4."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.a = nn.Conv2d(2, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.c = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x):
        a = torch.relu(self.a(x))
        b = torch.relu(self.b(nn.functional.max_pool2d(a, 4)))
        up = nn.functional.interpolate(b, scale_factor=4, mode="nearest")
        return self.c(torch.cat([a, up], 1)) * 4


NETWORK = Pooled().eval()
STRIDE = 4


def floats(image, valid):
    """The contract of a predictor: normalise, blank invalid pixels, softmax."""
    x = torch.from_numpy(np.where(valid[:, None], (image.astype(np.float32) - 128) / 64, 0).astype(np.float32))
    with torch.inference_mode():
        return NETWORK(x).softmax(1).numpy()


def forward(image, valid):
    return quantise_probability(floats(image, valid))


def cube_of(image, valid):
    grid, place = GeoBox(valid.shape, Affine.identity(), None), MemoryStore()
    cubes.create_cube(place, grid, bands=("a", "b"), dtype="uint8", scenes=[])
    cubes.write_block(place, whole(grid), image=image, valid=valid)
    none = cubes.BandStatistics(0, 0, 0, 0, 0, 0)
    cubes.finish_cube(place, statistics=(none, none), blocks=[(whole(grid), cubes.count_cells(image, valid))])
    return cubes.open_cube(place)


def weave(image, valid, *, tile, margin, ramp, shard=1024, batch=1):
    run = 0

    def counting(image, valid):
        nonlocal run
        run += int(valid.any(axis=(1, 2)).sum())
        return forward(image, valid)

    tiling = cut_scene(valid.shape, tile=tile, margin=margin, ramp=ramp, stride=STRIDE, shard=shard)
    got = weave_whole(cube_of(image, valid), tiling, bands=(0, 1), classes=3, batch=batch, forward=counting)
    return got, run, tiling


def one_pass(image, valid):
    """The oracle: the whole scene, padded to the network's stride, through the network at once."""
    pad = [(0, -n % STRIDE) for n in valid.shape]
    q = forward(np.pad(image, [(0, 0), *pad])[None], np.pad(valid, pad)[None])[0]
    q = q[:, : valid.shape[0], : valid.shape[1]]
    q[:, ~valid] = NODATA
    return q


def scene(shape, seed, *, holes=True):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    valid = np.ones(shape, bool)
    if holes:
        for _ in range(4):
            y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
            valid[y : y + shape[0] // 3, x : x + shape[1] // 3] = False
    return image, valid


@settings(deadline=None, max_examples=12)
@given(
    rows=st.integers(1, 700),
    cols=st.integers(1, 700),
    tile=st.sampled_from([96, 200, 256]),
    ramp=st.integers(0, 20),
    seed=st.integers(0, 99),
)
def test_tiles_equal_one_pass_in_every_pixel(rows, cols, tile, ramp, seed):
    image, valid = scene((rows, cols), seed)
    got, run, tiling = weave(image, valid, tile=tile, margin=16, ramp=ramp, shard=512)
    want = one_pass(image, valid)
    assert (np.isin(got, NODATA).all(0) == ~valid).all()
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    assert (got[:, valid].sum(0, dtype=int) == 254).all()
    assert run <= tiling.count


def test_a_margin_that_is_too_small_shows():
    """The test above can fail: without a margin the tiles differ."""
    image, valid = scene((300, 300), 1, holes=False)
    got, _, _ = weave(image, valid, tile=64, margin=0, ramp=0)
    assert np.abs(got.astype(int) - one_pass(image, valid).astype(int)).max() > 5


def test_the_bits_do_not_depend_on_blocks_and_batches():
    image, valid = scene((1300, 900), 3)
    one, _, _ = weave(image, valid, tile=128, margin=16, ramp=8, shard=512)
    other, _, _ = weave(image, valid, tile=128, margin=16, ramp=8, shard=1024)
    assert (one == other).all()


def test_each_tile_goes_through_the_network_once_and_empty_ones_never():
    image, valid = scene((1100, 1100), 5, holes=False)
    got, run, tiling = weave(image, valid, tile=128, margin=16, ramp=8, shard=512, batch=4)
    assert run == tiling.count
    assert (got.sum(0, dtype=int) == 254).all()

    got, run, _ = weave(image, np.zeros_like(valid), tile=128, margin=16, ramp=8, shard=512)
    assert run == 0
    assert (got == NODATA).all()


@pytest.mark.parametrize("fill", [0, 255])
def test_what_stands_in_invalid_pixels_has_no_effect(fill):
    image, valid = scene((300, 260), 7)
    other = np.where(valid, image, np.uint8(fill))
    one = weave(image, valid, tile=128, margin=16, ramp=8)[0]
    two = weave(other, valid, tile=128, margin=16, ramp=8)[0]
    assert (one == two).all()
