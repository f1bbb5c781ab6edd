"""Calibration error and AUROC against scikit-learn's, and against confidences made to be right."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tasks.raster.reliability import BINS, Reliability


def counted(confidence, right):
    found = Reliability()
    for part in (slice(None, None, 2), slice(1, None, 2)):  # as it comes, in parts
        found.add(confidence[part], right[part])
    return found


@given(st.integers(0, 2**32 - 1), st.integers(2, 400))
def test_separation_is_the_area_under_the_roc_curve(seed, size):
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, 255, size).astype(np.uint8)
    right = rng.random(size) < 0.5
    right[:2] = True, False
    assert counted(confidence, right).separation == pytest.approx(roc_auc_score(right, confidence))


def test_error_is_the_distance_of_what_is_said_from_what_is():
    rng = np.random.default_rng(0)
    p = rng.random(400_000)
    confidence = np.round(p * 254).astype(np.uint8)
    assert counted(confidence, rng.random(p.size) < p).error < 0.005  # says what is
    assert counted(confidence, rng.random(p.size) < p / 2).error == pytest.approx(0.25, abs=0.005)
    # By hand: two bins, one of them 0.3 too sure.
    confidence = np.array([127] * 50 + [254] * 50, np.uint8)
    right = np.array([True] * 25 + [False] * 25 + [True] * 35 + [False] * 15)
    assert counted(confidence, right).error == pytest.approx((0.0 + 0.3) / 2)


def test_bins_hold_every_pixel_once():
    confidence = np.arange(255, dtype=np.uint8)
    bins = counted(confidence, confidence > 100).bins()
    assert len(bins) == BINS
    assert sum(b.pixels for b in bins) == 255
    assert all(low.confidence < high.confidence for low, high in itertools.pairwise(bins))


def test_pixels_without_confidence_do_not_count():
    found = Reliability()
    found.add(np.full(10, 255, np.uint8), np.ones(10, bool))
    assert not found.bins()
    assert np.isnan(found.error)
    assert np.isnan(found.separation)
