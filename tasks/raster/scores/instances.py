"""Instances of one class in a truth and a prediction, met window by window: how large each is, and what they share.

A row of pixels is cut into runs in which neither map changes; runs of a window are summed by pair of pieces. So what
is held is some numbers a pair of pieces that meet in a window, never a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.blend import NODATA, TOP
from tasks.raster.grid import Window, shape_of
from tasks.raster.kernels import compiled
from tasks.raster.scores.regions import EIGHT, Connected, Given, Regions

_VOID = np.int64(-1)
"""Stands for the truth where a predicted instance is ignored."""
_RUN = 5
"""Numbers of a run: truth, prediction, pixels, confidence, first pixel."""


@dataclass(frozen=True, slots=True)
class Met:
    """Instances of two maps over a whole scene, each map's in the order of their first pixels."""

    truth: NDArray[np.int64]
    """(n,) pixels of each true instance."""
    prediction: NDArray[np.int64]
    """(m,) pixels of each predicted one."""
    ignored: NDArray[np.int64]
    """(m,) pixels of each predicted one that are ignored, and not counted among these."""
    confidence: NDArray[np.float64]
    """(m,) mean over its pixels, 0..1; NaN where none was given."""
    pairs: NDArray[np.int64]
    """(k, 2) places in `truth` and `prediction` of those that share pixels, in order."""
    common: NDArray[np.int64]
    """(k,) how many they share."""

    @property
    def iou(self) -> NDArray[np.float64]:
        """(k,) intersection over union of each pair."""
        union = self.truth[self.pairs[:, 0]] + self.prediction[self.pairs[:, 1]] - self.common
        found: NDArray[np.float64] = self.common / union
        return found


