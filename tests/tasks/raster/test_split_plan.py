"""Spatial splits: nothing of one split is in another, or comes near it, whatever the scenes look like."""

import hypothesis
import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.footprints import Plane, joined, overlapping
from tasks.raster.split_plan import Site, plan_splits
from tasks.raster.splits import block_side, blocks, deal

CHIP = 32
ASKED = [
    {"train": 0.8, "val": 0.1, "test": 0.1},
    {"train": 0.5, "val": 0.5},
    {"train": 0.6, "test": 0.4},
]


def grid_at(column, row, shape):
    """Pixels of half a metre, a whole number of them from a common origin."""
    return GeoBox(shape, Affine(0.5, 0, 450_000 + column / 2, 0, -0.5, 5_400_000 - row / 2), "EPSG:32632")


def site_of(usable, place, classes=3):
    """A lattice with holes, and some count of classes on it."""
    rng = np.random.default_rng(place)
    pixels = rng.integers(0, CHIP * CHIP // classes, (*usable.shape, classes)) + 1
    return Site(usable.shape, np.argwhere(usable), pixels[usable], place)


def gap_by_pixels(maps):
    """Least distance, in rows or columns, between pixels of different splits, by looking at all; 1 = adjacent."""
    from scipy.ndimage import distance_transform_cdt

    least = np.inf
    for number in np.unique(maps[maps >= 0]):
        others = (maps >= 0) & (maps != number)
        if others.any():
            least = min(least, distance_transform_cdt(~others, metric="chessboard")[maps == number].min())
    return least


@st.composite
def holed(draw):
    shape = draw(st.tuples(st.integers(7, 17), st.integers(7, 17)))
    usable = np.random.default_rng(draw(st.integers(0, 99))).random(shape) < draw(st.sampled_from([0.4, 0.8, 1.0]))
    usable[:3, :3] = True
    return usable


@given(holed(), st.integers(0, 1000), st.sampled_from(ASKED))
def test_blocks_of_one_scene_share_no_pixel_and_keep_a_gap(usable, seed, shares):
    shape = tuple(n * CHIP + 5 for n in usable.shape)
    plane = Plane.of([(GeoBox(shape, Affine.identity(), None), None)])
    try:
        plan = plan_splits([site_of(usable, 0)], plane, chip=CHIP, shares=shares, by_blocks=True, seed=seed)
    except UnusableInput:
        hypothesis.reject()
    canvas = np.full(shape, -1)
    for (row, col), split in zip(np.argwhere(usable)[plan.kept], plan.split[plan.kept], strict=True):
        here = np.s_[row * CHIP : (row + 1) * CHIP, col * CHIP : (col + 1) * CHIP]
        assert (canvas[here] == -1).all()
        canvas[here] = split
    assert gap_by_pixels(canvas) > CHIP, "so many pixels lie between"
    assert set(np.unique(canvas)) == {-1, *range(len(shares))}
    again = plan_splits([site_of(usable, 0)], plane, chip=CHIP, shares=shares, by_blocks=True, seed=seed)
    np.testing.assert_array_equal(again.split, plan.split)


@hypothesis.settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 700), holed()), min_size=2, max_size=5),
    st.booleans(),
    st.integers(0, 1000),
)
def test_scenes_side_by_side_and_over_each_other_keep_the_gap_on_the_ground(scenes, by_blocks, seed):
    grids = [grid_at(c, r, tuple(n * CHIP + 7 for n in usable.shape)) for c, r, usable in scenes]
    plane = Plane.of([(grid, None) for grid in grids])
    outlines = np.concatenate(
        [plane.outlines(n, np.array([[0, 0, g.shape[1], g.shape[0]]], float)) for n, g in enumerate(grids)]
    )
    place = joined(len(grids), [tuple(map(int, pair)) for pair in overlapping(outlines, outlines).T])
    sites = [site_of(usable, int(place[n])) for n, (_, _, usable) in enumerate(scenes)]
    try:
        plan = plan_splits(
            sites, plane, chip=CHIP, shares={"train": 0.7, "val": 0.3}, by_blocks=by_blocks, seed=seed
        )  # fmt: skip
    except UnusableInput:
        hypothesis.reject()
    canvas = np.full((1300, 1300), -1)
    at = np.concatenate([site.at for site in sites])
    for n in np.flatnonzero(plan.kept):
        col, row, _ = scenes[plan.site[n]]
        top, left = row + at[n, 0] * CHIP, col + at[n, 1] * CHIP
        here = canvas[top : top + CHIP, left : left + CHIP]
        assert np.isin(here, (-1, plan.split[n])).all(), "a pixel of the ground is in two splits"
        here[:] = plan.split[n]
    assert gap_by_pixels(canvas) > CHIP
    for number in np.unique(place):
        if (place == number).sum() > 1:
            assert len(set(plan.split[np.isin(plan.site, np.flatnonzero(place == number))])) <= 1, (
                "one place, two splits"
            )


def test_shares_and_classes_are_met():
    """Of 400 equal parts, a rare class in every tenth of them."""
    weights = np.ones((400, 2))
    weights[:, 1] = np.arange(400) % 10 == 0
    for seed in range(5):
        split = deal(weights, [0.8, 0.1, 0.1], seed=seed)
        assert np.bincount(split).tolist() == pytest.approx([320, 40, 40], abs=2)
        assert np.bincount(split, weights[:, 1]).tolist() == pytest.approx([32, 4, 4], abs=1)
    assert (deal(weights, [0.8, 0.1, 0.1], seed=1) != deal(weights, [0.8, 0.1, 0.1], seed=2)).any()


def test_three_parts_go_to_three_splits_and_two_cannot():
    assert sorted(deal(np.array([[5.0], [900.0], [7.0]]), [0.8, 0.1, 0.1], seed=0)) == [0, 1, 2]
    with pytest.raises(UnusableInput, match=r"2 separate part.* 3 splits"):
        deal(np.ones((2, 1)), [0.8, 0.1, 0.1], seed=0)


def test_blocks_cover_the_lattice_and_grow_with_the_scene():
    assert blocks((5, 4), 2).tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 3
    assert blocks((1, 1), 4).tolist() == [[0]]
    assert block_side([(4, 4)], least=0.1) == 1
    assert block_side([(100, 100)], least=0.1) == 8


def test_different_utm_zones_and_the_antimeridian_meet():
    def box(zone, lon):
        import pyproj

        x, y = pyproj.Transformer.from_crs(4326, zone, always_xy=True).transform(lon, 10.0)
        return GeoBox((200, 200), Affine(10, 0, x - 1000, 0, -10, y + 1000), zone)

    for one, other, lon in (("EPSG:32632", "EPSG:32633", 12.0), ("EPSG:32660", "EPSG:32601", 180.0)):
        grids = [box(one, lon), box(other, lon), box(other, lon + 1 if lon < 180 else -178.0)]
        plane = Plane.of([(grid, None) for grid in grids])
        outlines = np.concatenate([plane.outlines(n, np.array([[0.0, 0, 200, 200]]), edge=9) for n in range(3)])
        pairs = {tuple(sorted(pair)) for pair in overlapping(outlines, outlines).T.tolist()}
        assert pairs == {(0, 0), (1, 1), (2, 2), (0, 1)}
