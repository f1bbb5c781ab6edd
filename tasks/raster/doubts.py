"""Places where labels are likely wrong, the worst kept."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE
from tasks.raster.objects import Objects

THIN = 7
"""Pixels: where two maps differ by a strip thinner than this, they mean the same edge."""

DIFFER = ("extra", "missing")
"""Why places are listed that only one of two maps has."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place."""

    wrong: float
    """Pixels that are expected to be wrong there: its area times the doubt."""
    first: int
    """Its first pixel in reading order, which settles ties."""
    why: str
    """One of `review_style.WHY`."""
    klass: int
    """What is in doubt: the class that the labels or the reference have there."""
    confidence: float
    """Of its labels, 0..1."""
    outline: shapely.Polygon
    """In columns and rows of the scene."""


@dataclass(slots=True)
class Worst:
    """Takes places in any order and keeps as many as it is asked for."""

    most: int
    _kept: list[tuple[float, int, int, Place]] = field(default_factory=list)
    count: int = 0
    """All that it has seen."""

    def add(self, places: Iterable[Place]) -> None:
        """Take places."""
        for place in places:
            self.count += 1
            entry = (place.wrong, -place.first, self.count, place)
            if len(self._kept) < self.most:
                heapq.heappush(self._kept, entry)
            elif entry > self._kept[0]:
                heapq.heapreplace(self._kept, entry)

    def in_order(self) -> list[Place]:
        """Those kept, worst first."""
        return [entry[-1] for entry in sorted(self._kept, reverse=True)]


def places_of(objects: Objects, *, klass: int, why: str) -> list[Place]:
    """Objects as places; their `sums` are of confidences in 254ths. Where maps differ, all pixels count as wrong."""
    confidence = objects.sums / objects.pixels / TOP
    wrong = objects.pixels * (1 if why in DIFFER else 1 - confidence)
    return [
        Place(float(w), int(first), why, klass, float(sure), outline)
        for w, first, sure, outline in zip(wrong, objects.ids, confidence, objects.outlines, strict=True)
    ]


def thick(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (y, x) without what is thinner than `THIN`."""
    opened: NDArray[np.bool_] = ndimage.binary_opening(mask, np.ones((THIN, THIN), bool))
    return opened


def agreement(label: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(y, x) ids of `AGREEMENT`; 255 where either says nothing."""
    both = np.where(label == reference, np.uint8(1), np.uint8(4))
    both[(label > 0) & (reference == 0)] = 2
    both[(label == 0) & (reference > 0)] = 3
    both[(label == 0) & (reference == 0)] = 0
    both[(label == IGNORE) | (reference == IGNORE)] = IGNORE
    return both


AGREEMENT = (
    ("other", (233, 229, 220)),
    ("agreed", (88, 150, 79)),
    ("only the labels", (32, 110, 200)),
    ("only the reference", (214, 40, 40)),
    ("different classes", (142, 68, 173)),
)
"""What an agreement map tells, by id: the names and colours of its classes."""