class Instances:
    """Takes the windows of a truth and a prediction in reading order: row by row, without gaps, each row from column 0.

    Each of the two is either a mask, whose connected regions are its instances, or ids that are unique over the scene.
    Pixels that are ignored are taken out before anything is counted: an instance has the area that is left, and a true
    region that they cut in two is two. A predicted one that lies across them is one, and it is known how much of it
    they are. What is wholly ignored is no instance.
    """

    def __init__(self, columns: int, *, connectivity: int = EIGHT) -> None:
        """Begin.

        Args:
            columns: of the scene.
            connectivity: 4 or 8, of masks: whether pixels that share only a corner hang together.
        """
        self._columns = columns
        self._connectivity = connectivity
        self._sides: list[Regions | None] = [None, None]
        self._runs: list[NDArray[np.int64]] = []
        self._sure = True
        self._rows, self._right = slice(0, 0), columns

    def add(
        self,
        window: Window,
        truth: NDArray[Any],
        prediction: NDArray[Any],
        *,
        ignored: NDArray[np.bool_] | None = None,
        confidence: NDArray[np.uint8] | None = None,
    ) -> None:
        """Take the next window.

        Args:
            window: where it lies in the scene.
            truth: (y, x) bool of the class, or integer ids from 1, unique over the scene; 0 where there is none, and
                `regions.UNNAMED` where there is one without an id: what hangs together of these is one.
            prediction: (y, x), either of the same.
            ignored: (y, x) True where no pixel counts; None: every pixel does.
            confidence: (y, x) uint8 of the prediction, 0...254 = p·254; pixels of 255 are ignored. Without it there
                is no average precision.

        Raises:
            UnusableInput: shapes differ from the window's, ids are negative or not integers, or a map that was a mask
                is ids now.
            ValueError: the window is not the next in reading order.
        """
        self._advance(window)
        arrays = (truth, prediction, ignored, confidence)
        if any(a is not None and a.shape != shape_of(window) for a in arrays):
            shapes = ", ".join(str(a.shape) for a in arrays if a is not None)
            raise UnusableInput(f"Arrays are {shapes} in a window of {shape_of(window)}: expected its shape.")
        if confidence is None:
            self._sure = False
        elif (confidence == NODATA).any():
            ignored = confidence == NODATA if ignored is None else ignored | (confidence == NODATA)
        one, other = self._numbers(0, window, truth, ignored), self._numbers(1, window, prediction, None)
        if ignored is not None:
            one = np.where(ignored & (other > 0), _VOID, one)
        said = np.zeros((1, 1), np.uint8) if confidence is None else np.ascontiguousarray(confidence)
        runs = np.empty((_count_runs(one, other), _RUN), np.int64)
        _fill_runs(one, other, said, confidence is not None, runs)
        rows, cols = window
        row, col = np.divmod(runs[:, 4], cols.stop - cols.start)
        runs[:, 4] = (row + rows.start) * self._columns + col + cols.start
        self._runs.append(_summed(runs))

    def met(self) -> Met:
        """Everything that was met so far."""
        runs = np.concatenate([np.zeros((0, _RUN), np.int64), *self._runs])
        for n, side in enumerate(self._sides):
            here = runs[:, n] > 0
            if side is not None:
                runs[here, n] = side.whole(runs[here, n])
        runs = _summed(runs)
        void, runs = runs[runs[:, 0] == _VOID], runs[runs[:, 0] != _VOID]
        one, areas, _ = _instances(runs, 0)
        other, predicted, sums = _instances(runs, 1)
        both = (one > 0) & (other > 0)
        mean = sums / predicted / TOP if self._sure else np.full(len(predicted), np.nan)
        pairs, common = np.stack([one[both], other[both]], axis=1) - 1, runs[both, 2]
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        ignored = np.zeros(len(predicted) + 1, np.int64)
        ids, first = np.unique(runs[:, 1], return_index=True)
        known = np.isin(void[:, 1], ids)  # else the whole of it is ignored
        ignored[other[first[np.searchsorted(ids, void[known, 1])]]] = void[known, 2]
        return Met(areas, predicted, ignored[1:], mean, pairs[order], common[order])

    def _advance(self, window: Window) -> None:
        rows, cols = window
        new_row = self._right == self._columns
        expected = (self._rows.stop, 0) if new_row else (self._rows.start, self._right)
        if (rows.start, cols.start) != expected or cols.stop > self._columns or not (new_row or rows == self._rows):
            raise ValueError(f"window is {window}: expected the next in reading order, at row and column {expected}")
        self._rows, self._right = rows, cols.stop

    def _numbers(
        self, n: int, window: Window, values: NDArray[Any], ignored: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        kind = Connected if values.dtype == bool else Given
        if values.dtype.kind not in "biu":
            raise UnusableInput(f"Instances are {values.dtype}: expected a mask or integer ids.")
        side = self._sides[n]
        if side is None:
            side = self._sides[n] = kind(self._columns, self._connectivity)
        if type(side) is not kind:
            raise UnusableInput(f"Instances are {values.dtype} at {window} and were not before: give masks, or ids.")
        if ignored is not None:
            values = np.where(ignored, values.dtype.type(0), values)
        return side.add(window, values)


def _summed(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """One for each pair of truth and prediction: pixels and confidences summed, the first of the first pixels."""
    if not len(runs):
        return runs
    runs = runs[np.lexsort((runs[:, 1], runs[:, 0]))]
    start = np.flatnonzero(np.r_[True, (np.diff(runs[:, :2], axis=0) != 0).any(axis=1)])
    pixels, confidence = np.add.reduceat(runs[:, 2], start), np.add.reduceat(runs[:, 3], start)
    return np.column_stack([runs[start, :2], pixels, confidence, np.minimum.reduceat(runs[:, 4], start)])


def _instances(runs: NDArray[np.int64], column: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Instances of one map: their places (run,) from 1, 0 for none; and their pixels and confidences, (n,)."""
    here = runs[:, column] > 0
    ids, place = np.unique(runs[here, column], return_inverse=True)
    first = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(first, place, runs[here, 4])
    order = np.argsort(first)
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.arange(len(ids))
    places = np.zeros(len(runs), np.int64)
    places[here] = rank[place] + 1
    sums = np.zeros((2, len(ids) + 1), np.int64)
    for total, values in zip(sums, runs[:, 2:4].T, strict=True):
        np.add.at(total, places, values)
    return places, sums[0, 1:], sums[1, 1:]


@compiled
def _count_runs(one: NDArray[np.int64], other: NDArray[np.int64]) -> np.int64:
    """Runs along rows in which neither changes and either is there."""
    found = np.int64(0)
    for y in range(one.shape[0]):
        a, b = np.int64(0), np.int64(0)
        for x in range(one.shape[1]):
            here, there = one[y, x], other[y, x]
            found += np.int64(((here != a) | (there != b)) & ((here | there) != 0))
            a, b = here, there
    return found


@compiled
def _fill_runs(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    confidence: NDArray[np.uint8],
    sure: bool,  # noqa: FBT001 - numba takes no keywords alone
    runs: NDArray[np.int64],
) -> None:
    """Write them: (run, 5) truth, prediction, pixels, sum of confidences, and the first pixel's place in the window."""
    n = -1
    width = one.shape[1]
    for y in range(one.shape[0]):
        a, b = np.int64(0), np.int64(0)
        for x in range(width):
            here, there = one[y, x], other[y, x]
            if (here | there) != 0:
                if here != a or there != b:
                    n += 1
                    runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3], runs[n, 4] = here, there, 0, 0, y * width + x
                runs[n, 2] += 1
                if sure:
                    runs[n, 3] += np.int64(confidence[y, x])
            a, b = here, there
