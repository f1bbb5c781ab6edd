"""No seam: tiles blended together equal one pass over the whole scene."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tasks.raster import cube as cubes
from tasks.raster.blend import NODATA, quantise
from tasks.raster.cube import write_block
from tasks.raster.grid import whole
from tasks.raster.probability import Weaving, create_probability, open_probability, weave_block
from tasks.raster.tiling import cut_scene


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


def forward(image, valid):
    """The contract of a predictor: normalise, blank invalid pixels, softmax."""
    x = torch.from_numpy(np.where(valid[:, None], (image.astype(np.float32) - 128) / 64, 0).astype(np.float32))
    with torch.inference_mode():
        return NETWORK(x).softmax(1).numpy()


def weave(folder, image, valid, *, tile, margin, ramp, shard=1024, order=None, batch=1):
    from affine import Affine
    from odc.geo.geobox import GeoBox

    shape = valid.shape
    grid = GeoBox(shape, Affine.identity(), None)
    cubes.create_cube(folder / "cube.zarr", grid, bands=("a", "b"), dtype="uint8", scenes=[])
    write_block(folder / "cube.zarr", whole(grid), image=image, valid=valid)
    tiling = cut_scene(shape, tile=tile, margin=margin, ramp=ramp, stride=STRIDE, shard=shard)
    create_probability(folder / "p.zarr", grid, classes=("other", "x", "y"), shard=tiling.block, attributes={})
    weaving = Weaving(tiling, folder / "cube.zarr", (0, 1), folder / "p.zarr", folder / "strips", 3, batch)
    run = sum(weave_block(weaving, b, forward) for b in (order or list)(tiling.blocks()))
    assert not any((folder / "strips").glob("*/*"))
    return np.asarray(open_probability(folder / "p.zarr")[:]), run, tiling


def one_pass(image, valid):
    """The oracle: the whole scene, padded to the network's stride, through the network at once."""
    pad = [(0, -n % STRIDE) for n in valid.shape]
    p = forward(np.pad(image, [(0, 0), *pad])[None], np.pad(valid, pad)[None])[0]
    q = quantise(p[:, : valid.shape[0], : valid.shape[1]])
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
def test_tiles_equal_one_pass_in_every_pixel(tmp_path_factory, rows, cols, tile, ramp, seed):
    image, valid = scene((rows, cols), seed)
    got, run, tiling = weave(tmp_path_factory.mktemp("w"), image, valid, tile=tile, margin=16, ramp=ramp, shard=512)
    want = one_pass(image, valid)
    assert (np.isin(got, NODATA).all(0) == ~valid).all()
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    assert (got[:, valid].sum(0, dtype=int) == 254).all()
    assert run <= tiling.count


def test_a_margin_that_is_too_small_shows():
    """The test above can fail: without a margin the tiles differ."""
    import tempfile
    from pathlib import Path

    image, valid = scene((300, 300), 1, holes=False)
    with tempfile.TemporaryDirectory() as folder:
        got, _, _ = weave(Path(folder), image, valid, tile=64, margin=0, ramp=0)
    assert np.abs(got.astype(int) - one_pass(image, valid).astype(int)).max() > 5


def test_the_bits_do_not_depend_on_the_order_of_blocks(tmp_path):
    """Any order in which each block follows those above and left of it gives the same bits."""
    image, valid = scene((1300, 900), 3)

    def diagonal(blocks):
        return sorted(blocks, key=lambda b: (b[0] + b[1], -b[0]))

    folders = [tmp_path / "a", tmp_path / "b"]
    results = []
    for folder, order in zip(folders, (list, diagonal), strict=True):
        folder.mkdir()
        results.append(weave(folder, image, valid, tile=128, margin=16, ramp=8, shard=512, order=order)[0])
    assert (results[0] == results[1]).all()


def test_each_tile_goes_through_the_network_once_and_empty_ones_never(tmp_path):
    image, valid = scene((1100, 1100), 5, holes=False)
    got, run, tiling = weave(tmp_path, image, valid, tile=128, margin=16, ramp=8, shard=512)
    assert run == tiling.count
    assert (got.sum(0, dtype=int) == 254).all()

    empty = tmp_path / "empty"
    empty.mkdir()
    got, run, _ = weave(empty, image, np.zeros_like(valid), tile=128, margin=16, ramp=8, shard=512)
    assert run == 0
    assert (got == NODATA).all()


@pytest.mark.parametrize("fill", [0, 255])
def test_what_stands_in_invalid_pixels_has_no_effect(tmp_path, fill):
    image, valid = scene((300, 260), 7)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    other = np.where(valid, image, np.uint8(fill))
    one = weave(folders[0], image, valid, tile=128, margin=16, ramp=8)[0]
    two = weave(folders[1], other, valid, tile=128, margin=16, ramp=8)[0]
    assert (one == two).all()
