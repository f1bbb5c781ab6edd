"""Whether a map's probabilities can be believed: calibration error, Brier score and likelihood, from whole counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infra.errors import UnusableInput
from tasks.raster.blend import NODATA, TOP
from tasks.raster.classes import IGNORE
from tasks.raster.kernels import LANES, Rows, compiled, rows_of
from tasks.raster.reliability import Bin, Reliability
from tasks.raster.scores.class_ids import as_bytes
from tasks.raster.scores.plain import to_plain

FLOOR = 1 / (2 * TOP)
"""The probability that a stored 0 stands for where its logarithm is taken: half a step."""
_COLUMNS = 256


@dataclass(frozen=True, slots=True)
class CalibrationScores:
    """What probabilities are worth; all NaN where no pixel counts."""

    pixels: int
    """That count: they have a truth and a probability."""
    expected_error: float
    """Expected calibration error of the predicted class, 15 bins of equal width (Guo and others 2017)."""
    maximum_error: float
    """The largest distance of confidence and accuracy in any of these bins."""
    brier: float
    """Mean over pixels of the squared errors of the probabilities, summed over classes: 0 to 2 (Brier 1950)."""
    log_loss: float
    """Mean negative log likelihood of the truth, nats; a stored 0 counts as 1/508, half a step of what is stored."""
    bins: tuple[Bin, ...]
    """The reliability curve: bins that hold pixels, from the least confidence up."""

    def to_json(self) -> dict[str, JsonValue]:
        """The same as plain JSON, None for NaN."""
        return to_plain(self)


class Calibration:
    """Counts of pixels by what their probabilities say and what is true; windows come in any order."""

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= IGNORE:
            raise ValueError(f"classes is {classes}: expected 1 to {IGNORE}")
        self._classes = classes
        self.reliability = Reliability()
        """Pixels by the confidence of their predicted class: of equal ones the lowest, as the map has it."""
        self._said = np.zeros(TOP + 1, np.int64)
        """Pixels by the probability of their true class, 254ths."""
        self._squares = 0
        """Sum over pixels of the squared errors of all classes, 254ths squared."""

    def add(self, probability: NDArray[np.uint8], truth: NDArray[Any]) -> None:
        """Count a window.

        Args:
            probability: (class, y, x) uint8, 0...254 = p·254, the planes of a pixel summing to 254; 255 is nodata.
            truth: (y, x) integer class ids, 255 where unknown. Pixels without one of the two do not count.

        Raises:
            UnusableInput: shapes or types do not fit, an id is not a class, or the planes of a pixel that counts do
                not sum to 254.
        """
        if probability.shape != (self._classes, *truth.shape) or probability.dtype != np.uint8:
            raise UnusableInput(
                f"Probabilities are {probability.dtype} {probability.shape} and truth {truth.shape}: expected uint8 "
                f"{(self._classes, *truth.shape)}."
            )
        counts = np.zeros((LANES, 3, _COLUMNS), np.int64)
        height, width = truth.shape
        ids = as_bytes(truth, self._classes)
        squares, wrong = _count(rows_of(probability), rows_of(ids), self._classes, height, width, counts)
        if wrong:
            raise UnusableInput(
                f"The probabilities of {wrong} pixels do not sum to {TOP}: give those that geoloom predict stored."
            )
        self.reliability.counts[:] += counts.sum(axis=0)[:2, : TOP + 1]
        self._said += counts.sum(axis=0)[2, : TOP + 1]
        self._squares += int(squares)

    def scores(self) -> CalibrationScores:
        """The scores of everything counted so far."""
        bins = tuple(self.reliability.bins())
        pixels = int(self.reliability.counts.sum())
        loss = -np.log(np.maximum(np.arange(TOP + 1) / TOP, FLOOR))
        nan = float("nan")
        return CalibrationScores(
            pixels=pixels,
            expected_error=self.reliability.error,
            maximum_error=max((abs(b.confidence - b.accuracy) for b in bins), default=nan),
            brier=self._squares / pixels / TOP**2 if pixels else nan,
            log_loss=float(self._said @ loss) / pixels if pixels else nan,
            bins=bins,
        )


@compiled
def _count(
    planes: Rows, truth: Rows, classes: int, height: int, width: int, counts: NDArray[np.int64]
) -> tuple[np.int64, np.int64]:
    """Add to counts (lane, 3, value): wrong and right pixels by their highest value, all by that of their true class.

    Returns:
        The sum of squared errors in 254ths, and how many pixels do not sum to 254.
    """
    p, p_plane, p_row = planes
    t, _, t_row = truth
    most, best, said = np.empty(width, np.uint8), np.empty(width, np.uint8), np.empty(width, np.uint8)
    total, squares = np.empty(width, np.int32), np.empty(width, np.int32)
    whole = np.int32(TOP)
    nodata = np.uint8(NODATA)
    errors, wrong = np.int64(0), np.int64(0)
    for y in range(height):
        true = t[y * t_row :][:width]
        most[:], best[:], said[:] = 0, 0, 0
        total[:], squares[:] = 0, 0
        for k in range(classes):
            plane = p[k * p_plane + y * p_row :][:width]
            number = np.uint8(k)
            for x in range(width):
                # Read first, choose, then write: a write under a condition would cost the vectors.
                value, highest, here, truly = plane[x], most[x], best[x], said[x]
                if value > highest:
                    highest, here = value, number
                if true[x] == number:
                    truly = value
                most[x], best[x], said[x] = highest, here, truly
                total[x] += np.int32(value)
                squares[x] += np.int32(value) * np.int32(value)
        first = p[y * p_row :][:width]
        for x in range(width):
            counted = np.int32((first[x] != nodata) & (true[x] != nodata))
            wrong += np.int64(counted & np.int32(total[x] != whole))
            errors += np.int64(counted * (squares[x] - np.int32(2) * whole * np.int32(said[x]) + whole * whole))
            # What does not count is counted where nobody looks.
            if counted == 0:
                most[x], said[x] = nodata, nodata
        for x in range(width):
            lane = x % counts.shape[0]
            counts[lane, np.int64(best[x] == true[x]), most[x]] += 1
            counts[lane, 2, said[x]] += 1
    return errors, wrong
