"""Overviews: a raster at half its size, and again, as maps are drawn from when one looks from afar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.raster.kernels import Rows, compiled, rows_of

NEVER = 256
"""No uint8."""


def halve_mode(planes: NDArray[np.uint8], nodata: int | None) -> NDArray[np.uint8]:
    """The commonest class of every 2 x 2 pixels that are not nodata, of equals the one that stands first.

    The tie goes by place and not by class, so that no class grows or fades with every halving.

    Args:
        planes: (band, y, x) uint8.
        nodata: its value, None where there is none.

    Returns:
        (band, ceil(y / 2), ceil(x / 2)) uint8; nodata where all are. At an odd edge only the pixels there are count.
    """
    result = _half(planes)
    height, width = planes.shape[1:]
    for plane, out in zip(planes, result, strict=True):
        _mode(rows_of(plane), height, width, NEVER if nodata is None else nodata, out)
    return result


def halve_mean(planes: NDArray[np.uint8], nodata: int | None, *, alpha: bool = False) -> NDArray[np.uint8]:
    """The mean of every 2 x 2 pixels that are not nodata, halves rounded up.

    Args:
        planes: (band, y, x) uint8.
        nodata: its value, None where there is none.
        alpha: the last plane says which pixels of the others are data (> 0); of itself, all are.

    Returns:
        (band, ceil(y / 2), ceil(x / 2)) uint8; nodata (else 0) where all are. At an odd edge only the pixels there are
        count.
    """
    result = _half(planes)
    height, width = planes.shape[1:]
    none = NEVER if nodata is None else nodata
    for n, (plane, out) in enumerate(zip(planes, result, strict=True)):
        colour = alpha and n < len(planes) - 1
        guard = planes[-1] if colour else plane
        missing = 0 if colour else none
        _mean(rows_of(plane), rows_of(guard), height, width, missing, missing & 255, out)
    return result


def _half(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    count, height, width = planes.shape
    return np.empty((count, -(-height // 2), -(-width // 2)), np.uint8)


@compiled
def _mode(plane: Rows, height: int, width: int, nodata: int, result: NDArray[np.uint8]) -> None:
    p, _, row = plane
    four, none = np.empty(4, np.int32), np.int32(nodata)
    for y in range(result.shape[0]):
        # At an odd edge a pixel stands for its missing neighbour too, which changes neither mode nor mean.
        top, bottom = p[2 * y * row :][:width], p[min(2 * y + 1, height - 1) * row :][:width]
        for x in range(result.shape[1]):
            left, right = 2 * x, min(2 * x + 1, width - 1)
            four[0], four[1], four[2], four[3] = top[left], top[right], bottom[left], bottom[right]
            best = four[0]
            if four[1] != best or four[2] != best or four[3] != best:
                most = 0
                best = none
                for i in range(4):
                    votes = 0
                    for j in range(4):
                        votes += four[i] == four[j]
                    if votes > most and four[i] != none:
                        best, most = four[i], votes
            result[y, x] = best


@compiled
def _mean(plane: Rows, guard: Rows, height: int, width: int, none: int, empty: int, result: NDArray[np.uint8]) -> None:
    """The mean of the pixels whose guard is not `none`; `empty` where there is no such pixel."""
    p, _, row = plane
    g, _, g_row = guard
    missing = np.int32(none)
    # A column more where the width is odd: there too, a pixel stands for its missing neighbour.
    counts, totals = np.empty(2 * result.shape[1], np.int32), np.empty(2 * result.shape[1], np.int32)
    for y in range(result.shape[0]):
        low = min(2 * y + 1, height - 1)
        top, bottom = p[2 * y * row :][:width], p[low * row :][:width]
        above, below = g[2 * y * g_row :][:width], g[low * g_row :][:width]
        for x in range(width):
            one, two = np.int32(np.int32(above[x]) != missing), np.int32(np.int32(below[x]) != missing)
            counts[x] = one + two
            totals[x] = one * np.int32(top[x]) + two * np.int32(bottom[x])
        counts[-1], totals[-1] = counts[width - 1], totals[width - 1]
        for x in range(result.shape[1]):
            count, total = counts[2 * x] + counts[2 * x + 1], totals[2 * x] + totals[2 * x + 1]
            # Halves rounded up, without a division or a branch: 21,846 / 2^16 is a third for all totals there are.
            mean = (total + 2) >> 2 if count == 4 else np.int32(empty)  # noqa: PLR2004
            mean = ((total + 1) * 21846) >> 16 if count == 3 else mean  # noqa: PLR2004
            mean = (total + 1) >> 1 if count == 2 else mean  # noqa: PLR2004
            mean = total if count == 1 else mean
            result[y, x] = np.uint8(mean)
