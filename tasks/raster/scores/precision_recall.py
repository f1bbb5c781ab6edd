"""What each class would give at every threshold of its probability: precision, recall and average precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infra.errors import UnusableInput
from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE
from tasks.raster.kernels import LANES, Rows, compiled, rows_of

_VALUES = 256


@dataclass(frozen=True, slots=True)
class Curve:
    """One class against all others."""

    precision: tuple[float, ...]
    """Share that is right of the pixels with a probability of at least t/254, for t from 254 down to 0; NaN of none."""
    recall: tuple[float, ...]
    """Share of the class that these are; NaN where it does not occur."""
    average_precision: float
    """Sum over thresholds of the recall that each adds, times its precision (scikit-learn's); NaN as recall."""
    best_f1: float
    """The largest F1 of any threshold; NaN as recall."""
    best_threshold: float
    """The highest threshold that has it, 0 to 1; NaN as recall."""

    def to_json(self) -> dict[str, JsonValue]:
        """Without the curve itself, None for NaN."""
        names = ("average_precision", "best_f1", "best_threshold")
        return {name: None if np.isnan(getattr(self, name)) else getattr(self, name) for name in names}


class PrecisionRecall:
    """Counts of pixels by class, probability and truth; windows come in any order."""

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= IGNORE:
            raise ValueError(f"classes is {classes}: expected 1 to {IGNORE}")
        self._counts = np.zeros((classes, 2, TOP + 1), np.int64)
        """Of another class (0) and of this one (1), by probability in 254ths."""

    def add(self, probability: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Count a window.

        Args:
            probability: (class, y, x) uint8, 0...254 = p·254; 255 is nodata.
            truth: (y, x) uint8 class ids, 255 where unknown. Pixels without one of the two do not count.

        Raises:
            UnusableInput: shapes or types do not fit.
        """
        if probability.shape != (len(self._counts), *truth.shape) or not probability.dtype == truth.dtype == np.uint8:
            raise UnusableInput(
                f"Probabilities are {probability.dtype} {probability.shape} and truth is {truth.dtype} {truth.shape}: "
                f"expected uint8 {(len(self._counts), *truth.shape)} and its (y, x)."
            )
        counts = np.zeros((len(self._counts), LANES, 2, _VALUES), np.int64)
        height, width = truth.shape
        _count(rows_of(probability), rows_of(truth), height, width, counts)
        self._counts += counts.sum(axis=1)[:, :, : TOP + 1]

    def curves(self) -> tuple[Curve, ...]:
        """One a class, of everything counted so far."""
        return tuple(_curve(*counts[:, ::-1].cumsum(axis=1)) for counts in self._counts)


def _curve(wrong: NDArray[np.int64], right: NDArray[np.int64]) -> Curve:
    """The curve of pixels at or above each threshold, from the highest down."""
    with np.errstate(invalid="ignore"):
        precision, recall = right / (wrong + right), right / right[-1]
    if not right[-1]:
        return Curve(tuple(precision.tolist()), tuple(recall.tolist()), *[float("nan")] * 3)
    f1 = 2 * right / (wrong + right + right[-1])
    best = int(f1.argmax())
    area = float(np.nansum(np.diff(recall, prepend=0.0) * precision))
    return Curve(tuple(precision.tolist()), tuple(recall.tolist()), area, float(f1[best]), (TOP - best) / TOP)


@compiled
def _count(planes: Rows, truth: Rows, height: int, width: int, counts: NDArray[np.int64]) -> None:
    """Add to counts (class, lane, 2, value): pixels of another class, and of this one; what is unknown at 255."""
    p, p_plane, p_row = planes
    t, _, t_row = truth
    unknown = np.uint8(255)
    for k in range(counts.shape[0]):
        number = np.uint8(k)
        for y in range(height):
            plane, true = p[k * p_plane + y * p_row :][:width], t[y * t_row :][:width]
            for x in range(width):
                value = unknown if true[x] == unknown else plane[x]
                counts[k, x % counts.shape[1], np.int64(true[x] == number), value] += 1
