"""Calibration against torchmetrics, Brier and likelihood against scikit-learn and their formulas."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from infra.errors import UnusableInput
from tasks.raster.blend import predicted_class
from tasks.raster.grid import windows
from tasks.raster.scores.calibration import Calibration


def planes(rng, classes, shape, *, spread=0.5, least=0):
    """Probabilities (class, y, x) in 254ths."""
    share = rng.dirichlet(np.full(classes, spread), size=shape)
    found = np.floor(share * (254 - least * classes)).astype(np.int64) + least
    found[..., 0] += 254 - found.sum(axis=-1)
    return np.ascontiguousarray(found.transpose(2, 0, 1).astype(np.uint8))


def drawn(rng, probability, *, wrong=0.0):
    """A truth that follows the probabilities, but for a share of pixels."""
    edges = np.cumsum(probability.astype(float), axis=0) / 254
    truth = (rng.random(probability.shape[1:]) > edges).sum(axis=0).clip(max=len(probability) - 1).astype(np.uint8)
    other = rng.integers(0, len(probability), truth.shape).astype(np.uint8)
    return np.where(rng.random(truth.shape) < wrong, other, truth)


def counted(probability, truth, size=1000):
    found = Calibration(len(probability))
    for window in windows(truth.shape, size):
        found.add(probability[:, *window], truth[window])
    return found.scores()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.integers(5, 60), st.sampled_from([0.0, 0.3, 0.9]))
def test_errors_are_those_of_torchmetrics(seed, classes, size, wrong):
    rng = np.random.default_rng(seed)
    probability = planes(rng, classes, (40, 50), least=1)  # torchmetrics gives a p of 1 a bin of its own
    truth = drawn(rng, probability, wrong=wrong)
    truth[rng.random(truth.shape) < 0.1] = 255
    scores = counted(probability, truth, size)
    # In double precision; no confidence in 254ths lies on a bound between bins, which are 15ths.
    p = torch.from_numpy(probability.reshape(classes, -1).T / 254)
    target = torch.from_numpy(truth.ravel().astype(np.int64))
    for norm, found in (("l1", scores.expected_error), ("max", scores.maximum_error)):
        expected = multiclass_calibration_error(p, target, classes, n_bins=15, norm=norm, ignore_index=255)
        assert found == pytest.approx(float(expected), abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(5, 60))
def test_brier_and_likelihood_are_their_formulas(seed, classes, size):
    rng = np.random.default_rng(seed)
    probability = planes(rng, classes, (31, 45), spread=0.2)
    truth = drawn(rng, probability, wrong=0.5)
    truth[rng.random(truth.shape) < 0.1] = 255
    probability[:, rng.random(truth.shape) < 0.1] = 255
    scores = counted(probability, truth, size)
    known = (truth != 255) & (probability[0] != 255)
    p, true = probability[:, known] / 254, truth[known]
    assert scores.pixels == known.sum()
    assert scores.brier == pytest.approx(((p - (np.arange(classes)[:, None] == true)) ** 2).sum(axis=0).mean())
    assert scores.log_loss == pytest.approx(-np.log(np.maximum(p[true, np.arange(true.size)], 1 / 508)).mean())
    assert sum(b.pixels for b in scores.bins) == scores.pixels
    right = predicted_class(probability)[known] == true
    assert sum(b.pixels * b.accuracy for b in scores.bins) == pytest.approx(right.sum())


def test_likelihood_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    probability = planes(rng, 4, (60, 60), least=1)
    truth = drawn(rng, probability, wrong=0.2)
    expected = log_loss(truth.ravel(), probability.reshape(4, -1).T / 254, labels=range(4))
    assert counted(probability, truth).log_loss == pytest.approx(expected)


def test_by_hand():
    probability = np.array([[[254, 127, 0]], [[0, 127, 254]]], np.uint8)
    scores = counted(probability, np.array([[0, 1, 0]]))
    # Right and sure; of equal ones the lowest, so wrong; wrong and sure.
    assert scores.expected_error == pytest.approx(0.5)  # 2/3 · |1 - 1/2| + 1/3 · |1/2 - 0|
    assert scores.maximum_error == pytest.approx(0.5)
    assert scores.brier == pytest.approx((0 + 0.5 + 2) / 3)
    assert scores.log_loss == pytest.approx((0 + np.log(2) + np.log(508)) / 3)
    document = json.loads(json.dumps(scores.to_json()))
    assert document["bins"] == [
        {"pixels": 1, "confidence": 0.5, "accuracy": 0.0}, {"pixels": 2, "confidence": 1.0, "accuracy": 0.5},
    ]  # fmt: skip


def test_without_pixels_nothing_is_known():
    scores = counted(np.full((2, 3, 3), 255, np.uint8), np.zeros((3, 3), np.uint8)).to_json()
    assert scores == {
        "pixels": 0, "expected_error": None, "maximum_error": None, "brier": None, "log_loss": None, "bins": [],
    }  # fmt: skip


def test_what_does_not_fit_is_refused():
    probability = np.full((2, 4, 4), 127, np.uint8)
    truth = np.zeros((4, 4), np.int64)
    found = Calibration(2)
    with pytest.raises(UnusableInput, match="expected uint8"):
        found.add(probability, truth[1:])
    with pytest.raises(UnusableInput, match="expected uint8"):
        found.add(probability / 254, truth)
    with pytest.raises(UnusableInput, match="Class 2 occurs"):
        found.add(probability, truth + 2)
    with pytest.raises(UnusableInput, match="float64"):
        found.add(probability, truth.astype(float))
    with pytest.raises(UnusableInput, match="of 16 pixels do not sum"):
        found.add(probability - 1, truth)
    assert found.scores().pixels == 0
    found.add(probability - 1, np.full((4, 4), 255))  # what does not count may be anything
    with pytest.raises(ValueError, match="classes is 0"):
        Calibration(0)
