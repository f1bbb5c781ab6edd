"""Pieces that windows see of objects become the objects, whatever the windows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tasks.raster.grid import within
from tasks.raster.pieces import Sight, matching, renamed, smallest_ids


def drawn(seed, side=90):
    """Objects of any shape, as ids of connected areas."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 4)
    return ndimage.label(noise > 0.03)[0]


@given(st.integers(0, 200), st.integers(20, 60), st.integers(5, 20))
def test_objects_are_whole_again_whatever_the_windows(seed, size, halo):
    truth = drawn(seed)
    side = truth.shape[0]
    seen = {}
    for row in range(0, side, size):
        for col in range(0, side, size):
            rows, cols = (slice(max(s - halo, 0), min(s + size + halo, side)) for s in (row, col))
            pieces, _ = ndimage.label(truth[rows, cols] > 0)  # an object cut by the window's border is several
            first = (row * side + col + 1) * 1000
            ids = np.where(pieces > 0, pieces + first, 0).astype(np.uint32)
            seen[row, col] = rows, cols, Sight.of(ids, np.zeros(ids.shape, np.uint8))
    pairs, whole = [], np.zeros(truth.shape, np.uint32)
    for (row, col), (rows, cols, pieces) in seen.items():
        own = (slice(row, min(row + size, side)), slice(col, min(col + size, side)))
        whole[own] = pieces.at(within(own, (rows, cols))).piece
        for other in ((row + size, col), (row, col + size)):
            if other in seen:
                *around, theirs = seen[other]
                common = tuple(
                    slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip((rows, cols), around, strict=True)
                )
                pairs.append(matching(pieces.at(within(common, (rows, cols))), theirs.at(within(common, around))))
    found = renamed(whole, *smallest_ids(pairs))
    both = np.unique(np.stack([truth[truth > 0], found[truth > 0]]), axis=1)
    assert len(both[0]) == len(np.unique(both[0])) == len(np.unique(both[1])), "one id an object, one object an id"


def test_pieces_of_other_classes_or_that_hardly_meet_stay_apart():
    one, other = np.zeros((12, 12), np.uint32), np.zeros((12, 12), np.uint32)
    label = np.zeros((12, 12), np.uint8)
    one[1:4, 1:4], other[1:4, 1:4], one[6:10, 6:10], other[8:10, 6:10] = 1, 7, 2, 8
    # Of 2 and 8 half is common, no more, and neither reaches its window's border.
    assert matching(Sight.of(one, label), Sight.of(other, label)).tolist() == [[1, 7]]
    assert matching(Sight.of(one, label), Sight.of(other, label + 1)).tolist() == []
    assert matching(Sight.of(one, label), Sight.of(np.zeros_like(one), label)).shape == (0, 2)
    # Cut by the border, 8 may be more than is seen of it: it is one with what holds it.
    other[8:10, 6:12] = 8
    place = (slice(0, 12), slice(0, 10))
    assert matching(Sight.of(one, label).at(place), Sight.of(other, label).at(place)).tolist() == [[1, 7], [2, 8]]


def test_chains_end_at_the_smallest_whatever_the_order():
    pairs = np.array([[5, 9], [9, 12], [3, 12], [7, 8]], np.uint32)
    for some in (pairs, pairs[::-1], pairs[:, ::-1]):
        ids, become = smallest_ids([some[:2], some[2:]])
        assert dict(zip(ids.tolist(), become.tolist(), strict=True)) == {3: 3, 5: 3, 9: 3, 12: 3, 7: 7, 8: 7}
    pieces = np.array([[0, 5, 6], [12, 8, 1]], np.uint32)
    assert renamed(pieces, ids, become).tolist() == [[0, 3, 6], [3, 7, 1]]
    assert smallest_ids([])[0].size == 0
    assert renamed(pieces, *smallest_ids([])).tolist() == pieces.tolist()
