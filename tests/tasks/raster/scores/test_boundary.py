"""Boundary IoU against the paper's own algorithm on the whole, and against its definition where pixels are ignored."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from infra.errors import UnusableInput
from tasks.raster.grid import windows
from tasks.raster.scores.boundary import Boundaries


def scene(seed, shape, classes, ignored=0.0):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 2.5)
    bounds = np.quantile(noise, np.linspace(0, 1, classes + 1)[1:-1])
    truth = np.digitize(noise, bounds).astype(np.uint8)
    prediction = np.digitize(ndimage.shift(noise, (1, -1), mode="nearest"), bounds).astype(np.uint8)
    for ids in (truth, prediction):
        ids[ndimage.gaussian_filter(rng.random(shape), 2) < np.quantile(rng.random(99), ignored) * ignored] = 255
        ids[rng.random(shape) < ignored / 10] = 255
    return truth, prediction


def counted(truth, prediction, classes, distance, size):
    found = Boundaries(classes, truth.shape, distance=distance)
    for window in windows(truth.shape, size):
        around = found.around(window)
        found.add(window, truth[around], prediction[around])
    return found.scores()


def paper(mask, distance):
    """`mask_to_boundary` of the paper's code: pixels of a mask within so many pixels of its boundary."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask & (inner == 0)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 50), st.integers(1, 50), st.integers(1, 4), st.integers(1, 5),
    st.integers(7, 60),
)  # fmt: skip
def test_it_is_the_papers_whatever_the_windows(seed, rows, columns, classes, distance, size):
    truth, prediction = scene(seed, (rows, columns), classes)
    scores = counted(truth, prediction, classes, distance, size)
    for klass in range(classes):
        one, other = paper(truth == klass, distance), paper(prediction == klass, distance)
        assert (scores.truth[klass], scores.prediction[klass]) == (one.sum(), other.sum())
        if (one | other).any():
            assert scores.iou[klass] == (one & other).sum() / (one | other).sum()
        else:
            assert np.isnan(scores.iou[klass])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(11, 60))
def test_what_is_ignored_is_nowhere_and_bounds_nothing(seed, distance, size):
    truth, prediction = scene(seed, (40, 45), 3, ignored=0.5)
    ignored = (truth == 255) | (prediction == 255)
    assert ignored.any()
    near = []
    for ids in (truth, prediction):
        here = np.zeros(ids.shape, bool)
        for y, x in np.argwhere(~ignored):  # by the definition, pixel by pixel
            for row in range(y - distance, y + distance + 1):
                for col in range(x - distance, x + distance + 1):
                    beyond = not (0 <= row < 40 and 0 <= col < 45)
                    here[y, x] |= beyond or (not ignored[row, col] and ids[row, col] != ids[y, x])
        near.append(here)
    scores = counted(truth, prediction, 3, distance, size)
    for klass in range(3):
        one, other = near[0] & (truth == klass), near[1] & (prediction == klass)
        assert (scores.truth[klass], scores.prediction[klass]) == (one.sum(), other.sum())
        assert scores.iou[klass] == pytest.approx((one & other).sum() / max((one | other).sum(), 1))


def test_a_border_with_what_is_ignored_is_no_boundary():
    truth = np.zeros((30, 30), np.uint8)
    truth[10:20, 10:20] = 1
    apart = truth.copy()
    apart[5:25, 5:10] = apart[5:25, 20:25] = apart[5:10, 5:25] = apart[20:25, 5:25] = 255
    scores = counted(apart, truth, 2, 2, 30)
    assert scores.truth == scores.prediction == (30 * 30 - 26 * 26, 0)
    assert scores.mean_iou == 1  # of the class that has a boundary: the scene's edge
    assert counted(truth, truth, 2, 2, 30).truth[1] == 100 - 36
    assert scores.to_json() == {
        "iou": [1.0, None], "mean_iou": 1.0, "truth": [224, 0], "prediction": [224, 0], "distance": 2,
    }  # fmt: skip


def test_what_does_not_fit_is_refused():
    ids = np.zeros((8, 8), np.uint8)
    found = Boundaries(2, (8, 8))
    window = (slice(0, 4), slice(0, 8))
    assert found.around(window) == (slice(0, 6), slice(0, 8))
    with pytest.raises(UnusableInput, match="2 pixels around it"):
        found.add(window, ids[:4], ids[:4])
    with pytest.raises(UnusableInput, match="Class 2 occurs"):
        found.add((slice(0, 8), slice(0, 8)), ids, ids + 2)
    with pytest.raises(UnusableInput, match="float64"):
        found.add((slice(0, 8), slice(0, 8)), ids, ids.astype(float))
    with pytest.raises(ValueError, match="distance is 0"):
        Boundaries(2, (8, 8), distance=0)
    with pytest.raises(UnusableInput, match="There are 255 classes"):
        Boundaries(255, (8, 8))
    assert np.isnan(found.scores().mean_iou)


def test_254_classes_and_the_scenes_edge_are_told_apart():
    ids = np.full((9, 9), 253, np.int64)
    assert counted(ids, ids, 254, 2, 4).truth[253] == 81 - 25
