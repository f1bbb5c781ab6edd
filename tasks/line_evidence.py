"""Roads along lines that lie only roughly where the roads are: what the picture shows decides, beside the line.

A map's line is moved by metres, and its width is a guess. What the scene's roads look like (`tasks/scene_look.py`) and
the distance from the line together say what is road, and so where it runs and how wide it is (`benchmarks/labels.py`
measures it). Segment Anything's own masks, asked for by points along a line and by the line as a mask, were no better
than the line with a good width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from tasks.raster.grid import Window, shape_of
from tasks.raster.lines import Beside, beside
from tasks.raster.vectors import Shapes
from tasks.scene_look import ClassLook, Lesson, Sight, lesson

ON, OFF, FAR = 1 / 7, 0.6, 3.0
"""Half widths from a line: within the first is taught as road, from the second to the third as none."""
EDGE = 1.05
"""Half widths from a line at which its place alone speaks neither for road nor against it."""
SLOPES = 1.0, 10.0
"""The least and the most by which the logit falls every half width."""
REACH = 2.0
"""Half widths beyond which nothing is of a line."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for lines of one class in a window."""

    beside: Beside
    """In half widths."""
    logit: NDArray[np.float32]
    """(y, x) for the nearest line's class; -inf beyond its reach."""


class Lines:
    """The lines of one class of a scene."""

    def __init__(self, shapes: Shapes, klass: int) -> None:
        """Take those of a class out of a scene's vectors."""
        self.klass = klass
        self.numbers = np.flatnonzero((shapes.width > 0) & (shapes.label == klass))
        """Their places among the vectors."""
        self._lines, self._half = shapes.geometry[self.numbers], shapes.width[self.numbers] / 2
        self._reach = int(np.ceil(FAR * self._half.max()))
        self.tree = shapely.STRtree(self._lines)

    def beside(self, place: Window) -> Beside | None:
        """Of each pixel of a window, the line that is nearest in half widths, and how many; None where none is near."""
        rows, cols = place
        box = shapely.box(cols.start, rows.start, cols.stop, rows.stop).buffer(self._reach, join_style="mitre")
        near = np.sort(self.tree.query(box, predicate="intersects"))
        if not near.size:
            return None
        number, away = np.zeros(shape_of(place), np.intp), np.full(shape_of(place), np.inf, np.float32)
        for half in np.unique(self._half[near]):
            these = near[self._half[near] == half]
            found = beside(self._lines[these], place, reach=int(np.ceil(FAR * half)))
            if found is not None:
                closer = found.away < half * away
                number[closer], away[closer] = these[found.number[closer]], found.away[closer] / half
        return Beside(number, away) if np.isfinite(away).any() else None

    def bounds(self, number: int, window: Window) -> tuple[float, float, float, float] | None:
        """x0, y0, x1, y1 of the part of a line that lies in a window, in pixels of the grid; None if none does."""
        rows, cols = window
        part = shapely.clip_by_rect(self._lines[number], cols.start, rows.start, cols.stop, rows.stop)
        if part.is_empty:
            return None
        x0, y0, x1, y1 = part.bounds
        return x0, y0, x1, y1

    def lesson(self, sight: Sight) -> Lesson:
        """What a window teaches of the class, where it has data."""
        around = self.beside(sight.place)
        away = np.where(sight.valid, np.inf if around is None else around.away, np.inf)
        return lesson(sight, away <= ON, (away > OFF) & (away < FAR))


def all_lines(shapes: Shapes) -> list[Lines]:
    """The lines of a scene's vectors, class by class."""
    return [Lines(shapes, klass) for klass in np.unique(shapes.label[shapes.width > 0]).tolist()]


def slopes(widths: NDArray[np.float64], misplaced: float) -> NDArray[np.float64]:
    """How much the place of lines says: by so much the logit falls every half width from them.

    Args:
        widths: (n,) pixels.
        misplaced: pixels by which they may lie wrong.
    """
    return ((widths / 2 / misplaced) ** 2).clip(*SLOPES)


def look_beside(around: Beside, sight: Sight, known: ClassLook, *, slope: NDArray[np.float64]) -> Evidence:
    """What the picture says of the pixels along lines.

    Args:
        around: the nearest line of each pixel of the window.
        sight: the window.
        known: what is known of the class.
        slope: (lines,) of `slopes`.
    """
    look = known.logits(sight, around.away < FAR)
    logit = (look - slope[around.number] * (around.away - EDGE)).astype(np.float32)
    logit[around.away >= REACH] = -np.inf
    return Evidence(around, logit)
