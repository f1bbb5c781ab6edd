"""Probabilities in 254ths: the same numbers as the formula in numpy, whatever the layout, and nothing else passes."""

import numpy as np
import pytest
import torch

from infra.errors import GeoloomError
from models.quantise import TOP, check_count, quantise_on_device, quantise_probability


def quantise(probability):
    """The oracle, in numpy: (class, y, x) float32 to uint8."""
    # In units of 2^-15 the remainders are integers, and their comparison is the same on every machine.
    scaled = np.rint(probability * np.float32(TOP << 15)).astype(np.int32)
    whole = scaled >> 15
    missing = TOP - whole.sum(axis=0)
    # Rounding down loses less than one a plane; more means that the planes were no probabilities (NaN, for one).
    wrong = np.count_nonzero(np.abs(missing) > len(whole))
    if wrong:
        raise GeoloomError(f"The network gave {wrong} pixels whose probabilities do not sum to 1; check its weights.")
    return largest_remainder(whole, scaled & ((1 << 15) - 1), missing)


def largest_remainder(whole, remainder, missing):
    """Round up as many planes of a pixel as `missing` (y, x) says, by largest remainder; (class, y, x) in and out."""
    classes, missing = len(whole), missing.ravel()
    result = whole.astype(np.uint8).reshape(classes, -1)
    left = remainder.reshape(classes, -1)
    # Only pixels that still lack something are looked at again: after one round few do.
    where = np.flatnonzero(missing > 0)
    left, short = left[:, where], missing[where]
    while where.size:
        best = left.argmax(axis=0)
        result[best, where] += 1
        left[best, np.arange(where.size)] = -1
        short -= 1
        again = short > 0
        where, left, short = where[again], left[:, again], short[again]
    # Planes that sum to a little over 1 in float32 may exceed by one: the largest gives it back.
    where = np.flatnonzero(missing < 0)
    result[result[:, where].argmax(axis=0), where] += missing[where].astype(np.uint8)
    return result.reshape(whole.shape)


def probabilities(classes, *, sharpness=3.0, seed=0, shape=(2, 40, 33)):
    generator = torch.Generator().manual_seed(seed)
    n, height, width = shape
    return (torch.randn(n, classes, height, width, generator=generator) * sharpness).softmax(1).numpy().copy()


def oracle(p):
    return np.stack([quantise(one) for one in p])


def on_device(p):
    planes, wrong = quantise_on_device(torch.from_numpy(p))
    check_count(int(wrong))
    return planes.numpy()


@pytest.mark.parametrize("ours", [quantise_probability, on_device])
@pytest.mark.parametrize("classes", [2, 3, 6, 21])
@pytest.mark.parametrize("sharpness", [0.0, 0.01, 3.0, 60.0])
def test_equals_the_formula_in_numpy(ours, classes, sharpness):
    p = probabilities(classes, sharpness=sharpness, seed=classes)
    got = ours(p)
    assert got.dtype == np.uint8
    assert np.array_equal(got, oracle(p))
    assert (got.sum(axis=1, dtype=int) == TOP).all()


@pytest.mark.parametrize("ours", [quantise_probability, on_device])
def test_ties_go_to_the_lowest_class_and_an_excess_is_given_back_by_the_largest(ours):
    p = np.zeros((1, 3, 1, 4), np.float32)
    p[0, :, 0, 0] = 1 / 3  # 84 2/3 each: two are rounded up
    p[0, :, 0, 1] = (0.5, 0.5, 0)
    p[0, :, 0, 2] = (1.0000001, 0, 0)
    p[0, :, 0, 3] = (1.005, 0, 0)  # 255.27: one too many
    got = ours(p)
    assert got[0, :, 0].T.tolist() == [[85, 85, 84], [127, 127, 0], [254, 0, 0], [254, 0, 0]]
    assert np.array_equal(got, oracle(p))


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (3, 1, 0, 2)])
def test_the_layout_in_memory_does_not_matter(order):
    p = probabilities(4)
    back = np.argsort(order)
    strided = np.ascontiguousarray(p.transpose(order)).transpose(back)
    assert strided.strides != p.strides
    assert np.array_equal(quantise_probability(strided), quantise_probability(p))
    assert np.array_equal(quantise_probability(p[:, :, ::2, 1::3]), oracle(p[:, :, ::2, 1::3]))


@pytest.mark.parametrize("ours", [quantise_probability, on_device])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.0, -2.0])
def test_what_is_no_probability_is_refused(ours, value):
    p = probabilities(3)
    p[1, 2, 7, 5] = value
    p[0, :, 0, 0] = value
    with pytest.raises(GeoloomError, match="2 pixels whose probabilities do not sum to 1"):
        ours(p)
