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
"""Pixels around a window that a labeler may look at."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels of one window."""

    label: NDArray[np.uint8]
    """(y, x) class ids; 255 = ignore."""
    instance: NDArray[np.uint32]
    """(y, x) object ids, unique over the grid; 0 = none."""
    confidence: NDArray[np.uint8]
    """(y, x) 0...254 = p·254; 255 where there is no label."""


class Labeler(Protocol):
    """Labels a window of the grid; windows may come in any order."""

    window: int
    """Pixels a side of the windows it is asked for."""

    def __call__(self, window: Window) -> Labelled:
        """Label one window."""


class TruthLabeler:
    """Labels that exist, as certain as they can be."""

    window = 2048

    def __init__(self, truth: Truth) -> None:
        self.truth = truth

    def __call__(self, window: Window) -> Labelled:
        """Read one window of the truth."""
        label = self.truth.read(window)
        confidence = np.where(label == IGNORE, np.uint8(255), np.uint8(TOP))
        return Labelled(label, np.zeros(label.shape, np.uint32), confidence)
