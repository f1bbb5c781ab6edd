"""Tiles share every pixel out to the last unit of weight, and blocks share out the tiles."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infra.errors import UnusableInput
from tasks.raster.tiling import WHOLE, Axis, Tiling, cut_scene


@st.composite
def axes(draw, longest=3000):
    stride = draw(st.sampled_from([1, 2, 4, 8, 32]))
    margin, ramp = draw(st.integers(0, 60)), draw(st.integers(0, 70))
    least = -(-(2 * margin + ramp + stride) // stride)
    size = stride * draw(st.integers(least, least + 60))
    return Axis.cut(draw(st.integers(1, longest)), size=size, margin=margin, ramp=ramp, stride=stride), stride


@settings(deadline=None, max_examples=150)
@given(axes())
def test_weights_sum_to_the_whole_in_every_pixel_and_none_is_negative(case):
    axis, _ = case
    total = np.zeros(axis.length, np.int64)
    for tile in range(len(axis.starts)):
        first, end = axis.span(tile)
        weights = axis.weights(tile)
        assert weights.shape == (end - first,)
        assert weights.dtype == np.int32
        assert weights.min() >= 0
        assert weights.max() > 0
        total[first:end] += weights
    assert (total == WHOLE).all()


@settings(deadline=None, max_examples=150)
@given(axes())
def test_a_tile_speaks_only_where_it_has_context(case):
    """No nearer than the margin to its own sides, but for those that are the scene's."""
    axis, stride = case
    for tile, start in enumerate(axis.starts):
        assert start % stride == 0
        first, end = axis.span(tile)
        assert start <= first < end <= min(start + axis.size, axis.length)
        assert tile == 0 or first >= start + axis.margin
        assert tile == len(axis.starts) - 1 or end <= start + axis.size - axis.margin
    assert list(axis.starts) == sorted(set(axis.starts))
    assert axis.starts[0] == 0
    assert axis.starts[-1] + axis.size == axis.padded
    assert axis.padded % stride == 0
    assert axis.length <= axis.padded < axis.length + stride


@settings(deadline=None, max_examples=60)
@given(axes())
def test_a_ramp_fades_monotonically(case):
    axis, _ = case
    for tile in range(1, len(axis.starts)):
        rising = axis.weights(tile)[: axis.ramp]
        if tile == len(axis.starts) - 1:
            assert (np.diff(rising) >= 0).all()


def test_a_scene_smaller_than_a_tile_is_one_tile():
    axis = Axis.cut(100, size=512, margin=32, ramp=16, stride=32)
    assert (axis.starts, axis.size, axis.padded, axis.span(0)) == ((0,), 128, 128, (0, 100))
    assert (axis.weights(0) == WHOLE).all()


def test_no_margin_and_no_fade_at_the_border_of_the_scene():
    axis = Axis.cut(1000, size=256, margin=32, ramp=16, stride=1)
    assert (axis.weights(0)[:32] == WHOLE).all()
    assert (axis.weights(len(axis.starts) - 1)[-32:] == WHOLE).all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"size": 100}, "The tile was 100 pixels; expected a multiple of 32"),
        ({"size": 0}, "The tile was 0 pixels"),
        ({"margin": -1}, "Margin -1 and ramp 16 were given; expected 0 or more"),
        ({"ramp": -1}, "expected 0 or more"),
        ({"margin": 120}, "keeps nothing between margins of 120"),
        ({"ramp": 256}, "keeps nothing"),
    ],
)
def test_tiles_that_cannot_be_are_refused(asked, words):
    given = {"size": 256, "margin": 32, "ramp": 16, "stride": 32} | asked
    with pytest.raises(UnusableInput, match=words):
        Axis.cut(1000, **given)


@st.composite
def tilings(draw):
    tile = draw(st.sampled_from([16, 24, 40]))
    margin, ramp = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    shape = (draw(st.integers(1, 200)), draw(st.integers(1, 200)))
    stride = draw(st.sampled_from([1, 4]))
    assume(tile - 2 * margin - ramp >= stride)
    return cut_scene(shape, tile=tile, margin=margin, ramp=ramp, stride=stride, shard=draw(st.sampled_from([8, 32])))


