"""Scores of roads with some slack: a pixel is right where the other map has a road no further than so many pixels away.

Mnih and Hinton, "Learning to Detect Roads in High-Resolution Aerial Images", ECCV 2010, for areas: relaxed precision
and recall. Wiedemann, Heipke, Mayer and Jamet, "Empirical Evaluation of Automatically Extracted Road Axes" (1998), for
centre lines one pixel wide, the buffer method: there they are called correctness and completeness, and what is called
`iou` here is quality, cr * cp / (cr + cp - cr * cp). Which one it is depends on the masks that are given.

Windows are counted one by one, and counts add up to those of the whole scene, to the pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from infra.errors import UnusableInput
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window
from tasks.raster.scores.plain import to_plain
from tasks.raster.scores.ratios import harmonic, share, united

SLACK = 3.0
_ROUNDING = 1e-6
"""Squares of distances between pixels are whole: the square of a slack of 13 ** 0.5 is a little less than 13."""


@dataclass(frozen=True, slots=True)
class Relaxed:
    """Scores from 0 to 1, and the pixels that they are counted from."""

    precision: float
    """Share of the predicted pixels that are right; NaN without any."""
    recall: float
    """Share of the true pixels that are found; NaN without any."""
    f1: float
    """Harmonic mean of both; 0 where just one map is empty, NaN where both are."""
    iou: float
    """As follows from both; 0 and NaN as F1."""
    prediction: int
    right: int
    truth: int
    found: int

    def to_json(self) -> dict[str, JsonValue]:
        """The same as plain JSON, None for NaN."""
        return to_plain(self)


@dataclass(frozen=True, slots=True)
class RelaxedCount:
    """Pixels of one window or more: counts of windows that share no pixel add up."""

    prediction: int = 0
    """Predicted as road."""
    right: int = 0
    """Of those, with true road near by."""
    truth: int = 0
    """Truly road."""
    found: int = 0
    """Of those, with predicted road near by."""

    def __add__(self, other: RelaxedCount) -> RelaxedCount:
        return RelaxedCount(
            self.prediction + other.prediction,
            self.right + other.right,
            self.truth + other.truth,
            self.found + other.found,
        )

    def scores(self) -> Relaxed:
        """The scores of everything counted so far."""
        precision, recall = share(self.right, self.prediction), share(self.found, self.truth)
        return Relaxed(
            precision,
            recall,
            harmonic(precision, recall),
            united(precision, recall),
            self.prediction,
            self.right,
            self.truth,
            self.found,
        )


def count_relaxed(
    truth: NDArray[Any], prediction: NDArray[Any], *, inner: Window | None = None, slack: float = SLACK
) -> RelaxedCount:
    """Count the pixels of one window.

    A pixel that is 255 in either map is ignored in both: it is no road, neither counted nor near any other.

    Args:
        truth: (y, x) uint8 or bool, 1 where road is, 0 elsewhere, 255 where nobody knows.
        prediction: the same, of the same pixels.
        inner: the window to count, from the arrays' first pixel; None for all. The arrays must go on around it for so
            many pixels as the slack, where the scene does.
        slack: pixels between the centres of two pixels that are near each other, at most.

    Raises:
        UnusableInput: the shapes differ, or there are other values.
    """
    if not 0 <= slack < math.inf:
        raise ValueError(f"slack is {slack}: expected 0 or more")
    if truth.shape != prediction.shape or truth.ndim != 2:  # noqa: PLR2004 - (y, x)
        raise UnusableInput(f"Truth is {truth.shape} and prediction {prediction.shape}: expected the same (y, x).")
    one, other = _marked(truth, "truth"), _marked(prediction, "prediction")
    known = np.minimum(one, other) > 0
    roads = [((marked == 2) & known).view(np.uint8) for marked in (one, other)]  # noqa: PLR2004 - road
    rows, cols = inner or (slice(None), slice(None))
    true, predicted = (road[rows, cols] for road in roads)
    near_true, near_predicted = (_spread(road, slack)[rows, cols] for road in roads)
    counts = (predicted, predicted & near_true, true, true & near_predicted)
    return RelaxedCount(*(int(np.count_nonzero(pixels)) for pixels in counts))


def _marked(mask: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """0 where ignored, 1 where no road is, 2 where one is."""
    if mask.dtype not in (np.uint8, np.bool_):
        raise UnusableInput(f"The {what} is {mask.dtype}: expected uint8 or bool.")
    marked: NDArray[np.uint8] = mask.view(np.uint8) + np.uint8(1)  # 255 becomes 0
    if marked.size and marked.max() > 2:  # noqa: PLR2004 - road
        raise UnusableInput(f"The {what} holds {marked.max() - 1}: expected 0, 1 or {IGNORE}; give one class's mask.")
    return marked


def _spread(road: NDArray[np.uint8], slack: float) -> NDArray[np.uint8]:
    """Where road is no further than the slack: exact, unlike a distance in floating point, and far faster."""
    reach = math.floor(slack + _ROUNDING)
    if reach == 0 or not road.size:
        return road
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x * x + y * y <= slack * slack + _ROUNDING).astype(np.uint8)
    return np.asarray(cv2.dilate(road, disk, borderType=cv2.BORDER_CONSTANT, borderValue=0), np.uint8)
