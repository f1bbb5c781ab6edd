"""What labels a window of the grid, behind one Protocol, and how several are put together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.given_labels import GivenLabels
from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window, crop_to, grown, shape_of
from tasks.raster.truth import Truth

HALO = 64
"""Pixels around a window that SAM sees, too."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A vector that the picture does not show, or a part of a line."""

    number: int
    """Of the vector, from 1."""
    klass: int
    score: float
    """How little it does, 0..1."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in columns and rows of the grid."""

    def meets(self, window: Window) -> bool:
        """Whether it lies in a window, if only in part."""
        rows, cols = window
        return bool(
            self.box[0] < cols.stop
            and self.box[2] > cols.start
            and self.box[1] < rows.stop
            and self.box[3] > rows.start
        )


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels of a window and what is seen around it."""

    seen: Window
    """The window with its halo, cut at the grid's edge; what the arrays are of."""
    label: NDArray[np.uint8]
    """(y, x) class ids; 255 = ignore."""
    instance: NDArray[np.uint32]
    """(y, x) object ids, 0 = none: unique over the grid, or of this window's own pieces, from 1."""
    confidence: NDArray[np.uint8]
    """(y, x) 0...254 = p·254; 255 where there is neither a class nor an object."""
    dropped: tuple[Dropped, ...] = ()
    """Vectors that were not believed."""

    @classmethod
    def nothing(cls, seen: Window) -> Labelled:
        """A window of which nothing is known."""
        shape = shape_of(seen)
        return cls(seen, np.full(shape, IGNORE, np.uint8), np.zeros(shape, np.uint32), np.full(shape, 255, np.uint8))

    def paint(self, mask: NDArray[np.bool_], klass: int, *, instance: int, score: float) -> None:
        """Give the pixels of a mask (y, x) a class, an object and a confidence of 0..1, whatever they had."""
        self.label[mask] = klass
        self.instance[mask] = instance
        self.confidence[mask] = round(min(max(score, 0.0), 1.0) * TOP)


class Labeler(Protocol):
    """Labels a window of the grid; windows may come in any order and from several threads."""

    window: int
    """Pixels a side of the windows it is asked for; a block of labels is whole windows."""
    halo: int
    """Pixels around a window that it labels as well."""
    pieces: bool
    """True where each window numbers what it sees for itself, so that objects have to be put together."""
    tells: frozenset[int]
    """Classes that it can find. Where 0 is one of them, pixels of none of the others are `other`; else they are
    ignored."""

    def __call__(self, window: Window) -> Labelled:
        """Label one window."""


class TruthLabeler:
    """Labels that exist, as certain as they can be."""

    window, halo, pieces = 512, 0, False

    def __init__(self, truth: Truth) -> None:
        self.truth, self.tells = truth, truth.ids

    def __call__(self, window: Window) -> Labelled:
        """Read one window of the truth."""
        label, instance = self.truth.read(window), self.truth.objects(window)
        confidence = np.where(label == IGNORE, np.uint8(255), np.uint8(TOP))
        return Labelled(window, label, np.where(label == IGNORE, 0, instance).astype(np.uint32), confidence)


class PresentLabeler:
    """Labels as they stood when labelling began."""

    window, halo, pieces = 512, 0, False

    def __init__(self, given: GivenLabels) -> None:
        self.given = given
        self.tells = given.known | ({0} if given.rest == "other" else set())

    def __call__(self, window: Window) -> Labelled:
        """Read one window; pixels of none of the known classes are `other`, for what comes after to judge."""
        label, instance, confidence = (self.given.read(window, name) for name in ("label", "instance", "confidence"))
        if self.given.rest == "unknown":
            none = label == IGNORE
            label[none], confidence[none] = 0, TOP // 2
        return Labelled(window, label, instance, confidence)


class CombinedLabeler:
    """Several labelers: each fills in what those before it could not tell.

    That is where they are silent, and where they say `other` only because they do not know the class that it finds.
    What is of none of their classes is `other` where one of them knows that, or where together they know all classes.
    """

    pieces = True

    def __init__(self, labelers: tuple[Labeler, ...], shape: tuple[int, int], *, classes: int) -> None:
        """Put labelers together.

        Args:
            labelers: the most trusted first.
            shape: rows and columns of the grid.
            classes: of the map.
        """
        self.labelers, self.shape = labelers, shape
        self.window = min(labeler.window for labeler in labelers)
        self.halo = max(labeler.halo for labeler in labelers)
        found = frozenset[int]().union(*(labeler.tells for labeler in labelers))
        self.tells = found | {0} if found >= set(range(1, classes)) else found

    def __call__(self, window: Window) -> Labelled:
        """Label one window by all of them."""
        into = Labelled.nothing(crop_to(grown(window, self.halo), self.shape))
        told: set[int] = set()
        count = 0
        for labeler in self.labelers:
            found = labeler(crop_to(grown(window, self.halo - labeler.halo), self.shape))
            assert found.seen == into.seen
            new = (into.label == 0) & ~np.isin(found.label, [0, IGNORE, *told])
            free = new | ((into.label == IGNORE) & ((found.label != IGNORE) | (into.instance == 0)))
            ids, numbers = np.unique(found.instance[free], return_inverse=True)
            if ids.size and ids[0] == 0:
                ids = ids[1:]
            else:
                numbers = numbers + 1
            into.label[free], into.confidence[free] = found.label[free], found.confidence[free]
            into.instance[free] = np.where(numbers > 0, numbers + count, 0)
            count += len(ids)
            told |= labeler.tells
            into = replace(into, dropped=into.dropped + found.dropped)
        if 0 not in self.tells:
            rest = into.label == 0
            into.label[rest], into.confidence[rest] = IGNORE, 255
        return into