@settings(deadline=None, max_examples=60)
@given(tilings())
def test_every_tile_is_owned_once_and_reached_blocks_are_those_it_has_weight_in(tiling):
    """The oracle looks at every pixel of a tile's span."""
    rows, cols = tiling.rows.length, tiling.cols.length
    assert list(tiling.tiles()) == [
        (i, j) for i in range(len(tiling.rows.starts)) for j in range(len(tiling.cols.starts))
    ]
    assert tiling.count == len(list(tiling.tiles()))

    cover = np.zeros((rows, cols), int)
    number = np.zeros((rows, cols, 2), int)
    for block in tiling.blocks():
        cover[tiling.window(block)] += 1
        number[tiling.window(block)] = block
    assert (cover == 1).all()

    owned = [tile for block in tiling.blocks() for tile in tiling.owned(block)]
    assert sorted(owned) == list(tiling.tiles())
    for tile in tiling.tiles():
        span = tiling.span(tile)
        touched = {(int(r), int(c)) for r, c in np.unique(number[span].reshape(-1, 2), axis=0)}
        owner = tiling.owner(tile)
        assert tile in tiling.owned(owner)
        assert owner == min(touched)
        assert tiling.touched(tile)[0] == owner
        assert tiling.touched(tile) == sorted(touched)
        # So a block waits only for blocks before it, and at most for three.
        assert all(0 <= r - owner[0] <= 1 and 0 <= c - owner[1] <= 1 for r, c in touched)


@settings(deadline=None, max_examples=60)
@given(tilings())
def test_a_block_knows_the_tiles_that_touch_it_and_where(tiling):
    """The oracle looks at every pixel of a tile's span."""
    rows, cols = tiling.rows.length, tiling.cols.length
    touching = {block: [] for block in tiling.blocks()}
    for tile in tiling.tiles():
        speaks = np.zeros((rows, cols), bool)
        speaks[tiling.span(tile)] = True
        for block, tiles in touching.items():
            window = tiling.window(block)
            if speaks[window].any():
                tiles.append(tile)
                meeting = np.zeros((rows, cols), bool)
                meeting[tiling.meeting(tile, block)] = True
                here = np.zeros((rows, cols), bool)
                here[window] = speaks[window]
                np.testing.assert_array_equal(meeting, here)
        seen = tiling.extent(tile)
        assert [s.start for s in seen] == [tiling.rows.starts[tile[0]], tiling.cols.starts[tile[1]]]
        assert seen[0].stop == min(seen[0].start + tiling.rows.size, rows)
        assert seen[1].stop == min(seen[1].start + tiling.cols.size, cols)
    for block, tiles in touching.items():
        assert tiling.touching(block) == tiles
        assert set(tiling.owned(block)) <= set(tiles)


@settings(deadline=None, max_examples=150)
@given(axes(), st.data())
def test_tiles_of_any_stretch_of_an_axis(case, data):
    """Those with weight in it, and those whose weight begins in it, by their spans."""
    axis, _ = case
    first = data.draw(st.integers(0, axis.length - 1))
    last = data.draw(st.integers(first + 1, axis.length))
    spans = [axis.span(tile) for tile in range(len(axis.starts))]
    assert list(axis.touching(first, last)) == [i for i, (a, b) in enumerate(spans) if a < last and b > first]
    assert list(axis.begun_in(first, last)) == [i for i, (a, _) in enumerate(spans) if first <= a < last]


def test_a_block_is_whole_shards_and_holds_a_tile():
    tiling = cut_scene((5000, 300), tile=1100, margin=64, ramp=32, stride=4, shard=512)
    assert tiling.block == 1536
    with pytest.raises(AssertionError):
        Tiling(tiling.rows, tiling.cols, 1024)
