"""The ways of labelling, behind one Protocol: a window of the grid in, its labels out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window
from tasks.raster.truth import Truth

HALO = 64
"""Pixels around a window that SAM sees, too."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels of a window and what is seen around it."""

    seen: Window
    """The window with its halo, cut at the grid's edge; what the arrays are of."""
    label: NDArray[np.uint8]
    """(y, x) class ids; 255 = ignore."""
    instance: NDArray[np.uint32]
    """(y, x) object ids, 0 = none: unique over the grid, or of this window's own pieces."""
    confidence: NDArray[np.uint8]
    """(y, x) 0...254 = p·254; 255 where there is no label."""


def paint(into: Labelled, mask: NDArray[np.bool_], klass: int, *, instance: int, score: float) -> None:
    """Give the pixels of a mask (y, x) a class, an object and a confidence of 0..1, whatever they had."""
    into.label[mask] = klass
    into.instance[mask] = instance
    into.confidence[mask] = round(min(max(score, 0.0), 1.0) * TOP)


class Labeler(Protocol):
    """Labels a window of the grid; windows may come in any order and from several threads."""

    window: int
    """Pixels a side of the windows it is asked for; a block of labels is whole windows."""
    halo: int
    """Pixels around a window that it labels as well."""
    pieces: bool
    """True where each window numbers what it sees for itself, so that objects have to be put together."""

    def __call__(self, window: Window) -> Labelled:
        """Label one window."""


class TruthLabeler:
    """Labels that exist, as certain as they can be."""

    window, halo, pieces = 512, 0, False

    def __init__(self, truth: Truth) -> None:
        self.truth = truth

    def __call__(self, window: Window) -> Labelled:
        """Read one window of the truth."""
        label = self.truth.read(window)
        confidence = np.where(label == IGNORE, np.uint8(255), np.uint8(TOP))
        return Labelled(window, label, np.zeros(label.shape, np.uint32), confidence)
