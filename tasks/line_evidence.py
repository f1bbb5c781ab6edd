"""Roads along lines that lie only roughly where the roads are: what the picture shows decides, beside the line.

A map's line is moved by metres, and its width is a guess. Yet most of what lies right on the lines of a scene is road,
and most of what lies beyond their width is not: from the pixels of both classifiers learn what this scene's roads look
like, to the eye and to Segment Anything, and are asked about every pixel near a line. Their answer and the distance
from the line together say what is road, and so where it runs and how wide it is (`benchmarks/labels.py` measures it).
Segment Anything's own masks, asked for by points along a line and by the line as a mask, were no better than the line
with a good width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from models.cross_fitted import CrossFitted
from models.segmenter import EncodedWindow, embedding_of
from models.surroundings import Surroundings
from tasks.raster.appearance import appearance
from tasks.raster.cube import Cube
from tasks.raster.grid import Window, windows
from tasks.raster.lines import Beside, beside
from tasks.raster.vectors import Shapes
from tasks.sam_view import CORE, SamView

ON, OFF, FAR = 1 / 7, 0.6, 3.0
"""Half widths from a line: within the first is taught as road, from the second to the third as none."""
SAMPLE, PLACES = 2000, 64
"""Pixels of either kind that a window gives, and windows that a scene gives."""
SQUARE = 256
"""Pixels a side of a chequerboard's squares: what black ones teach is asked of white ones, and the reverse."""
SLOPE, EDGE = 1.35, 1.05
"""The logit falls by so much every half width, and is none at so many."""
REACH = 2.0
"""Half widths beyond which nothing is of a line."""
SMOOTH = 1.5
"""Pixels over which neighbours' logits are averaged."""
COMPONENTS = 48
"""Of SAM's embedding, those in which a scene's windows differ most."""


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


@dataclass(frozen=True, slots=True)
class Known:
    """What the lines of a class look like in a scene.

    Two pairs of classifiers: of which one goes by a pixel's look alone, and one by what SAM makes of its surroundings
    too. They err differently.
    """

    surroundings: Surroundings
    by_look: CrossFitted
    by_both: CrossFitted

    @property
    def taught(self) -> bool:
        """Whether there was enough to learn from."""
        return self.by_look.taught

    def logits(
        self, asked: EncodedWindow, picture: NDArray[np.uint8], which: NDArray[np.bool_], parts: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """How much a picture speaks for the class at some of its pixels, were half of all pixels of it."""
        look = appearance(picture)[which]
        cells = asked.sam.cells(asked.shape)
        around = self.surroundings.at(embedding_of(asked), *np.nonzero(which), cells=cells)
        by_look = self.by_look.logits(look, parts)
        by_both = self.by_both.logits(np.concatenate([look, around], axis=1), parts)
        mean: NDArray[np.float32] = np.mean([by_look, by_both], axis=0)
        return mean


def learn_lines(view: SamView, shapes: Shapes) -> dict[int, Known]:
    """What a scene's roads look like, by the lines of a map.

    Args:
        view: SAM before the scene.
        shapes: the map; polygons are left out.

    Returns:
        What is known of each class that has lines.
    """
    return {lines.klass: _learn(view, lines) for lines in all_lines(shapes)}


def _learn(view: SamView, lines: Lines) -> Known:
    known = Known(Surroundings(COMPONENTS), CrossFitted(), CrossFitted())
    lessons = [_lesson(view, view.around(place), lines) for place in lines.places(view.cube)]
    if lessons:
        known.surroundings.fit([one.embedding[:, ::2, ::2] for one in lessons])
        look, labels, parts = (
            np.concatenate([getattr(one, name) for one in lessons]) for name in ("look", "labels", "parts")
        )
        around = np.concatenate(
            [known.surroundings.at(one.embedding, *np.nonzero(one.taken), cells=one.cells) for one in lessons]
        )
        known.by_look.fit(look, labels, parts)
        known.by_both.fit(np.concatenate([look, around], axis=1), labels, parts)
    return known


def look_beside(
    around: Beside, asked: EncodedWindow, picture: NDArray[np.uint8], place: Window, known: Known
) -> Evidence:
    """What the picture says of the pixels along lines.

    Args:
        around: the nearest line of each pixel of the window.
        asked: the picture before SAM.
        picture: (y, x, 3) uint8 RGB of the window.
        place: the window.
        known: what `learn_lines` found for the class.
    """
    near = around.away < FAR
    logit = np.zeros(near.shape, np.float32)
    if known.taught:
        logit[near] = known.logits(asked, picture, near, _parts(place)[near])
    logit = ndimage.gaussian_filter(logit, SMOOTH) - SLOPE * (around.away - EDGE)
    logit[around.away >= REACH] = -np.inf
    return Evidence(around, logit)


@dataclass(frozen=True, slots=True)
class _Lesson:
    """Pixels on lines and off them."""

    embedding: NDArray[np.float32]
    cells: tuple[float, float]
    taken: NDArray[np.bool_]
    """(y, x) which pixels of the window."""
    look: NDArray[np.float32]
    labels: NDArray[np.bool_]
    parts: NDArray[np.intp]


def _lesson(view: SamView, place: Window, lines: Lines) -> _Lesson:
    around = lines.beside(place)
    valid = view.cube.read(place, bands=())[1]
    away = np.where(valid, np.inf if around is None else around.away, np.inf)
    chance = np.random.default_rng((place[0].start, place[1].start))
    on, off = (
        chance.permutation(np.flatnonzero(which))[:SAMPLE] for which in (away <= ON, (away > OFF) & (away < FAR))
    )
    taken = np.zeros(away.shape, bool)
    taken.flat[on] = taken.flat[off] = True
    picture = view.picture(place)
    asked = view.look(picture)
    cells = asked.sam.cells(asked.shape)
    return _Lesson(
        embedding_of(asked), cells, taken, appearance(picture)[taken], away[taken] <= ON, _parts(place)[taken]
    )


def _parts(place: Window) -> NDArray[np.intp]:
    rows, cols = (np.arange(s.start, s.stop) // SQUARE for s in place)
    return (rows[:, None] + cols) % 2
