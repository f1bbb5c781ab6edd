"""Every tile that a block lacks is run by one block, and no block waits for one after it."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.raster.assign import assign
from tasks.raster.tiling import cut_scene

TILINGS = st.builds(
    lambda rows, cols, tile, part: cut_scene(
        (rows, cols), tile=tile, margin=tile // part, ramp=tile // part // 2, stride=8, shard=256
    ),
    st.integers(1, 1500),
    st.integers(1, 1500),
    st.sampled_from([64, 128, 200, 256]),
    st.sampled_from([6, 8, 16]),
)


@settings(deadline=None, max_examples=60)
@given(tiling=TILINGS, seed=st.integers(0, 999))
def test_each_contribution_that_is_lacking_is_made_once(tiling, seed):
    chance = random.Random(seed)
    blocks = list(tiling.blocks())
    pending = {b for b in blocks if chance.random() < 0.6}
    present = {b: {t for t in tiling.touching(b) if chance.random() < 0.3} for b in pending}

    works = assign(tiling, pending, present)

    assert [w.block for w in works] == sorted(pending)
    made = [(tile, block) for w in works for tile, blocks in w.tiles.items() for block in blocks]
    lacking = {(t, b) for b in pending for t in tiling.touching(b) if t not in present[b]}
    assert len(made) == len(set(made))
    assert set(made) == lacking
    runs = [tile for w in works for tile in w.tiles]
    assert len(runs) == len(set(runs)), "no tile is run twice"
    for w in works:
        assert all(earlier < w.block for earlier in w.after)
        brought = {x.block for x in works if x.block != w.block and any(w.block in to for to in x.tiles.values())}
        assert set(w.after) == brought


@settings(deadline=None, max_examples=30)
@given(tiling=TILINGS)
def test_a_fresh_run_gives_each_tile_to_its_owner(tiling):
    works = assign(tiling, set(tiling.blocks()), {})
    assert {w.block: list(w.tiles) for w in works} == {b: tiling.owned(b) for b in tiling.blocks()}


@settings(deadline=None, max_examples=60)
@given(tiling=TILINGS)
def test_tiles_and_blocks_know_each_other(tiling):
    """By brute force over all pairs: a tile touches a block where their pixels meet."""

    def meet(one, other):
        return all(max(a.start, b.start) < min(a.stop, b.stop) for a, b in zip(one, other, strict=True))

    blocks, tiles = list(tiling.blocks()), list(tiling.tiles())
    for block in blocks:
        touching = [t for t in tiles if meet(tiling.span(t), tiling.window(block))]
        assert tiling.touching(block) == touching
        assert tiling.owned(block) == [t for t in touching if tiling.owner(t) == block]
    for tile in tiles:
        assert tiling.touched(tile) == [b for b in blocks if meet(tiling.span(tile), tiling.window(b))]
    assert sorted(t for b in blocks for t in tiling.owned(b)) == tiles
