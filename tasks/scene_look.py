"""What the classes of a map look like in a scene, learnt from the map itself.

Vectors lie only roughly where the things are, yet what lies in their middle is mostly of their class, and what lies
around them mostly is not. From the pixels of both, classifiers learn what the class looks like in this scene, to the
eye (`tasks/raster/appearance.py`) and to Segment Anything; each pixel is judged by what was learnt elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from infra.stopping import check
from models.cross_fitted import CrossFitted
from models.segmenter import EncodedWindow, embedding_of
from models.surroundings import Surroundings
from tasks.raster.appearance import appearance
from tasks.raster.cube import Cube
from tasks.raster.grid import Window, windows
from tasks.raster.halves import fill_between
from tasks.sam_view import CORE, SamView

SAMPLE, PLACES = 2000, 32
"""Pixels of either kind that a window gives, and windows that a scene gives."""
SQUARE = 256
"""Pixels a side of a chequerboard's squares: what black ones teach is asked of white ones, and the reverse."""
SMOOTH = 1.5
"""Pixels over which neighbours' logits are averaged."""
COMPONENTS = 48
"""Of SAM's embedding, those in which a scene's windows differ most."""


class Sight:
    """A window as it is looked at."""

    def __init__(self, view: SamView, place: Window) -> None:
        """Look at a window of the scene."""
        check()
        self.place = place
        self.picture, self.valid = view.read(place)
        self._view = view

    @cached_property
    def asked(self) -> EncodedWindow:
        """The window before SAM."""
        return self._view.look(self.picture)

    @cached_property
    def embedding(self) -> NDArray[np.float32]:
        """(c, v, u) what SAM makes of it."""
        return embedding_of(self.asked)

    @property
    def cells(self) -> tuple[float, float]:
        """Rows and columns of the embedding that a pixel takes."""
        return self.asked.sam.cells(self.asked.shape)

    @cached_property
    def look(self) -> NDArray[np.float32]:
        """(y, x, d) what its pixels look like."""
        return appearance(self.picture)

    @property
    def parts(self) -> NDArray[np.intp]:
        """(y, x) 0 or 1: of which colour each pixel's square of the scene is."""
        rows, cols = (np.arange(s.start, s.stop) // SQUARE for s in self.place)
        return (rows[:, None] + cols) % 2


@dataclass(frozen=True, slots=True)
class Lesson:
    """Pixels of a window that are taken to be of a class, and others that are not."""

    place: Window
    taken: NDArray[np.bool_]
    """(y, x) which pixels of the window; what follows is of these."""
    look: NDArray[np.float32]
    labels: NDArray[np.bool_]
    parts: NDArray[np.intp]


def lesson(sight: Sight, on: NDArray[np.bool_], off: NDArray[np.bool_]) -> Lesson:
    """What a window teaches.

    Args:
        sight: the window.
        on: (y, x) pixels that may be taken for the class.
        off: (y, x) pixels that may be taken for anything else.
    """
    chance = np.random.default_rng((sight.place[0].start, sight.place[1].start))
    taken = np.zeros(on.shape, bool)
    for which in (on, off):
        taken.flat[chance.permutation(np.flatnonzero(which))[:SAMPLE]] = True
    return Lesson(sight.place, taken, sight.look[taken], on[taken], sight.parts[taken])


@dataclass(frozen=True, slots=True)
class ClassLook:
    """What a class looks like in a scene.

    Two pairs of classifiers, of which one goes by what a pixel looks like alone, and one by what SAM makes of its
    surroundings too: they err differently.
    """

    surroundings: Surroundings = field(default_factory=lambda: Surroundings(COMPONENTS))
    by_look: CrossFitted = field(default_factory=CrossFitted)
    by_both: CrossFitted = field(default_factory=CrossFitted)

    @classmethod
    def learnt(cls, view: SamView, lessons: Sequence[Lesson]) -> ClassLook:
        """Learn from some windows; of none, or too few pixels, nothing."""
        known = cls()
        if lessons:
            sights = [Sight(view, one.place) for one in lessons]
            known.surroundings.fit([sight.embedding[:, ::2, ::2] for sight in sights])
            look, labels, parts = (
                np.concatenate([getattr(one, name) for one in lessons]) for name in ("look", "labels", "parts")
            )
            around = np.concatenate(
                [known._around(sight, *np.nonzero(one.taken)) for sight, one in zip(sights, lessons, strict=True)]
            )
            known.by_look.fit(look, labels, parts)
            known.by_both.fit(np.concatenate([look, around], axis=1), labels, parts)
        return known

    def _around(self, sight: Sight, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[np.float32]:
        return self.surroundings.at(sight.embedding, rows, cols, cells=sight.cells)

    @property
    def taught(self) -> bool:
        """Whether there was enough to learn from."""
        return self.by_look.taught

    def logits(self, sight: Sight, which: NDArray[np.bool_]) -> NDArray[np.float32]:
        """How much a window speaks for the class, were half of all pixels of it; averaged over neighbours.

        Args:
            sight: the window.
            which: (y, x) the pixels that are asked about.

        Returns:
            (y, x) in -4..4; pixels that are not asked about count as 0, and all where nothing was learnt.
        """
        if not (self.taught and which.any()):
            return np.zeros(which.shape, np.float32)
        rows, cols = (2 * places for places in np.nonzero(ndimage.maximum_filter(which, 3)[::2, ::2]))
        look, parts = sight.look[rows, cols], sight.parts[rows, cols]
        both = np.concatenate([look, self._around(sight, rows, cols)], axis=1)
        found = np.zeros(which.shape, np.float32)
        found[rows, cols] = np.mean([self.by_look.logits(look, parts), self.by_both.logits(both, parts)], axis=0)
        fill_between(found)
        smooth: NDArray[np.float32] = ndimage.gaussian_filter(np.where(which, found, np.float32(0)), SMOOTH)
        return smooth


def places(cube: Cube, tree: shapely.STRtree) -> list[Window]:
    """Windows with vectors to learn from, spread evenly over all that have any."""
    there = [w for w in windows((cube.grid.shape[0], cube.grid.shape[1]), CORE) if cube.may_hold_data(w)]
    boxes = np.array([shapely.box(c.start, r.start, c.stop, r.stop) for r, c in there], object)
    hit = np.unique(tree.query(boxes, predicate="intersects")[0])
    return [there[n] for n in hit[np.unique(np.linspace(0, len(hit) - 1, min(PLACES, len(hit))).astype(int))]]
