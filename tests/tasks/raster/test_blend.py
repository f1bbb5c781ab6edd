"""Integers that stand for probabilities sum to 254, whatever came before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import GeoloomError
from models.quantise import quantise_probability
from tasks.raster.blend import NODATA, TOP, add, finish, predicted_class
from tasks.raster.tiling import WEIGHT_BITS

SCALE = 1 << (2 * WEIGHT_BITS)


def quantise(probability):
    """Of one tile, (class, y, x)."""
    return quantise_probability(probability[None])[0]


def softmax(logits):
    e = np.exp(logits - logits.max(axis=0))
    return (e / e.sum(axis=0)).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(classes=st.integers(1, 40), spread=st.floats(0.01, 60), seed=st.integers(0, 999))
def test_planes_sum_to_254_and_none_is_off_by_more_than_one(classes, spread, seed):
    p = softmax(np.random.default_rng(seed).normal(0, spread, (classes, 23, 31)))
    q = quantise(p)
    assert q.dtype == np.uint8
    assert (q.sum(axis=0, dtype=int) == TOP).all()
    assert np.abs(q - p.astype(float) * TOP).max() <= 1 + 1e-4


def by_hand(p):
    """The largest-remainder method on one pixel, with fractions."""
    whole = [int(np.floor(v * TOP)) for v in p]
    order = sorted(range(len(p)), key=lambda i: (-(p[i] * TOP - whole[i]), i))
    for i in order[: TOP - sum(whole)]:
        whole[i] += 1
    return whole


@pytest.mark.parametrize("classes", [2, 3, 6, 7, 254])
def test_equal_planes_are_rounded_up_from_the_lowest(classes):
    q = quantise(np.full((classes, 1, 1), 1 / classes, np.float32))[:, 0, 0]
    each, rest = divmod(TOP, classes)
    assert q.tolist() == [each + 1] * rest + [each] * (classes - rest)


@settings(deadline=None)
@given(st.lists(st.integers(0, 64), min_size=2, max_size=6).filter(any))
def test_the_method_is_that_of_the_largest_remainder(parts):
    # Shares of a power of two are exact in float32, and so are their remainders.
    total = 1 << (sum(parts) - 1).bit_length()
    parts = [*parts, total - sum(parts)]
    p = np.array(parts, np.float32)[:, None, None] / total
    assert quantise(p)[:, 0, 0].tolist() == by_hand([n / total for n in parts])


def test_certainty_is_kept():
    p = np.zeros((3, 1, 3), np.float32)
    p[[0, 1, 2], 0, [0, 1, 2]] = 1
    np.testing.assert_array_equal(quantise(p), p * TOP)


def test_planes_that_sum_to_a_rounding_more_than_one_still_sum_to_254():
    p = np.array([0.5, 0.5 + 2**-16, 2**-20], np.float32)[:, None, None]
    assert quantise(p)[:, 0, 0].sum() == TOP


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 40.0, -3.0])
def test_what_is_no_probability_is_refused(wrong):
    p = np.full((3, 4, 4), 1 / 3, np.float32)
    p[0, 1, 2] = wrong
    with pytest.raises(GeoloomError, match="1 pixels whose probabilities do not sum to 1"):
        quantise(p)


@settings(deadline=None, max_examples=30)
@given(classes=st.integers(1, 8), seed=st.integers(0, 99), cut=st.integers(0, WEIGHT_BITS))
def test_one_tile_comes_back_as_it_was_and_two_are_their_mean(classes, seed, cut):
    rng = np.random.default_rng(seed)
    a, b = (quantise(softmax(rng.normal(0, 3, (classes, 9, 11)))).astype(np.int32) for _ in range(2))
    valid = rng.random((9, 11)) > 0.3
    one = finish(a * SCALE, valid)
    np.testing.assert_array_equal(one[:, valid], a[:, valid])
    assert (one[:, ~valid] == NODATA).all()

    part = SCALE >> cut
    two = finish(a * part + b * (SCALE - part), np.ones_like(valid))
    exact = (a * float(part) + b * float(SCALE - part)) / SCALE
    assert (two.sum(axis=0, dtype=int) == TOP).all()
    assert np.abs(two - exact).max() < 1


def test_a_contribution_that_lacks_is_an_error_and_no_pixel():
    total = np.full((2, 4, 4), 127 * SCALE, np.int32)
    valid = np.ones((4, 4), bool)
    total[:, 1, 1] -= 1
    total[:, 2, 2] = 0
    with pytest.raises(GeoloomError, match="2 pixels of a block lack a tile's contribution"):
        finish(total, valid)
    valid[[1, 2], [1, 2]] = False
    assert (finish(total, valid)[:, valid] == 127).all()


def finish_in_numpy(total, valid):
    """The oracle: the largest-remainder method, a round of numpy for every unit that is missing."""
    whole, left = total >> (2 * WEIGHT_BITS), total & (SCALE - 1)
    missing = np.where(valid, TOP - whole.sum(axis=0), 0)
    rows, cols = np.indices(valid.shape)
    while (missing > 0).any():
        y, x = rows[missing > 0], cols[missing > 0]
        best = left[:, y, x].argmax(axis=0)
        whole[best, y, x] += 1
        left[best, y, x] = -1
        missing[y, x] -= 1
    whole[:, ~valid] = NODATA
    return whole.astype(np.uint8)


def window_of(array, rng):
    """The same values as a window of a larger array, whose other values are noise."""
    large = rng.integers(0, 100, [n + 5 for n in array.shape]).astype(array.dtype)
    place = tuple(slice(2, 2 + n) for n in array.shape)
    large[place] = array
    return large[place]


@settings(deadline=None, max_examples=60)
@given(
    classes=st.integers(1, 40),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 200)),
    seed=st.integers(0, 999),
    steps=st.sampled_from([1, 2, 5, 1 << WEIGHT_BITS]),
)
def test_sums_are_rounded_by_the_largest_remainder_as_numpy_does_it(classes, shape, seed, steps):
    # Few steps of weight make many equal remainders.
    rng = np.random.default_rng(seed)
    a, b = (quantise(softmax(rng.normal(0, 2, (classes, *shape)))).astype(np.int32) for _ in range(2))
    part = rng.integers(0, steps + 1, shape, dtype=np.int32) * (SCALE // steps)
    total = a * part + b * (SCALE - part)
    valid = rng.random(shape) > 0.2
    total[:, ~valid] = rng.integers(-(2**31), 2**31, total[:, ~valid].shape)
    want = finish_in_numpy(total, valid)
    np.testing.assert_array_equal(finish(total, valid), want)
    found = finish(window_of(total, rng), window_of(valid, rng))
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(finish(np.asfortranarray(total), np.asfortranarray(valid)), want)


@settings(deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=6))
def test_any_sum_that_is_not_whole_is_noticed(sums):
    total = np.array(sums, np.int32)[:, None, None]
    if sum(sums) == TOP * SCALE:
        assert finish(total, np.ones((1, 1), bool)).sum() == TOP
        return
    with pytest.raises(GeoloomError, match="1 pixels"):
        finish(total, np.ones((1, 1), bool))


def test_sums_that_are_whole_only_modulo_2_to_the_32_are_noticed():
    top = 2**31 - 1
    total = np.array([top, top, TOP * SCALE + 2], np.int32)[:, None, None]
    assert total.sum(dtype=np.int32) == TOP * SCALE
    with pytest.raises(GeoloomError, match="1 pixels"):
        finish(total, np.ones((1, 1), bool))


@settings(deadline=None, max_examples=60)
@given(
    classes=st.integers(1, 9),
    shape=st.tuples(st.integers(0, 9), st.integers(0, 200)),
    seed=st.integers(0, 999),
    order=st.sampled_from(["C", "F", "window", "backwards", "classes last"]),
)
def test_a_contribution_is_added_where_it_belongs_and_nowhere_else(classes, shape, seed, order):
    rng = np.random.default_rng(seed)
    part = rng.integers(0, 256, (classes, *shape), dtype=np.uint8)
    rows, cols = (rng.integers(0, 2049, n, dtype=np.int32) for n in shape)
    block = rng.integers(0, 2**29, (classes, shape[0] + 4, shape[1] + 7), dtype=np.int32)
    place = np.s_[:, 3 : 3 + shape[0], 2 : 2 + shape[1]]
    want = block.copy()
    want[place] += part * (rows[:, None] * cols)
    given = {
        "C": part,
        "F": np.asfortranarray(part),
        "window": window_of(part, rng),
        "backwards": part[:, ::-1].copy()[:, ::-1],
        "classes last": np.ascontiguousarray(part.transpose(1, 2, 0)).transpose(2, 0, 1),
    }[order]
    add(given, rows, cols, block[place])
    np.testing.assert_array_equal(block, want)


def test_sums_that_would_go_to_a_copy_are_refused():
    one = np.ones(4, np.int32)
    with pytest.raises(AssertionError):
        add(np.ones((2, 4, 4), np.uint8), one, one, np.zeros((4, 4, 2), np.int32).transpose(2, 0, 1))
    with pytest.raises(AssertionError):
        add(np.ones((2, 4, 4), np.uint8), one, one, np.zeros((2, 4, 5), np.int32))


def test_the_class_is_the_most_probable_ties_to_the_lowest_and_nodata_stays():
    p = np.array([[100, 85, 0, 255, 0], [100, 84, 127, 255, 0], [54, 85, 127, 255, 254]], np.uint8)[:, None, :]
    assert predicted_class(p).tolist() == [[0, 0, 1, 255, 2]]
    assert predicted_class(p).dtype == np.uint8
    certain = np.full((1, 2, 2), TOP, np.uint8)
    assert (predicted_class(certain) == 0).all()


@settings(deadline=None, max_examples=60)
@given(
    classes=st.integers(1, 254),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 200)),
    seed=st.integers(0, 999),
    highest=st.sampled_from([0, 1, 3, TOP]),
)
def test_the_class_is_that_of_numpy(classes, shape, seed, highest):
    rng = np.random.default_rng(seed)
    p = rng.integers(0, highest, (classes, *shape), dtype=np.uint8, endpoint=True)
    p[:, rng.random(shape) < 0.2] = NODATA
    want = p.argmax(axis=0)
    want[p[0] == NODATA] = NODATA
    for kind in (p, window_of(p, rng), np.asfortranarray(p)):
        np.testing.assert_array_equal(predicted_class(kind), want)
