"""Probabilities in 254ths: the same numbers as the formula in numpy, whatever the layout, and nothing else passes."""

import numpy as np
import pytest
import torch

from infra.errors import GeoloomError
from models.quantise import TOP, check_count, quantise_on_device, quantise_probability
from tasks.raster.blend import quantise


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
