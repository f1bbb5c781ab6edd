"""Average precision against pycocotools, panoptic quality against a slow reference by its definition."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tasks.raster.grid import windows
from tasks.raster.scores.instance_scores import average_precisions, score_instances
from tasks.raster.scores.instances import Instances
from tasks.raster.scores.regions import UNNAMED

SHAPE = (60, 70)


def scene(seed):
    """True ids, predicted ids and confidences: moved, cut, joined, missed and invented rectangles."""
    rng = np.random.default_rng(seed)
    truth, prediction = np.zeros(SHAPE, np.int64), np.zeros(SHAPE, np.int64)
    # Few values, so that some instances are equally sure.
    confidence = np.zeros(SHAPE, np.uint8)
    number = 0
    for top in range(1, 56, 9):
        for left in range(1, 64, 9):
            kind = rng.integers(0, 7)
            height, width = rng.integers(2, 8, 2)
            box = slice(top, top + height), slice(left, left + width)
            number += 1
            if kind != 6:
                truth[box] = number
            if kind == 5:
                continue
            confidence[top - 1 : top + 8, left - 1 : left + 8] = rng.choice([40, 130, 200, 254])
            down, right = rng.integers(-1, 2, 2) if kind != 0 else (0, 0)
            there = slice(top + down, top + down + height), slice(left + right, left + right + width)
            prediction[there] = 1000 - number
            if kind == 1:  # in halves: both may have an IoU of exactly 0.5
                prediction[there[0], left + right + width // 2 : there[1].stop] = 2000 - number
            if kind == 2 and left > 10:  # one with its neighbour
                prediction[there] = 1000 - number + 1
    return truth, prediction, confidence


def met(truth, prediction, confidence=None, *, size=25, ignored=None):
    found = Instances(truth.shape[1])
    for w in windows(truth.shape, size):
        more = {"confidence": confidence, "ignored": ignored}
        found.add(w, truth[w], prediction[w], **{name: plane[w] for name, plane in more.items() if plane is not None})
    return found.met()


def by_first_pixel(ids):
    names, first = np.unique(ids, return_index=True)
    return [n for _, n in sorted(zip(first, names, strict=True)) if n]


def coco(truth, prediction, confidence, smallest):
    """Average precision at each threshold by COCOeval."""
    pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    from pycocotools import mask as masks
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def runs(mask):
        return masks.encode(np.asfortranarray(mask.astype(np.uint8)))

    known = COCO()
    known.dataset = {
        "info": {},
        "images": [{"id": 1, "height": SHAPE[0], "width": SHAPE[1]}],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": runs(truth == name),
             "area": int((truth == name).sum()), "bbox": [0, 0, 1, 1]}
            for n, name in enumerate(by_first_pixel(truth), 1)
        ],
    }  # fmt: skip
    known.createIndex()
    said = known.loadRes([
        {"image_id": 1, "category_id": 1, "segmentation": runs(prediction == name),
         "score": int(confidence[prediction == name].sum()) / int((prediction == name).sum()) / 254}
        for name in by_first_pixel(prediction)
    ])  # fmt: skip
    judge = COCOeval(known, said, "segm")
    judge.params.areaRng, judge.params.areaRngLbl, judge.params.maxDets = [[smallest, 1e10]], ["all"], [10**6]
    judge.evaluate()
    judge.accumulate()
    return judge.eval["precision"][:, :, 0, 0, 0].mean(axis=1)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 0, 9, 20]))
def test_average_precision_is_that_of_coco(seed, smallest):
    truth, prediction, confidence = scene(seed)
    expected = coco(truth, prediction, confidence, smallest)
    found = met(truth, prediction, confidence)
    np.testing.assert_allclose(average_precisions(found, smallest=smallest), expected, atol=1e-6)
    scores = score_instances(found, smallest=smallest)
    assert scores.average_precision_50 == pytest.approx(expected[0], abs=1e-6)
    assert scores.average_precision == pytest.approx(expected.mean(), abs=1e-6)


def test_average_precision_of_masks_is_that_of_coco():
    """Blobs told apart by where they hang together, with confidences that differ within one."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2)
    truth, prediction = noise > 0.12, ndimage.shift(noise, (0.6, 0.4)) > 0.13
    confidence = rng.integers(0, 255, SHAPE).astype(np.uint8)
    ids = [ndimage.label(mask, np.ones((3, 3)))[0] for mask in (truth, prediction)]
    expected = coco(*ids, confidence, 0)
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_allclose(average_precisions(met(truth, prediction, confidence)), expected, atol=1e-6)


def panoptic(truth, prediction, smallest):
    """TP, FP, FN and the sum of IoUs: two are the same above 0.5."""
    ones, others = by_first_pixel(truth), by_first_pixel(prediction)
    large = {(n, name): (ids == name).sum() >= smallest for n, ids in enumerate((truth, prediction))
             for name in (ones, others)[n]}  # fmt: skip
    total, right, partners, partnered = 0.0, 0, set(), set()
    for one in ones:
        for other in others:
            a, b = truth == one, prediction == other
            iou = (a & b).sum() / (a | b).sum()
            if iou > 0.5:
                assert one not in partners
                assert other not in partnered
                partners.add(one)
                partnered.add(other)
                if large[0, one]:
                    total, right = total + iou, right + 1
    missed = sum(large[0, one] for one in ones if one not in partners)
    wrong = sum(large[1, other] for other in others if other not in partnered)
    return total, right, wrong, missed


