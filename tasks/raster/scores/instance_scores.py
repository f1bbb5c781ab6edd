"""How well instances were found: COCO's average precision, and panoptic quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from tasks.raster.kernels import compiled
from tasks.raster.scores.instances import Met
from tasks.raster.scores.plain import to_plain

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Intersections over union from which COCO takes two for the same (cocoeval.py, Params.setDetParams)."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which COCO reads the precision, and takes the mean."""
MATCH = 0.5
"""Intersection over union above which two are the same in panoptic quality: no instance can then have two partners."""
_WRONG, _RIGHT, _APART = np.int8(0), np.int8(1), np.int8(2)
"""What became of a prediction; apart is what neither counts for nor against."""


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Scores of instances, in [0, 1] where they are no counts; NaN where a score is 0/0."""

    truth: int
    """True instances of at least the smallest area."""
    prediction: int
    """Predicted ones, but for those that are left out because most of them is ignored."""
    true_positives: int
    """Pairs of an intersection over union above 0.5 (of exactly 0.5, COCO counts a pair and these do not)."""
    false_positives: int
    false_negatives: int
    panoptic_quality: float
    """Sum of the pairs' IoUs by the mean number of instances, TP + FP/2 + FN/2; NaN without any instance."""
    segmentation_quality: float
    """Mean IoU of the pairs; NaN without any."""
    recognition_quality: float
    """F1 of finding instances; NaN without any instance."""
    average_precision_50: float
    """COCO's AP50; NaN without truth or without confidences, 0 with truth and no prediction."""
    average_precision: float
    """COCO's AP, the mean over IoU 0.50:0.05:0.95; NaN and 0 as that at 50."""

    def to_json(self) -> dict[str, JsonValue]:
        """The same as plain JSON, None for NaN."""
        return to_plain(self)


def score_instances(met: Met, *, smallest: int = 0) -> InstanceScores:
    """Scores of the instances that were met.

    Counts and panoptic quality as Kirillov and others 2019 (arXiv:1801.00868), section 4.1. Average precision as
    COCO's evaluation of masks in one image (pycocotools, COCOeval), all areas, any number of predictions; an
    instance's score is its mean confidence, and of equal scores the one whose first pixel comes first is looked at
    first. A prediction that matches nothing and is ignored by more than half counts in neither: what is left of it is
    the rim of what the truth leaves open.

    Without truth, every prediction is a false positive: panoptic and recognition quality are 0 and AP is NaN. Without
    prediction all three are 0. Without either all scores are NaN.

    Args:
        met: the instances of both maps.
        smallest: instances of fewer pixels are left out as COCO leaves out those beyond an area range. A true one is
            not missed if it is not found, and what is matched to it is no false positive. A predicted one that
            matches nothing is no false positive either, but counts as right where it matches a true one that is
            large enough.
    """
    small, small_predicted = met.truth < smallest, met.prediction < smallest
    iou = met.iou
    same = iou > MATCH
    one, other = met.pairs[same].T
    counts = ~small[one]
    right, shared = int(counts.sum()), float(iou[same][counts].sum())
    matched = np.zeros(len(met.prediction), bool)
    matched[other] = True
    left_out = ~matched & _mostly_ignored(met)
    wrong = int((~matched & ~left_out & ~small_predicted).sum())
    missed = int((~small).sum()) - right
    half = right + (wrong + missed) / 2
    precision = average_precisions(met, smallest=smallest)
    nan = float("nan")
    return InstanceScores(
        truth=int((~small).sum()),
        prediction=int((~left_out & ~small_predicted).sum()),
        true_positives=right,
        false_positives=wrong,
        false_negatives=missed,
        panoptic_quality=shared / half if half else nan,
        segmentation_quality=shared / right if right else nan,
        recognition_quality=right / half if half else nan,
        average_precision_50=float(precision[0]),
        average_precision=float(precision.mean()),
    )


def average_precisions(met: Met, *, smallest: int = 0) -> NDArray[np.float64]:
    """COCO's average precision at each of `THRESHOLDS`, (10,); NaN without truth or without confidences."""
    small, small_predicted = met.truth < smallest, met.prediction < smallest
    if small.all() or np.isnan(met.confidence).any():
        return np.full(len(THRESHOLDS), np.nan)
    left_out = small_predicted | _mostly_ignored(met)
    order = np.argsort(-met.confidence, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    iou = met.iou
    near = iou >= THRESHOLDS[0] - 1e-9
    (one, other), iou = met.pairs[near].T, iou[near]
    # By prediction, surest first; of its truths those that count first, as COCO has them.
    sequence = np.lexsort((one, small[one], rank[other]))
    one, other, iou = one[sequence], rank[other[sequence]], iou[sequence]
    return np.array([
        _read_curve(_outcomes(one, other, iou, small, threshold, len(order)), small, left_out[order])
        for threshold in THRESHOLDS
    ])  # fmt: skip


@compiled
def _outcomes(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    iou: NDArray[np.float64],
    small: NDArray[np.bool_],
    threshold: float,
    count: int,
) -> NDArray[np.int8]:
    """Whether each prediction (surest first) is right, wrong, or matched to a truth that is left out.

    Each takes the truth of the largest IoU that is free, the last of equals; one that is left out only where no other
    is (cocoeval.py, evaluateImg).
    """
    found = np.full(count, _WRONG)
    taken = np.zeros(small.size, np.bool_)
    n = 0
    while n < other.size:
        which, best, least = other[n], -1, min(threshold, 1 - 1e-10)
        while n < other.size and other[n] == which:
            free = not taken[one[n]]
            worse = best >= 0 and not small[best] and small[one[n]]
            if free and not worse and iou[n] >= least:
                best, least = one[n], iou[n]
            n += 1
        if best >= 0:
            taken[best] = True
            found[which] = _APART if small[best] else _RIGHT
    return found


def _mostly_ignored(met: Met) -> NDArray[np.bool_]:
    return met.ignored > MATCH * (met.prediction + met.ignored)


def _read_curve(outcomes: NDArray[np.int8], small: NDArray[np.bool_], left_out: NDArray[np.bool_]) -> float:
    """The mean over 101 recalls of the best precision from that recall on."""
    counts = (outcomes == _RIGHT) | ((outcomes == _WRONG) & ~left_out)
    right = np.cumsum(outcomes[counts] == _RIGHT)
    # Predictions that do not count repeat a point of the curve, so they may be left out of it.
    precision = right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(right / np.count_nonzero(~small), RECALLS, side="left")
    return float(np.append(best, 0.0)[place].mean())
