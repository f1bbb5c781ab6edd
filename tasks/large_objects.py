"""Objects that windows do not see whole: each is looked at in a picture of its own, as coarse as it must be.

What SAM makes of a part of an object differs from window to window; one mask of the whole has no edge between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.sam_prompts import WINDOW, segment_boxes
from tasks.labelers import HALO
from tasks.raster.grid import Window, crop_to, shape_of, windows
from tasks.sam_view import CORE, SamView

LARGE = WINDOW // 2
"""Pixels of a side from which on an object is looked at by itself, wherever it lies."""
CUT = 2 * HALO
"""Pixels of a side from which on one is that lies across windows so that one of them does not see all of it: a smaller
one is seen whole by the window that has more of it."""
AROUND = 1.25
"""What its picture shows, as a multiple of its longer side."""
COARSEST = 16
"""Pixels a side that become one, at most; what is larger still, as a forest, is left to the windows."""


@dataclass(frozen=True, slots=True)
class LargeMask:
    """SAM's mask of an object, coarse, as logits."""

    logit: NDArray[np.float16]
    row: int
    column: int
    """Of the grid, where its first pixel begins."""
    factor: int
    """Pixels of the grid a side of one of its own."""
    score: float

    def at(self, place: Window) -> NDArray[np.float32]:
        """(y, x) the logits in a window of the grid, -inf where it was not looked."""
        found = np.full(shape_of(place), -np.inf, np.float32)
        rows, cols = (
            (np.arange(s.start, s.stop) - first) // self.factor
            for s, first in zip(place, (self.row, self.column), strict=True)
        )
        height, width = self.logit.shape
        inside = ((rows >= 0) & (rows < height))[:, None] & (cols >= 0) & (cols < width)
        found[inside] = self.logit[rows.clip(0, height - 1)][:, cols.clip(0, width - 1)][inside]
        return found


def is_large(boxes: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(n,) whether boxes (n, 4) of x0, y0, x1, y1 in pixels of a scene are those of objects to be looked at whole."""
    inside = boxes.clip(0, [shape[1], shape[0], shape[1], shape[0]])
    low, high = inside[:, :2], inside[:, 2:]
    side = (high - low).max(axis=1)
    first, last = low // CORE, np.maximum(np.ceil(high / CORE) - 1, low // CORE)
    cut = ((high > (first + 1) * CORE + HALO) | (low < last * CORE - HALO)).any(axis=1)
    large: NDArray[np.bool_] = ((side > LARGE) | (cut & (side > CUT))) & (AROUND * side <= COARSEST * WINDOW)
    return large


def large_mask(view: SamView, box: NDArray[np.float64], *, slack: float) -> LargeMask:
    """SAM's mask of a large object.

    Args:
        view: SAM before the scene.
        box: x0, y0, x1, y1 in columns and rows of the grid.
        slack: what it may reach beyond its box, as a share of the box's sides.
    """
    rows, columns = view.cube.grid.shape
    x0, y0, x1, y1 = box.clip(0, [columns, rows, columns, rows])
    factor = math.ceil(AROUND * max(x1 - x0, y1 - y0, 1) / WINDOW)
    side = factor * WINDOW
    row, column = (int(max((low + high - side) // 2, 0)) for low, high in ((y0, y1), (x0, x1)))
    place = crop_to((slice(row, row + side), slice(column, column + side)), (rows, columns))
    asked = view.look(_coarse(view, place, factor))
    own = np.array([[x0 - column, y0 - row, x1 - column, y1 - row]]) / factor
    ((logit, score),) = segment_boxes(asked, own, slack=slack)
    return LargeMask(logit.astype(np.float16), row, column, factor, score)


def _coarse(view: SamView, place: Window, factor: int) -> NDArray[np.uint8]:
    """A window as a picture whose pixels are means of `factor` x `factor`; read in parts."""
    height, width = (-(-n // factor) for n in shape_of(place))
    found = np.empty((height, width, 3), np.uint8)
    for part in windows((height, width), max(WINDOW // factor, 1)):
        fine = (
            slice(place[0].start + part[0].start * factor, min(place[0].start + part[0].stop * factor, place[0].stop)),
            slice(place[1].start + part[1].start * factor, min(place[1].start + part[1].stop * factor, place[1].stop)),
        )
        picture = view.picture(fine).astype(np.float32)
        more = [(0, -n % factor) for n in picture.shape[:2]]
        full = np.pad(picture, (*more, (0, 0)), mode="edge")
        means = full.reshape(full.shape[0] // factor, factor, full.shape[1] // factor, factor, 3).mean((1, 3))
        found[part] = means.round().astype(np.uint8)
    return found
