"""How right a map is: a confusion matrix, and the scores that follow from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infra.errors import UnusableInput

IGNORE = 255
"""The label of a pixel whose class is unknown, and the prediction of one without data."""
_PIECE = 1 << 18
"""Pixels counted at once: their codes stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores in [0, 1], one entry a class in the order of ids; NaN where a score is 0/0."""

    iou: tuple[float, ...]
    """Intersection over union; NaN for a class absent from truth and prediction."""
    mean_iou: float
    """Over the classes that occur in the truth."""
    pixel_accuracy: float
    recall: tuple[float, ...]
    """Share of a class's truth that is found, also called class accuracy; NaN without truth."""
    mean_recall: float
    """Over the classes that occur in the truth."""
    precision: tuple[float, ...]
    """Share of a class's predictions that are right; NaN without any."""
    f1: tuple[float, ...]
    """Harmonic mean of precision and recall, also called Dice; NaN as IoU is."""
    accuracy: tuple[float, ...]
    """Share of all pixels that are rightly called the class, or rightly not: large for whatever is rare."""
    found: tuple[int, ...]
    """True positives: pixels of each class that are predicted as it."""
    invented: tuple[int, ...]
    """False positives: pixels predicted as it that are none."""
    missed: tuple[int, ...]
    """False negatives: pixels of it that are predicted as another."""
    truth: tuple[int, ...]
    """Labelled pixels of each class."""
    prediction: tuple[int, ...]
    """Labelled pixels predicted as each class."""

    def to_json(self) -> dict[str, JsonValue]:
        """The same as plain JSON, None for NaN."""
        return {name: _plain(value) for name, value in asdict(self).items()}


class Confusion:
    """Counts of pixels by true class (rows) and predicted class (columns); those with 255 in either are left out."""

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= IGNORE:
            raise ValueError(f"classes is {classes}: expected 1 to {IGNORE}")
        self.matrix: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, truth: NDArray[Any], prediction: NDArray[Any]) -> None:
        """Count more pixels; both are integer arrays of one shape, with class ids or 255.

        Raises:
            UnusableInput: the shapes differ, or an id is not a class.
        """
        if truth.shape != prediction.shape:
            raise UnusableInput(f"Truth is {truth.shape} and prediction {prediction.shape}: expected the same shape.")
        rows, columns = _bytes(truth, "truth"), _bytes(prediction, "prediction")
        counts = np.zeros(1 << 16, np.int64)
        for start in range(0, rows.size, _PIECE):
            # One code a pixel, all 65536 counted: cheaper than to look for the ignored ones first.
            code = rows[start : start + _PIECE].astype(np.uint16)
            code <<= 8
            code |= columns[start : start + _PIECE]
            counts += np.bincount(code, minlength=1 << 16)
        table = counts.reshape(256, 256)[:IGNORE, :IGNORE]
        classes = len(self.matrix)
        if table[classes:].any() or table[:, classes:].any():
            highest = int(np.argwhere(table).max())
            raise UnusableInput(
                f"Class {highest} occurs where ids end at {classes - 1}: give the class map of the labels."
            )
        self.matrix += table[:classes, :classes]

    def scores(self) -> Scores:
        """The scores of everything counted so far."""
        hit = np.diag(self.matrix).astype(np.float64)
        truth, prediction = self.matrix.sum(axis=1), self.matrix.sum(axis=0)
        iou, recall = _ratio(hit, truth + prediction - hit), _ratio(hit, truth)
        return Scores(
            iou=_floats(iou),
            mean_iou=_mean(iou, truth > 0),
            pixel_accuracy=float(_ratio(hit.sum(), truth.sum())),
            recall=_floats(recall),
            mean_recall=_mean(recall, truth > 0),
            precision=_floats(_ratio(hit, prediction)),
            f1=_floats(_ratio(2 * hit, truth + prediction)),
            accuracy=_floats(1 - _ratio(truth + prediction - 2 * hit, np.full(len(hit), truth.sum()))),
            found=_whole(hit),
            invented=_whole(prediction - hit),
            missed=_whole(truth - hit),
            truth=_whole(truth),
            prediction=_whole(prediction),
        )


def _bytes(ids: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Flat uint8, without letting 256 become 0."""
    if ids.dtype == np.uint8:
        return ids.ravel()
    if ids.dtype.kind not in "iub":
        raise UnusableInput(f"The {what} is {ids.dtype}: expected integer class ids.")
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) > IGNORE):
        raise UnusableInput(f"The {what} holds ids from {ids.min()} to {ids.max()}: expected 0 to {IGNORE}.")
    return ids.ravel().astype(np.uint8)


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        ratio: NDArray[np.float64] = np.divide(part, whole, dtype=np.float64)
    return ratio


def _mean(values: NDArray[np.float64], where: NDArray[np.bool_]) -> float:
    return float(values[where].mean()) if where.any() else float("nan")


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _whole(values: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in values)


def _plain(value: Any) -> JsonValue:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return None if value != value else value  # noqa: PLR0124 - only NaN differs from itself
