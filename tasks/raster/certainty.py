"""How sure a label made from vectors is: shares that were counted on scenes with truth, by what is known of a pixel.

What is known: how the vector and what was labelled agree there (its kind), how well SAM's mask fits the polygon, or how
much the picture speaks for road beside a line (its score), and how far the pixel lies from the edge of what was
labelled. Counting shares by cells is histogram binning (Zadrozny and Elkan 2001, "Obtaining calibrated probability
estimates"): what says 0.8 was right four times out of five. `benchmarks/certainty.py` counts them.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.raster.blend import TOP

FAR, BESIDE, REFUSED, BEYOND, AGREED, LINE, DOUBTED = range(7)
"""Kinds of pixels: no vector near; near one; in a polygon and not labelled as its; labelled as a polygon's and outside
it; in a polygon and labelled so; labelled along a line; in or near a polygon that the picture does not show."""
KINDS = 7
SCORES = (0.3, 0.45, 0.6, 0.75)
"""Bounds between the bins of scores."""
DEPTHS = (2.0, 4.0, 8.0, 16.0)
"""Bounds between the bins of distances, pixels."""
SHAPE = (KINDS, len(SCORES) + 1, len(DEPTHS) + 1)
FILE = "certainty.json"
PRIOR = 2000.0
"""Pixels by which a cell that was seldom met is drawn to what its kind is on the whole."""


def cells(kind: NDArray[np.uint8], score: NDArray[np.float32], labelled: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Which cell of the table each pixel belongs to.

    Args:
        kind: (y, x) of the kinds.
        score: (y, x) of the nearest polygon's mask, or of the pixel beside a line, 0..1.
        labelled: (y, x) True where there is an object.

    Returns:
        (y, x) places in the flat table.
    """
    depth = np.where(
        labelled, ndimage.distance_transform_edt(labelled), ndimage.distance_transform_edt(~labelled)
    ) if labelled.any() else np.full(kind.shape, np.inf)  # fmt: skip
    place = (kind, np.digitize(score, SCORES), np.digitize(depth, DEPTHS))
    found: NDArray[np.uint8] = np.ravel_multi_index(place, SHAPE).astype(np.uint8)
    return found


def table_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares that are right, (cells,), from counts of wrong and right pixels (2, cells)."""
    wrong, right = counts.reshape(2, *SHAPE).astype(float)
    kinds = (right.sum(axis=(1, 2)) + 1) / (wrong.sum(axis=(1, 2)) + right.sum(axis=(1, 2)) + 2)
    share: NDArray[np.float64] = (right + PRIOR * kinds[:, None, None]) / (wrong + right + PRIOR)
    return share.ravel()


@cache
def known_table() -> NDArray[np.uint8]:
    """The confidence of each cell, (cells,) 0...254, as it was counted."""
    document: dict[str, Any] = json.loads(files("tasks.raster").joinpath(FILE).read_text())
    found: NDArray[np.uint8] = np.round(np.array(document["share"]) * TOP).astype(np.uint8)
    return found
