"""Thousands of polygons are filled into one raster at once, by the rule that a pixel belongs to what covers its centre.

Every edge meets every row of pixel centres between its ends in one x. These crossings, sorted by (polygon, row,
column), come in pairs: the spans of the even-odd rule, holes included. Coordinates stay absolute until a crossing has
become a column number, so the same polygon covers the same pixels whatever window is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fill(
    out: NDArray[np.int32],
    rings: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]],
    *,
    values: NDArray[np.int32],
    corner: tuple[int, int],
) -> None:
    """Polygons are painted into `out`, later ones over earlier ones.

    Args:
        out: (h, w) int32, changed in place.
        rings: vertices (n, 2) x, y in absolute pixels; the first vertex of each ring (r,); the polygon of each ring
            (r,), ascending. Rings close by themselves.
        values: what each polygon writes, (p,) int32.
        corner: absolute row and column of out[0, 0].
    """
    height, width = out.shape
    xy, starts, owners = rings
    if not len(starts):
        return
    sizes = np.diff(np.append(starts, len(xy)))
    follow = np.arange(1, len(xy) + 1)
    follow[starts + sizes - 1] = starts
    x, y = xy[:, 0], xy[:, 1]
    row_of = np.ceil(y - 0.5).astype(np.int64) - corner[0]
    first, last = row_of, row_of[follow]
    top = np.clip(np.minimum(first, last), 0, height)
    count = np.clip(np.maximum(first, last), 0, height) - top
    edges = np.flatnonzero(count)
    count, top = count[edges], top[edges]
    if not len(edges):
        return
    to = follow[edges]
    slope = (x[to] - x[edges]) / (y[to] - y[edges])
    total = int(count.sum())
    of = np.repeat(np.arange(len(edges)), count)
    row = np.arange(total) - np.repeat(np.cumsum(count) - count - top, count)
    at = x[edges][of] + ((row + corner[0] + 0.5) - y[edges][of]) * slope[of]
    col = np.clip(np.ceil(at - 0.5).astype(np.int64) - corner[1], 0, width)
    owner = np.repeat(owners, sizes)[edges][of]
    # One sortable number a crossing; a closed ring meets a row an even number of times, so pairs never mix rows.
    crossing = np.sort((owner * height + row) * (width + 1) + col)
    begin, end = crossing[0::2], crossing[1::2]
    length = end - begin
    some = length > 0
    begin, length = begin[some], length[some]
    line, left = np.divmod(begin, width + 1)
    polygon, row = np.divmod(line, height)
    offset = row * width + left - (np.cumsum(length) - length)
    pixels = np.arange(int(length.sum())) + np.repeat(offset, length)
    out.reshape(-1)[pixels] = np.repeat(values[polygon], length)
