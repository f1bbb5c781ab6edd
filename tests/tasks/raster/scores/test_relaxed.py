"""Relaxed scores are those of exact distances over the whole scene, whatever windows are counted."""

import functools
import json
import math
import operator

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from infra.errors import UnusableInput
from tasks.raster.grid import crop_to, grown, windows, within
from tasks.raster.scores.relaxed import RelaxedCount, count_relaxed


def near(road, slack):
    """By Euclid's distance between the centres of pixels, over the whole array."""
    if not road.any():
        return np.zeros_like(road)
    return ndimage.distance_transform_edt(~road) <= slack + 1e-9


def exact(truth, prediction, slack):
    known = (truth != 255) & (prediction != 255)
    true, predicted = (truth == 1) & known, (prediction == 1) & known
    counts = (predicted, predicted & near(true, slack), true, true & near(predicted, slack))
    return RelaxedCount(*(int(c.sum()) for c in counts))


def by_windows(truth, prediction, slack, side):
    counts = []
    for window in windows(truth.shape, side):
        around = crop_to(grown(window, math.ceil(slack)), truth.shape)
        counts.append(count_relaxed(truth[around], prediction[around], inner=within(window, around), slack=slack))
    return functools.reduce(operator.add, counts, RelaxedCount())


@given(
    st.integers(0, 10_000),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from([0, 1, 1.5, 2, 3, math.sqrt(13), 5, 9.9]),
    st.sampled_from([5, 16, 33]),
    st.sampled_from([0.01, 0.1, 0.6]),
)
def test_windows_add_up_to_the_whole(seed, shape, slack, side, dense):
    rng = np.random.default_rng(seed)
    truth, prediction = (
        rng.choice(np.array([0, 1, 255], np.uint8), shape, p=[0.8 - dense, dense, 0.2]) for _ in range(2)
    )
    right = exact(truth, prediction, slack)
    assert count_relaxed(truth, prediction, slack=slack) == right
    assert by_windows(truth, prediction, slack, side) == right


def line(column, *, value=1, size=60):
    mask = np.zeros((size, size), np.uint8)
    mask[:, column] = value
    return mask


@pytest.mark.parametrize(("off", "share"), [(0, 1), (3, 1), (4, 0)])
def test_a_line_is_right_up_to_the_slack(off, share):
    scores = count_relaxed(line(20), line(20 + off)).scores()
    assert (scores.precision, scores.recall, scores.f1, scores.iou) == (share,) * 4


def test_half_a_line_and_one_invented():
    """60 pixels of truth; 30 of them are predicted, which reach 3 further, and 60 far away are predicted too."""
    prediction = line(50)
    prediction[:30, 20] = 1
    scores = count_relaxed(line(20), prediction).scores()
    assert (scores.prediction, scores.right, scores.truth, scores.found) == (90, 30, 60, 33)
    precision, recall = 30 / 90, 33 / 60
    assert scores.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert scores.iou == pytest.approx(1 / (1 / precision + 1 / recall - 1))


def test_ignored_pixels_count_on_neither_side_and_match_nothing():
    truth = line(20)
    truth[:, 22] = 255
    prediction = line(22)
    nothing = count_relaxed(truth, prediction)
    assert nothing == RelaxedCount(prediction=0, right=0, truth=60, found=0)
    assert count_relaxed(prediction, truth) == RelaxedCount(prediction=60, right=0, truth=0, found=0)


def test_without_slack_they_are_the_plain_scores():
    rng = np.random.default_rng(0)
    truth, prediction = rng.random((2, 90, 90)) > 0.5
    scores = count_relaxed(truth, prediction, slack=0).scores()
    assert scores.iou == pytest.approx((truth & prediction).sum() / (truth | prediction).sum())
    assert scores.precision == (truth & prediction).sum() / prediction.sum()


def test_empty_maps():
    none = np.zeros((60, 60), np.uint8)
    missed, invented = (count_relaxed(*maps).scores() for maps in ((line(9), none), (none, line(9))))
    assert (missed.recall, missed.f1, missed.iou) == (0, 0, 0)
    assert (invented.precision, invented.f1, invented.iou) == (0, 0, 0)
    assert math.isnan(missed.precision)
    assert math.isnan(invented.recall)
    nothing = json.loads(json.dumps(RelaxedCount().scores().to_json(), allow_nan=False))
    assert nothing == {
        "precision": None, "recall": None, "f1": None, "iou": None,
        "prediction": 0, "right": 0, "truth": 0, "found": 0,
    }  # fmt: skip


def test_roads_drawn_a_little_off():
    """What slack is for: the plain IoU of a road drawn 3 pixels off is poor, the relaxed one is not."""
    truth, prediction = np.zeros((2, 400, 400), np.uint8)
    cv2.polylines(truth, [np.array([[10, 30], [200, 180], [390, 90]], np.int32)], isClosed=False, color=1, thickness=5)
    prediction[3:] = truth[:-3]
    assert count_relaxed(truth, prediction, slack=0).scores().iou < 0.5
    assert count_relaxed(truth, prediction).scores().iou > 0.99


@pytest.mark.parametrize(
    ("truth", "match"),
    [
        (np.zeros((4, 5), np.uint8), "same"),
        (np.full((4, 4), 2, np.uint8), "holds 2"),
        (np.full((4, 4), 254, np.uint8), "holds 254"),
        (np.zeros((4, 4), np.int64), "int64"),
    ],
)
def test_other_masks_are_refused(truth, match):
    with pytest.raises(UnusableInput, match=match):
        count_relaxed(truth, np.zeros((4, 4), np.uint8))


def test_a_slack_that_is_none():
    with pytest.raises(ValueError, match="slack is -1"):
        count_relaxed(line(1), line(1), slack=-1)
