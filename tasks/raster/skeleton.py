"""Road areas as centre lines with widths: what a map would hold of them."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

EIGHT = np.ones((3, 3), bool)
JUNCTION = 3
"""Neighbours on the skeleton from which a pixel is where lines meet."""


def centre_lines(area: NDArray[np.bool_], *, shortest: int = 20) -> tuple[list[shapely.LineString], list[float]]:
    """The skeleton of an area, cut where branches meet.

    Args:
        area: (y, x) bool.
        shortest: pixels; shorter branches are spurs of the area's outline and left out.

    Returns:
        Lines in pixel coordinates (x, y; pixel centres at .5), and the median width along each, pixels.
    """
    thin: NDArray[np.bool_] = np.asarray(skeletonize(area), bool)
    depth = ndimage.distance_transform_edt(area)
    neighbours = ndimage.convolve(thin.astype(np.uint8), EIGHT.astype(np.uint8), mode="constant") - 1
    branches, count = ndimage.label(thin & (neighbours < JUNCTION), structure=EIGHT)
    lines, widths = [], []
    for number, place in enumerate(ndimage.find_objects(branches, max_label=count), 1):
        rows, cols = np.nonzero(branches[place] == number)
        if len(rows) < shortest:
            continue
        path = _walk(np.stack([rows + place[0].start, cols + place[1].start], axis=1))
        lines.append(shapely.LineString(path[:, ::-1] + 0.5).simplify(1.0))
        widths.append(float(2 * np.median(depth[path[:, 0], path[:, 1]])))
    return lines, widths


def _walk(pixels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Order the pixels of one branch from end to end: each step goes to the nearest pixel not yet passed."""
    left = [tuple(p) for p in pixels.tolist()]
    known = set(left)

    def around(p: tuple[int, int]) -> list[tuple[int, int]]:
        steps = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
        return [q for dy, dx in steps if (q := (p[0] + dy, p[1] + dx)) in known]

    here = min(left, key=lambda p: len(around(p)))
    path = []
    while True:
        path.append(here)
        known.discard(here)
        ahead = around(here)
        if not ahead:
            return np.array(path)
        here = ahead[0]
