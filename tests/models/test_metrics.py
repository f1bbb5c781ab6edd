"""Scores against scikit-learn's, and the counting against its own corner cases."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from infra.errors import UnusableInput
from models.metrics import Confusion


@settings(deadline=None, max_examples=60)
@given(classes=st.integers(1, 7), size=st.integers(1, 400), seed=st.integers(0, 2**32 - 1), ignored=st.floats(0, 0.9))
def test_scores_are_scikit_learns(classes, size, seed, ignored):
    random = np.random.default_rng(seed)
    present = random.random(classes) > 0.3  # some classes are absent
    ids = np.flatnonzero(present) if present.any() else np.array([0])
    truth = random.choice(ids, size).astype(np.uint8)
    prediction = random.integers(0, classes, size).astype(np.uint8)
    truth[random.random(size) < ignored] = 255
    prediction[random.random(size) < ignored / 2] = 255
    confusion = Confusion(classes)
    for part in np.array_split(np.arange(size), 3):
        confusion.add(truth[part], prediction[part])
    kept = (truth != 255) & (prediction != 255)
    if not kept.any():
        assert math.isnan(confusion.scores().mean_iou)
        return
    t, p, labels = truth[kept], prediction[kept], list(range(classes))
    scores = confusion.scores()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of absent classes
        assert np.array_equal(confusion.matrix, sk.confusion_matrix(t, p, labels=labels))
        assert scores.pixel_accuracy == pytest.approx(sk.accuracy_score(t, p))
        either = [c for c in labels if (t == c).any() or (p == c).any()]
        iou = sk.jaccard_score(t, p, labels=labels, average=None)
        assert [scores.iou[c] for c in either] == pytest.approx([iou[c] for c in either])
        assert all(math.isnan(scores.iou[c]) and math.isnan(scores.f1[c]) for c in set(labels) - set(either))
        assert scores.mean_iou == pytest.approx(np.mean([iou[c] for c in labels if (t == c).any()]))
        assert scores.mean_recall == pytest.approx(sk.balanced_accuracy_score(t, p))
        precision, recall, f1, support = sk.precision_recall_fscore_support(t, p, labels=labels, zero_division=np.nan)
        np.testing.assert_allclose(scores.precision, precision)
        np.testing.assert_allclose(scores.recall, recall)
        assert [scores.f1[c] for c in either] == pytest.approx([f1[c] for c in either])
        assert list(scores.truth) == list(support)
        assert list(scores.prediction) == [int((p == c).sum()) for c in labels]
        one_by_one = sk.multilabel_confusion_matrix(t, p, labels=labels)  # (class, 2, 2): not it and it
        assert list(zip(scores.invented, scores.missed, scores.found, strict=True)) == [
            (m[0, 1], m[1, 0], m[1, 1]) for m in one_by_one
        ]
        assert scores.accuracy == pytest.approx([(m[0, 0] + m[1, 1]) / m.sum() for m in one_by_one])


def test_more_pixels_than_one_piece_are_all_counted():
    random = np.random.default_rng(0)
    truth, prediction = random.integers(0, 3, (2, 700, 1001)).astype(np.uint8)
    confusion = Confusion(3)
    confusion.add(truth, prediction)
    assert np.array_equal(confusion.matrix, sk.confusion_matrix(truth.ravel(), prediction.ravel()))


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint16])
def test_other_integers_count_alike(dtype):
    confusion = Confusion(2)
    confusion.add(np.array([[0, 1, 255]], dtype), np.array([[1, 1, 0]], dtype))
    assert confusion.matrix.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("truth", "prediction", "says"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "same shape"),
        (np.array([3], np.uint8), np.array([0], np.uint8), "Class 3"),
        (np.array([0], np.uint8), np.array([254], np.uint8), "Class 254"),
        (np.array([256], np.int32), np.array([0], np.uint8), "256"),
        (np.array([-1], np.int32), np.array([0], np.uint8), "-1"),
        (np.array([0.5]), np.array([0], np.uint8), "integer"),
    ],
)
def test_what_is_no_class_is_refused(truth, prediction, says):
    with pytest.raises(UnusableInput, match=says):
        Confusion(3).add(truth, prediction)


def test_scores_are_plain_json():
    confusion = Confusion(3)
    confusion.add(np.array([0, 1], np.uint8), np.array([0, 0], np.uint8))
    text = json.dumps(confusion.scores().to_json(), allow_nan=False)
    assert json.loads(text)["iou"] == [0.5, 0.0, None]
    json.dumps(Confusion(2).scores().to_json(), allow_nan=False)


def test_a_confusion_has_at_least_one_class_and_at_most_255():
    for classes in (0, 256):
        with pytest.raises(ValueError, match="classes"):
            Confusion(classes)