def test_what_lies_on_ignored_ground_is_no_false_positive():
    """Kirillov and others, section 4.1: what is void by more than half, and matches nothing, is removed."""
    truth, prediction, ignored = np.zeros((3, 40, 60), bool)
    confidence = np.full(truth.shape, 200, np.uint8)
    truth[5:15, 5:15] = prediction[5:15, 5:15] = True
    ignored[5:15, 25:35] = True
    prediction[4:16, 24:36] = True  # a rim of it is beyond
    alone = score_instances(met(truth, prediction, confidence, ignored=ignored))
    assert (alone.prediction, alone.true_positives, alone.false_positives) == (1, 1, 0)
    assert (alone.panoptic_quality, alone.average_precision) == (1, 1)
    prediction[5:15, 45:51] = True
    ignored[5:15, 45:48] = True  # half of it, and no more
    with_another = score_instances(met(truth, prediction, confidence, ignored=ignored))
    assert (with_another.prediction, with_another.false_positives) == (2, 1)
    ignored[4:16, 24:36] = True  # wholly
    assert score_instances(met(truth, prediction, ignored=ignored)).false_positives == 1


def test_instances_with_and_without_an_id():
    """As hand corrections leave them: what has no id is told apart by where it hangs together, over windows."""
    truth, ids = np.zeros((2, 60, 60), np.int64)
    for number, corner in enumerate([(2, 2), (20, 20), (20, 30), (40, 2)], 1):
        truth[corner[0] : corner[0] + 9, corner[1] : corner[1] + 9] = number
        ids[truth == number] = number if number % 2 else UNNAMED
    scores = score_instances(met(truth, ids, size=23))
    assert (scores.prediction, scores.true_positives, scores.panoptic_quality) == (4, 4, 1)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 9, 20]))
def test_panoptic_quality_is_as_defined(seed, smallest):
    truth, prediction, confidence = scene(seed)
    total, right, wrong, missed = panoptic(truth, prediction, smallest)
    scores = score_instances(met(truth, prediction, confidence), smallest=smallest)
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (right, wrong, missed)
    assert scores.truth == right + missed
    assert scores.prediction == sum(n >= smallest for n in np.unique(prediction[prediction > 0], return_counts=True)[1])
    assert scores.panoptic_quality == pytest.approx(total / (right + wrong / 2 + missed / 2))
    assert scores.segmentation_quality == pytest.approx(total / right)
    assert scores.recognition_quality == pytest.approx(right / (right + wrong / 2 + missed / 2))
    assert scores.panoptic_quality == pytest.approx(scores.segmentation_quality * scores.recognition_quality)


def test_by_hand():
    truth, prediction = np.zeros((10, 30), bool), np.zeros((10, 30), bool)
    truth[2:6, 2:6] = truth[2:6, 12:16] = True
    prediction[2:6, 2:5] = prediction[8, 20:24] = True  # 12 of 16, and one that is nothing
    confidence = np.full(truth.shape, 127, np.uint8)
    confidence[8] = 254
    scores = score_instances(met(truth, prediction, confidence))
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (1, 1, 1)
    assert scores.segmentation_quality == 0.75
    assert scores.panoptic_quality == 0.375
    # Half the truth is found at precision 0.5 (the wrong one is surer), up to an IoU of 0.75: recalls 0 to 0.50.
    assert scores.average_precision_50 == pytest.approx(0.5 * 51 / 101)
    assert scores.average_precision == pytest.approx(0.5 * 51 / 101 * 6 / 10)


def test_without_truth_without_prediction_and_without_confidence():
    nothing, some = np.zeros((8, 8), bool), np.eye(8, dtype=bool)
    sure = np.full((8, 8), 254, np.uint8)
    no_truth = score_instances(met(nothing, some, sure))
    assert (no_truth.false_positives, no_truth.panoptic_quality, no_truth.recognition_quality) == (1, 0, 0)
    assert math.isnan(no_truth.average_precision)
    assert math.isnan(no_truth.segmentation_quality)
    no_prediction = score_instances(met(some, nothing, sure))
    assert (no_prediction.false_negatives, no_prediction.panoptic_quality) == (1, 0)
    assert no_prediction.average_precision == no_prediction.average_precision_50 == 0
    neither = score_instances(met(nothing, nothing, sure)).to_json()
    assert {name for name, value in neither.items() if value is None} == {
        n for n in neither if n.endswith(("ty", "50", "ision"))
    }
    unsure = score_instances(met(some, some))
    assert unsure.panoptic_quality == 1
    assert math.isnan(unsure.average_precision)
    assert json.loads(json.dumps(unsure.to_json()))["average_precision"] is None
