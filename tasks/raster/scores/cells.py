"""Scores place by place: a confusion matrix for each cell of a grid, and how far the whole may be from the truth.

Neighbouring pixels are wrong together, so an interval that takes pixels for independent is much too narrow. Whole cells
are drawn with replacement instead, as often as there are, and the scores computed anew each time: the block bootstrap
(Künsch 1989, The Annals of Statistics 17.3; cells that do not overlap, as in Carlstein 1986, 14.3). The interval says
how much the scores would move with other places of the same kind; cells must be larger than what is wrong together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.raster.grid import Window

DRAWS = 1000
LEVEL = 0.95
FEW = 5
"""Cells below which nothing is drawn: their intervals would say too little."""
_AT_ONCE = 1 << 22
"""Counts of cells held at once while drawing."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a score lies with a probability of 95 %."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Counts of a scene by place."""

    side: int
    """Pixels a side of a cell; those at the end of a row or column are smaller."""
    counts: NDArray[np.int64]
    """(row, column, class, class) labelled pixels of each cell, true class before predicted class."""

    @classmethod
    def empty(cls, shape: tuple[int, int], *, side: int, classes: int) -> Cells:
        """Nothing counted yet, of a scene of (rows, columns) pixels."""
        rows, cols = (-(-length // side) for length in shape)
        return cls(side, np.zeros((rows, cols, classes, classes), np.int64))

    @property
    def matrix(self) -> NDArray[np.int64]:
        """(class, class) of the whole scene."""
        total: NDArray[np.int64] = self.counts.sum(axis=(0, 1))
        return total

    def window(self, cell: tuple[int, int], shape: tuple[int, int]) -> Window:
        """The pixels of a cell of a scene of (rows, columns) pixels."""
        rows, cols = (
            slice(n * self.side, min((n + 1) * self.side, length)) for n, length in zip(cell, shape, strict=True)
        )
        return rows, cols

    def worst(self, count: int) -> list[tuple[tuple[int, int], float]]:
        """Cells with most wrong pixels, as (row, column), and the share of their labelled pixels that is wrong."""
        labelled = self.counts.sum(axis=(2, 3))
        wrong = labelled - np.trace(self.counts, axis1=2, axis2=3)
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        places = [(int(r), int(c)) for r, c in zip(*np.unravel_index(order, wrong.shape), strict=True)]
        return [(cell, float(wrong[cell] / labelled[cell])) for cell in places if wrong[cell]]

    def inside(self, extent: tuple[int, int, int, int]) -> NDArray[np.int64]:
        """(class, class) of the cells whose middle lies in an extent: its first row and column, and those after it."""
        top, left, bottom, right = extent
        middles = [(np.arange(n) + 0.5) * self.side for n in self.counts.shape[:2]]
        rows, cols = (
            (m >= low) & (m < high) for m, low, high in zip(middles, (top, left), (bottom, right), strict=True)
        )
        total: NDArray[np.int64] = self.counts[rows][:, cols].sum(axis=(0, 1))
        return total


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of scores; None where a score was undefined too often, or there are too few cells."""

    cells: int
    """How many hold labelled pixels."""
    iou: tuple[Interval | None, ...]
    """Of each class."""
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
        return Intervals(len(counted), (None,) * classes, None, None)
    rng = np.random.default_rng(seed)
    step = max(_AT_ONCE // len(counted), 1)
    even = np.full(len(counted), 1 / len(counted))
    drawn = np.concatenate(
        [rng.multinomial(len(counted), even, size=min(step, draws - n)) @ counted for n in range(0, draws, step)]
    ).reshape(-1, classes, classes)
    iou = intersection_over_union(drawn)
    present = cells.matrix.sum(axis=1) > 0
    accuracy = np.trace(drawn, axis1=1, axis2=2) / drawn.sum(axis=(1, 2))
    mean = np.nanmean(iou[:, present], axis=1)
    return Intervals(
        len(counted), tuple(_interval(iou[:, n]) for n in range(classes)), _interval(mean), _interval(accuracy)
    )


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
