"""Boundary IoU: how well a class's pixels near its boundary agree (Cheng and others 2021, arXiv:2103.16562).

A pixel is near the boundary of its class where a pixel of another class lies within d rows and columns of it, which is
what the paper's erosion by a square of 2d + 1 leaves out. That holds where the lowest and the highest class around it
differ: so two filters serve all classes at once. Ignored pixels take part in neither, and a border between a class and
what is ignored is no boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infra.errors import UnusableInput
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window, crop_to, grown, shape_of, within
from tasks.raster.kernels import Rows, compiled, rows_of
from tasks.raster.scores.class_ids import as_bytes
from tasks.raster.scores.plain import to_plain

MOST = IGNORE - 1
"""Classes at most: 255 is what is ignored, and one value more stands for what lies beyond the scene."""


@dataclass(frozen=True, slots=True)
class BoundaryScores:
    """Boundary IoU of each class, in the order of ids."""

    iou: tuple[float, ...]
    """In [0, 1]; NaN for a class that has no boundary in truth and prediction."""
    mean_iou: float
    """Over the classes that have a boundary in the truth; NaN without any."""
    truth: tuple[int, ...]
    """Pixels near the boundary of each class in the truth."""
    prediction: tuple[int, ...]
    """The same in the prediction."""
    distance: int
    """Pixels."""

    def to_json(self) -> dict[str, JsonValue]:
        """The same as plain JSON, None for NaN."""
        return to_plain(self)


class Boundaries:
    """Counts of pixels near boundaries; each window is looked at with what lies around it, and counted without.

    A pixel counts where neither truth nor prediction is 255. Where either is, the pixel is outside of every class of
    both maps, and the classes beside it have no boundary there. The scene's edge is a boundary, as in the paper.
    """

    def __init__(self, classes: int, shape: tuple[int, int], *, distance: int = 2) -> None:
        """Begin.

        Args:
            classes: how many, 1 to 254; ids from 0.
            shape: rows and columns of the scene.
            distance: d, pixels, from 1; the paper takes 0.02 of the image's diagonal.
        """
        if not 1 <= classes <= MOST:
            raise UnusableInput(
                f"There are {classes} classes and boundaries are scored of 1 to {MOST}: leave them out of --also."
            )
        if distance < 1:
            raise ValueError(f"distance is {distance}: expected 1 pixel or more")
        self._shape, self._distance = shape, distance
        self._counts = np.zeros((3, 256), np.int64)
        self._classes = classes

    def around(self, window: Window) -> Window:
        """What must be read to count a window: `distance` pixels more at each side, as far as the scene goes."""
        return crop_to(grown(window, self._distance), self._shape)

    def add(self, window: Window, truth: NDArray[Any], prediction: NDArray[Any]) -> None:
        """Count a window; windows come in any order, and each pixel of the scene lies in one.

        Args:
            window: what is counted.
            truth: integer class ids of `around(window)`, 255 where unknown.
            prediction: the same.

        Raises:
            UnusableInput: an array has another shape, or an id is not a class.
        """
        around = self.around(window)
        if not truth.shape == prediction.shape == shape_of(around):
            raise UnusableInput(
                f"Truth is {truth.shape} and prediction {prediction.shape}: expected {shape_of(around)}, "
                f"the window and {self._distance} pixels around it."
            )
        one, other = (as_bytes(ids, self._classes) for ids in (truth, prediction))
        ignored = (one == IGNORE) | (other == IGNORE)
        rows, cols = within(window, around)
        near = [self._near(ids, ignored, around)[rows, cols] for ids in (one, other)]
        inner = [rows_of(a) for a in (one[rows, cols], other[rows, cols], *near)]
        _count(inner[0], inner[1], inner[2], inner[3], *shape_of(window), self._counts)

    def scores(self) -> BoundaryScores:
        """The scores of everything counted so far."""
        truth, prediction, both = (counts[: self._classes] for counts in self._counts)
        with np.errstate(invalid="ignore"):
            iou = both / (truth + prediction - both)
        known = truth > 0
        return BoundaryScores(
            iou=tuple(float(v) for v in iou),
            mean_iou=float(iou[known].mean()) if known.any() else float("nan"),
            truth=tuple(int(n) for n in truth),
            prediction=tuple(int(n) for n in prediction),
            distance=self._distance,
        )

    def _near(self, ids: NDArray[np.uint8], ignored: NDArray[np.bool_], around: Window) -> NDArray[np.bool_]:
        """(y, x) True where a pixel that counts is near its boundary."""
        d = self._distance
        # What lies beyond the scene is another class; what lies beyond the array alone is not looked at.
        rows, cols = around
        ends = (rows.start == 0, rows.stop == self._shape[0], cols.start == 0, cols.stop == self._shape[1])
        top, bottom, left, right = (d * end for end in ends)
        square = np.ones((2 * d + 1, 2 * d + 1), np.uint8)
        # Numbers from 1 for the highest, so that 0 and 255 are free; what is ignored is never lowest nor highest.
        lowest = cv2.erode(np.where(ignored, np.uint8(IGNORE), ids), square)
        numbers = np.where(ignored, np.uint8(0), ids + np.uint8(1))
        padded = cv2.copyMakeBorder(numbers, top, bottom, left, right, cv2.BORDER_CONSTANT, value=IGNORE)
        highest = cv2.dilate(padded, square)[top : top + ids.shape[0], left : left + ids.shape[1]]
        near: NDArray[np.bool_] = (highest - np.uint8(1) != lowest) & ~ignored
        return near


@compiled
def _count(
    truth: Rows, prediction: Rows, near: Rows, near_predicted: Rows, height: int, width: int, counts: NDArray[np.int64]
) -> None:
    """Add to counts (3, 256) by class: pixels near the true boundary, near the predicted one, and near both as one."""
    for y in range(height):
        one, other = truth[0][y * truth[2] :][:width], prediction[0][y * prediction[2] :][:width]
        here, there = near[0][y * near[2] :][:width], near_predicted[0][y * near_predicted[2] :][:width]
        for x in range(width):
            if here[x] | there[x]:
                counts[0, one[x]] += np.int64(here[x])
                counts[1, other[x]] += np.int64(there[x])
                counts[2, one[x]] += np.int64(here[x] & there[x] & np.uint8(one[x] == other[x]))
