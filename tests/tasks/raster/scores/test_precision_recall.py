"""Precision and recall at every threshold against scikit-learn's, on all pixels at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from infra.errors import UnusableInput
from tasks.raster.grid import windows
from tasks.raster.scores.precision_recall import PrecisionRecall


def drawn(rng, classes, shape):
    """Probabilities in 254ths, and a truth that half follows them; some of both unknown."""
    share = rng.dirichlet(np.full(classes, 0.5), size=shape)
    planes = np.floor(share * 254).astype(np.uint8)
    planes[..., 0] += (254 - planes.sum(axis=-1)).astype(np.uint8)
    truth = np.where(rng.random(shape) < 0.5, planes.argmax(axis=-1), rng.integers(0, classes, shape)).astype(np.uint8)
    truth[rng.random(shape) < 0.1] = 255
    planes[rng.random(shape) < 0.1] = 255
    return np.ascontiguousarray(planes.transpose(2, 0, 1)), truth


def counted(planes, truth, size=1000):
    found = PrecisionRecall(len(planes))
    for window in windows(truth.shape, size):
        found.add(planes[:, *window], truth[window])
    return found.curves()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.integers(5, 60))
def test_curves_are_those_of_scikit_learn(seed, classes, size):
    planes, truth = drawn(np.random.default_rng(seed), classes, (43, 37))
    known = (truth != 255) & (planes[0] != 255)
    for k, curve in enumerate(counted(planes, truth, size)):
        hit, said = truth[known] == k, planes[k][known]
        assert curve.average_precision == pytest.approx(average_precision_score(hit, said))
        precision, recall, thresholds = precision_recall_curve(hit, said)
        at = 254 - thresholds.astype(int)
        assert np.array(curve.precision)[at] == pytest.approx(precision[:-1])
        assert np.array(curve.recall)[at] == pytest.approx(recall[:-1])
        with np.errstate(invalid="ignore"):
            f1 = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
        assert curve.best_f1 == pytest.approx(f1.max())
        assert curve.best_threshold == pytest.approx(thresholds[f1 > f1.max() - 1e-12].max() / 254)


def test_a_class_that_does_not_occur_has_no_score():
    planes, truth = np.zeros((2, 4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    planes[0] = 254
    here, absent = counted(planes, truth)
    assert (here.average_precision, here.best_f1, here.best_threshold) == (1.0, 1.0, 1.0)
    assert absent.to_json() == {"average_precision": None, "best_f1": None, "best_threshold": None}


def test_what_does_not_fit_is_refused():
    with pytest.raises(UnusableInput, match="expected uint8"):
        PrecisionRecall(3).add(np.zeros((2, 4, 4), np.uint8), np.zeros((4, 4), np.uint8))
