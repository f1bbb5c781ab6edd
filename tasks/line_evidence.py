"""Roads along lines that lie only roughly where the roads are: what the picture shows decides, beside the line.

A map's line is moved by metres, and its width is a guess. Yet most of what lies right on the lines of a scene is road,
and most of what lies beyond their width is not: from the pixels of both a classifier learns what this scene's roads
look like, and is asked about every pixel near a line. Its answer and the distance from the line together say what is
road, and so where it runs and how wide it is (`benchmarks/labels.py` measures it). Segment Anything, asked by points
along a line and by the line as a mask, was no better than the line with a good width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from models.cross_fitted import CrossFitted
from tasks.raster.appearance import appearance
from tasks.raster.cube import Cube
from tasks.raster.grid import Window, windows
from tasks.raster.lines import Beside, beside
from tasks.raster.vectors import Shapes
from tasks.sam_view import CORE, Pictures

ON, OFF, FAR = 1 / 7, 0.6, 3.0
"""Half widths from a line: within the first is taught as road, from the second to the third as none."""
SAMPLE, PLACES = 2000, 64
"""Pixels of either kind that a window gives, and windows that a scene gives."""
SQUARE = 256
"""Pixels a side of a chequerboard's squares: what black ones teach is asked of white ones, and the reverse."""
SLOPE, EDGE = 1.75, 1.05
"""The logit falls by so much every half width, and is none at so many."""
REACH = 2.0
"""Half widths beyond which nothing is of a line."""
SMOOTH = 1.5
"""Pixels over which neighbours' logits are averaged."""


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
        self._tree = shapely.STRtree(self._lines)

    def beside(self, place: Window) -> Beside | None:
        """Of each pixel of a window, the nearest line and how many of its half widths away; None where none is near."""
        rows, cols = place
        box = shapely.box(cols.start, rows.start, cols.stop, rows.stop).buffer(self._reach, join_style="mitre")
        near = np.sort(self._tree.query(box, predicate="intersects"))
        if not near.size:
            return None
        found = beside(self._lines[near], place, reach=int(np.ceil(FAR * self._half[near].max())))
        if found is None:
            return None
        number = near[found.number]
        return Beside(number, (found.away / self._half[number]).astype(np.float32))

    def bounds(self, number: int, window: Window) -> tuple[float, float, float, float] | None:
        """x0, y0, x1, y1 of the part of a line that lies in a window, in pixels of the grid; None if none does."""
        rows, cols = window
        part = shapely.clip_by_rect(self._lines[number], cols.start, rows.start, cols.stop, rows.stop)
        if part.is_empty:
            return None
        x0, y0, x1, y1 = part.bounds
        return x0, y0, x1, y1

    def places(self, cube: Cube) -> list[Window]:
        """Windows with lines to learn from, spread evenly over all that have any."""
        there = [w for w in windows((cube.grid.shape[0], cube.grid.shape[1]), CORE) if cube.may_hold_data(w)]
        boxes = np.array([shapely.box(c.start, r.start, c.stop, r.stop) for r, c in there])
        hit = np.unique(self._tree.query(boxes, predicate="intersects")[0])
        return [there[n] for n in hit[np.unique(np.linspace(0, len(hit) - 1, min(PLACES, len(hit))).astype(int))]]


def all_lines(shapes: Shapes) -> list[Lines]:
    """The lines of a scene's vectors, class by class."""
    return [Lines(shapes, klass) for klass in np.unique(shapes.label[shapes.width > 0]).tolist()]


def learn_lines(pictures: Pictures, shapes: Shapes) -> dict[int, CrossFitted]:
    """What a scene's roads look like, by the lines of a map.

    Args:
        pictures: the scene.
        shapes: the map; polygons are left out.

    Returns:
        A classifier for each class that has lines.
    """
    found = {}
    for lines in all_lines(shapes):
        found[lines.klass] = CrossFitted()
        taught = [_lesson(pictures, pictures.around(place), lines) for place in lines.places(pictures.cube)]
        if taught:
            features, labels, parts = (np.concatenate(part) for part in zip(*taught, strict=True))
            found[lines.klass].fit(features, labels, parts)
    return found


def look_beside(lines: Lines, picture: NDArray[np.uint8], place: Window, known: CrossFitted) -> Evidence | None:
    """What the picture says of the pixels along lines.

    Args:
        lines: those of one class.
        picture: (y, x, 3) uint8 RGB of the window.
        place: the window.
        known: what `learn_lines` found for the class.

    Returns:
        None where no line comes near.
    """
    around = lines.beside(place)
    if around is None:
        return None
    near = around.away < FAR
    logit = np.zeros(near.shape, np.float32)
    if known.taught:
        logit[near] = known.logits(appearance(picture)[near], _parts(place)[near])
    logit = ndimage.gaussian_filter(logit, SMOOTH) - SLOPE * (around.away - EDGE)
    logit[around.away >= REACH] = -np.inf
    return Evidence(around, logit)


def _lesson(
    pictures: Pictures, place: Window, lines: Lines
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.intp]]:
    """Pixels on lines and off them: features, labels and parts."""
    around = lines.beside(place)
    valid = pictures.cube.read(place, bands=())[1]
    away = np.where(valid, np.inf if around is None else around.away, np.inf)
    chance = np.random.default_rng((place[0].start, place[1].start))
    on, off = (
        chance.permutation(np.flatnonzero(which))[:SAMPLE] for which in (away <= ON, (away > OFF) & (away < FAR))
    )
    taken = np.sort(np.concatenate([on, off]))
    features = appearance(pictures.picture(place)).reshape(away.size, -1)[taken]
    return features, np.isin(taken, on), _parts(place).ravel()[taken]


def _parts(place: Window) -> NDArray[np.intp]:
    rows, cols = (np.arange(s.start, s.stop) // SQUARE for s in place)
    return (rows[:, None] + cols) % 2
