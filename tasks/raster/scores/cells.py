"""Scores place by place: a confusion matrix for each cell of a lattice, and how far the whole may be from the truth.

Neighbouring pixels are wrong together, so an interval that takes pixels for independent is much too narrow. Whole cells
are drawn with replacement instead, as often as there are, and the scores computed anew each time: the block bootstrap
(Künsch 1989, The Annals of Statistics 17.3; cells that do not overlap, as in Carlstein 1986, 14.3). The interval says
how much the scores would move with other places of the same kind; cells must be larger than what is wrong together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.raster.grid import Window

DRAWS = 1000
LEVEL = 0.95
FEW = 5
"""Cells below which nothing is drawn: their intervals would say too little."""
T = TypeVar("T")
_AT_ONCE = 1 << 22
"""Counts of cells held at once while drawing."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a score lies with a probability of 95 %."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Counts of an extent by place."""

    extent: tuple[int, int, int, int]
    """Its first row and column, and those after its last; cells begin at its corner."""
    side: int
    """Pixels a side of a cell; those at the end of a row or column are smaller."""
    counts: NDArray[np.int64]
    """(row, column, class, class) labelled pixels of each cell, true class before predicted class."""

    @classmethod
    def empty(cls, extent: tuple[int, int, int, int], *, side: int, classes: int) -> Cells:
        """Nothing counted yet."""
        top, left, bottom, right = extent
        rows, cols = -(-(bottom - top) // side), -(-(right - left) // side)
        return cls(extent, side, np.zeros((rows, cols, classes, classes), np.int64))

    @property
    def matrix(self) -> NDArray[np.int64]:
        """(class, class) of the whole extent."""
        total: NDArray[np.int64] = self.counts.sum(axis=(0, 1))
        return total

    def window(self, cell: tuple[int, int]) -> Window:
        """The pixels of a cell."""
        rows, cols = (
            slice(low + n * self.side, min(low + (n + 1) * self.side, high)) for n, low, high in self._sides(cell)
        )
        return rows, cols

    def parts(self, window: Window) -> list[tuple[tuple[int, int], Window]]:
        """The cells that a window touches, and where in it each lies."""
        rows, cols = (self._cut(axis, low, high) for axis, low, high in self._sides(window))
        return [((row, col), (down, across)) for row, down in rows for col, across in cols]

    def worst(self, count: int) -> list[tuple[tuple[int, int], float]]:
        """Cells with most wrong pixels, as (row, column), and the share of their labelled pixels that is wrong."""
        labelled, wrong = self.labelled_and_wrong()
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        places = [(int(r), int(c)) for r, c in zip(*np.unravel_index(order, wrong.shape), strict=True)]
        return [(cell, float(wrong[cell] / labelled[cell])) for cell in places if wrong[cell]]

    def labelled_and_wrong(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row, column) pixels that have a class on both sides, and those of them where the two differ."""
        labelled: NDArray[np.int64] = self.counts.sum(axis=(2, 3))
        right: NDArray[np.int64] = np.trace(self.counts, axis1=2, axis2=3)
        return labelled, labelled - right

    def _sides(self, pair: tuple[T, T]) -> list[tuple[T, int, int]]:
        """What is given for rows and for columns, each with the extent's bounds."""
        top, left, bottom, right = self.extent
        return [(pair[0], top, bottom), (pair[1], left, right)]

    def _cut(self, axis: slice, low: int, high: int) -> list[tuple[int, slice]]:
        """The cells along one side of a window, and where they lie in it."""
        start, stop = max(axis.start, low), min(axis.stop, high)
        if start >= stop:
            return []
        return [
            (
                n,
                slice(max(low + n * self.side, start) - axis.start, min(low + (n + 1) * self.side, stop) - axis.start),
            )
            for n in range((start - low) // self.side, -(-(stop - low) // self.side))
        ]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of scores; None where a score was undefined too often, or there are too few cells."""

    cells: int
    """How many hold labelled pixels."""
    iou: tuple[Interval | None, ...]
    """Of each class; so are those of F1, precision and recall."""
    f1: tuple[Interval | None, ...]
    precision: tuple[Interval | None, ...]
    recall: tuple[Interval | None, ...]
    mean_iou: Interval | None
    """Of the classes that the truth has."""
    pixel_accuracy: Interval | None


def bootstrap(cells: Cells, *, seed: int = 0, draws: int = DRAWS) -> Intervals:
    """Intervals of the scores of a scene.

    Args:
        cells: what was counted.
        seed: the same gives the same intervals.
        draws: how often as many cells are drawn as there are.
    """
    classes = cells.counts.shape[-1]
    counted = cells.counts.reshape(-1, classes * classes)
    counted = counted[counted.sum(axis=1) > 0].astype(np.float64)
    if len(counted) < FEW:
        unknown = (None,) * classes
        return Intervals(len(counted), unknown, unknown, unknown, unknown, None, None)
    rng = np.random.default_rng(seed)
    step = max(_AT_ONCE // len(counted), 1)
    even = np.full(len(counted), 1 / len(counted))
    drawn = np.concatenate(
        [rng.multinomial(len(counted), even, size=min(step, draws - n)) @ counted for n in range(0, draws, step)]
    ).reshape(-1, classes, classes)
    # As the scores are: of a class that a draw's truth lacks nothing is said, whatever is called it.
    iou = np.where(drawn.sum(axis=2) > 0, intersection_over_union(drawn), np.nan)
    hit = np.diagonal(drawn, axis1=1, axis2=2)
    with np.errstate(invalid="ignore"):
        precision, recall = hit / drawn.sum(axis=1), hit / drawn.sum(axis=2)
    by_class = (iou, 2 * iou / (1 + iou), precision, recall)
    present = cells.matrix.sum(axis=1) > 0
    accuracy = np.trace(drawn, axis1=1, axis2=2) / drawn.sum(axis=(1, 2))
    mean = np.nanmean(iou[:, present], axis=1)
    found = [tuple(_interval(score[:, n]) for n in range(classes)) for score in by_class]
    return Intervals(len(counted), found[0], found[1], found[2], found[3], _interval(mean), _interval(accuracy))


def intersection_over_union(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., class) of confusion matrices (..., class, class); NaN where a class is in neither."""
    hit = np.diagonal(matrices, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = hit / (matrices.sum(axis=-1) + matrices.sum(axis=-2) - hit)
    return found


def _interval(values: NDArray[np.float64]) -> Interval | None:
    known = values[~np.isnan(values)]
    if len(known) < LEVEL * len(values):
        return None  # the class was drawn too seldom to say
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return Interval(float(low), float(high))
