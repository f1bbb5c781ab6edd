"""Connected regions found window by window, against scipy's on the whole."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from infra.errors import UnusableInput
from tasks.raster.scores.instances import Instances

NEIGHBOURS = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


def cuts(length, draw):
    inner = draw(st.lists(st.integers(1, max(length - 1, 1)), max_size=4, unique=True))
    edges = sorted({0, length, *(n for n in inner if n < length)})
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


@st.composite
def scenes(draw):
    """A mask, and windows of any sizes over it."""
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random(shape) < draw(st.sampled_from([0.1, 0.35, 0.5, 0.6, 0.9]))
    across = [(rows, cols) for rows in cuts(shape[0], draw) for cols in cuts(shape[1], draw)]
    return mask, rng.random(shape) < 0.1, across


def reading_order(windows):
    """Windows of one grid, row by row."""
    return sorted(windows, key=lambda w: (w[0].start, w[1].start))


@settings(deadline=None, max_examples=150)
@given(scenes(), st.sampled_from([4, 8]))
def test_windows_do_not_matter(scene, connectivity):
    mask, _, windows = scene
    whole, count = ndimage.label(mask, NEIGHBOURS[connectivity])
    areas = np.bincount(whole.ravel(), minlength=count + 1)[1:]  # scipy numbers by first pixels, too
    found = Instances(mask.shape[1], connectivity=connectivity)
    for window in reading_order(windows):
        found.add(window, mask[window], whole[window])
    met = found.met()
    np.testing.assert_array_equal(met.truth, areas)
    np.testing.assert_array_equal(met.prediction, areas)
    # One to one: each shares all its pixels with the one of scipy's.
    np.testing.assert_array_equal(met.pairs, np.stack([np.arange(count)] * 2, axis=1))
    np.testing.assert_array_equal(met.common, areas)


@settings(deadline=None, max_examples=80)
@given(scenes())
def test_what_is_ignored_is_taken_out_of_both_first(scene):
    mask, ignored, windows = scene
    rng = np.random.default_rng(int(mask.sum()))
    ids = rng.integers(0, 4, mask.shape) * 10**12
    confidence = rng.integers(0, 255, mask.shape).astype(np.uint8)
    left, predicted = ndimage.label(mask & ~ignored, NEIGHBOURS[8])[0], np.where(ignored, 0, ids)
    found, through_confidence = Instances(mask.shape[1]), Instances(mask.shape[1])
    for w in reading_order(windows):
        found.add(w, mask[w], ids[w], ignored=ignored[w], confidence=confidence[w])
        through_confidence.add(w, mask[w], ids[w], confidence=np.where(ignored, 255, confidence)[w].astype(np.uint8))
    for met in (found.met(), through_confidence.met()):
        np.testing.assert_array_equal(met.truth, np.bincount(left[left > 0])[1:])
        names, first = np.unique(predicted, return_index=True)
        names = [n for _, n in sorted(zip(first, names, strict=True)) if n]
        np.testing.assert_array_equal(met.prediction, [(predicted == n).sum() for n in names])
        np.testing.assert_allclose(met.confidence, [confidence[predicted == n].mean() / 254 for n in names])
        shared = {
            (a - 1, b): int(((left == a) & (predicted == n)).sum())
            for a in range(1, left.max() + 1)
            for b, n in enumerate(names)
        }
        got = dict(zip(map(tuple, met.pairs.tolist()), met.common.tolist(), strict=True))
        assert got == {pair: n for pair, n in shared.items() if n}


def test_a_snake_through_every_window_is_one():
    mask = np.zeros((41, 41), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    found = Instances(41)
    for row in range(0, 41, 5):
        for col in range(0, 41, 5):
            w = slice(row, min(row + 5, 41)), slice(col, min(col + 5, 41))
            found.add(w, mask[w], mask[w])
    assert found.met().truth.tolist() == [mask.sum()]


def test_what_cannot_be_is_refused():
    mask, ids = np.ones((4, 4), bool), np.ones((4, 4), np.uint16)
    first, second = (slice(0, 4), slice(0, 4)), (slice(0, 4), slice(4, 8))
    found = Instances(8)
    with pytest.raises(ValueError, match="next in reading order"):
        found.add(second, mask, mask)
    found.add(first, mask, ids)
    with pytest.raises(ValueError, match="next in reading order"):
        found.add((slice(4, 8), slice(0, 4)), mask, ids)
    with pytest.raises(UnusableInput, match="were not before"):
        found.add(second, ids, ids)
    with pytest.raises(UnusableInput, match="expected its shape"):
        Instances(8).add(first, mask, mask[1:])
    with pytest.raises(UnusableInput, match="expected a mask or integer ids"):
        Instances(8).add(first, mask, mask.astype(float))
    with pytest.raises(UnusableInput, match="Instance -2"):
        Instances(8).add(first, mask, -2 * ids.astype(np.int8))
    with pytest.raises(ValueError, match="connectivity is 6"):
        Instances(8, connectivity=6).add(first, mask, mask)
