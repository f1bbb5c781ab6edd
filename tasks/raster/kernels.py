"""The loops that touch every pixel, compiled: some nanoseconds a pixel, without Python's lock, in exact integers.

numpy needs a pass over memory for every step of a formula; a kernel needs one in all. Nothing here is fast and loose
(`fastmath` is off, every integer's type is written out), so the bits are those of the numpy formula that the tests
hold beside each kernel. A kernel is compiled at its first call and kept in a cache on disk.

Kernels take an array as `Rows`: its memory in one dimension and the steps to a plane and to a row. A row of it is
then contiguous for the compiler too, whatever window of a larger array it is, and that is what lets it use vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numba import njit
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Rows: TypeAlias = tuple[NDArray[Any], int, int]
"""Memory, elements from one plane to the next, elements from one row to the next."""
Kernel = TypeVar("Kernel", bound=Callable[..., Any])

LANES = 4
"""Histograms counted side by side, so that equal neighbours do not wait for each other's increment."""
PIECE = 64
"""Pixels of a row that are looked at together where few need work."""


def rows_of(array: NDArray[Any]) -> Rows:
    """The rows of (plane, y, x) or (y, x), in place where x is contiguous, else of a copy."""
    if array.strides[-1] != array.itemsize or min(array.strides) < 0 or not array.size:
        array = np.ascontiguousarray(array)
    if array.dtype == bool:
        array = array.view(np.uint8)
    steps = [stride // array.itemsize for stride in array.strides]
    length = 1 + sum((n - 1) * step for n, step in zip(array.shape, steps, strict=True)) if array.size else 0
    plane = steps[0] if array.ndim == 3 else 0  # noqa: PLR2004 - (plane, y, x)
    return as_strided(array, (length,), (array.itemsize,)), plane, steps[-2]


def compiled(kernel: Kernel) -> Kernel:
    """Compile at the first call, and keep it on disk: beside this file, else in the user's cache, else not at all."""
    try:
        return cast("Kernel", njit(nogil=True, cache=True)(kernel))
    except RuntimeError:  # numba's "no locator available": neither folder can be written
        return cast("Kernel", njit(nogil=True)(kernel))


@compiled
def add_weighted(part: Rows, rows: NDArray[np.int32], cols: NDArray[np.int32], total: Rows, planes: int) -> None:
    """Total += part · rows · cols, int32 += uint8 · int32 · int32."""
    p, p_plane, p_row = part
    t, t_plane, t_row = total
    width = cols.size
    for k in range(planes):
        for y in range(rows.size):
            source = p[k * p_plane + y * p_row :][:width]
            target = t[k * t_plane + y * t_row :][:width]
            weight = rows[y]
            for x in range(width):
                target[x] += np.int32(source[x]) * (weight * cols[x])


@compiled
def round_sums(total: Rows, valid: Rows, bits: int, top: int, result: NDArray[np.uint8]) -> int:
    """Divide sums by 2^bits by the largest remainder into result (plane, y, x); 255 where not valid.

    Returns:
        How many valid pixels have planes that do not sum to top · 2^bits.
    """
    v, _, v_row = valid
    height, width = result.shape[1:]
    missing, left = np.empty(width, np.int32), np.empty(width, np.int32)
    wrong = 0
    for y in range(height):
        data = v[y * v_row :][:width]
        wrong += _round_down(total, y, data, bits, top, result, missing, left)
        # In pieces: most of a row lies inside one tile and lacks nothing.
        for x in range(0, width, PIECE):
            piece = missing[x : x + PIECE]
            some = np.int32(0)
            for i in range(piece.size):
                some |= piece[i]
            if some != 0:
                _raise_largest(total, y, x, bits, piece, result, left)
    return wrong


@compiled
def _round_down(
    total: Rows,
    y: int,
    data: NDArray[np.uint8],
    bits: int,
    top: int,
    result: NDArray[np.uint8],
    missing: NDArray[np.int32],
    left: NDArray[np.int32],
) -> int:
    """Divide one row's sums; missing (x,) becomes what its valid pixels lack to top; left (x,) is scratch."""
    t, t_plane, t_row = total
    shift, low, whole = np.int32(bits), np.int32((1 << bits) - 1), np.int32(top)
    missing[:] = whole
    left[:] = 0
    for k in range(result.shape[0]):
        sums = t[k * t_plane + y * t_row :][: data.size]
        out = result[k, y]
        for x in range(data.size):
            part = sums[x] >> shift
            # Apart, wholes and remainders stay under 2^31 whatever the sums are.
            missing[x] -= part
            left[x] += sums[x] & low
            # Where not valid, 0 - 1 has every bit.
            out[x] = np.uint8(part) | np.uint8(data[x] - np.uint8(1))
    wrong = np.int32(0)
    for x in range(data.size):
        off = ((left[x] >> shift) ^ missing[x]) | (left[x] & low)
        wrong += np.int32(data[x]) & np.int32(off != 0)
        missing[x] *= np.int32(data[x])
    return int(wrong)


@compiled
def _raise_largest(
    total: Rows,
    y: int,
    start: int,
    bits: int,
    missing: NDArray[np.int32],
    result: NDArray[np.uint8],
    before: NDArray[np.int32],
) -> None:
    """Add 1 to as many planes of a pixel as it lacks, those of the largest remainders, the first of equals.

    A plane is one of them if fewer planes than are missing come before it. That takes planes² comparisons and no
    branch, so the compiler does them for many pixels at once. `before` is scratch.
    """
    t, t_plane, t_row = total
    low = np.int32((1 << bits) - 1)
    size = missing.size
    for k in range(result.shape[0]):
        mine = t[k * t_plane + y * t_row + start :][:size]
        before[:size] = 0
        for j in range(result.shape[0]):
            other = t[j * t_plane + y * t_row + start :][:size]
            first = np.int32(j < k)
            for x in range(size):
                # Integers: an equal remainder comes before where its plane does.
                before[x] += np.int32((other[x] & low) + first > (mine[x] & low))
        out = result[k, y, start : start + size]
        for x in range(size):
            out[x] += np.uint8(before[x] < missing[x])


@compiled
def highest_plane(planes: Rows, count: int, nodata: int, result: NDArray[np.uint8]) -> None:
    """The number of the largest plane of each pixel, the first of equals; nodata where plane 0 is."""
    p, p_plane, p_row = planes
    height, width = result.shape
    most = np.empty(width, np.uint8)
    none = np.uint8(nodata)
    for y in range(height):
        first = p[y * p_row :][:width]
        best = result[y]
        for x in range(width):
            most[x] = first[x]
            # Nothing is larger than nodata, so it stays.
            best[x] = none if first[x] == none else np.uint8(0)
        for k in range(1, count):
            plane = p[k * p_plane + y * p_row :][:width]
            number = np.uint8(k)
            for x in range(width):
                # Read first, choose, then write: a write under a condition would cost the vectors.
                here, value, highest = best[x], plane[x], most[x]
                if value > highest:
                    here, highest = number, value
                best[x], most[x] = here, highest


@compiled
def sum_by_table(planes: Rows, count: int, nodata: int, table: NDArray[np.int32], result: NDArray[np.int32]) -> None:
    """What the planes' values stand for in a table (256,), summed at each pixel; -1 where plane 0 is nodata."""
    p, p_plane, p_row = planes
    height, width = result.shape
    for y in range(height):
        first, sums = p[y * p_row :][:width], result[y]
        sums[:] = 0
        for k in range(count):
            plane = p[k * p_plane + y * p_row :][:width]
            for x in range(width):
                sums[x] += table[plane[x]]
        for x in range(width):
            sums[x] = np.int32(-1) if first[x] == nodata else sums[x]


@compiled
def tally(plane: Rows, valid: Rows, height: int, width: int, counts: NDArray[np.uint32]) -> None:
    """Add the valid pixels of an unsigned plane to counts (lane, value); any number of `LANES` lanes."""
    p, _, p_row = plane
    v, _, v_row = valid
    for y in range(height):
        source, data = p[y * p_row :][:width], v[y * v_row :][:width]
        even = width // LANES * LANES
        for x in range(0, even, LANES):
            for lane in range(LANES):
                counts[lane, source[x + lane]] += np.uint32(data[x + lane])
        for x in range(even, width):
            counts[0, source[x]] += np.uint32(data[x])


@compiled
def sum_floats(plane: Rows, valid: Rows, height: int, width: int) -> tuple[int, float, float, float, float]:
    """Count, sum, sum of squares, minimum and maximum of the valid finite pixels, in double precision."""
    p, _, p_row = plane
    v, _, v_row = valid
    count, total, squares, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    for y in range(height):
        source, data = p[y * p_row :][:width], v[y * v_row :][:width]
        # Row by row, so that a small pixel is not lost in a block's large sum.
        row, row_squares = 0.0, 0.0
        for x in range(width):
            value = np.float64(source[x])
            if data[x] and np.isfinite(value):
                count += 1
                row += value
                row_squares += value * value
                low = min(low, value)
                high = max(high, value)
        total += row
        squares += row_squares
    return count, total, squares, low, high


@compiled
def tally_floats(
    plane: Rows, valid: Rows, height: int, width: int, low: float, span: float, counts: NDArray[np.int64]
) -> None:
    """Add the valid finite pixels of a plane to counts (bin,) of equal steps over low ... low + span."""
    p, _, p_row = plane
    v, _, v_row = valid
    bins = counts.size
    for y in range(height):
        source, data = p[y * p_row :][:width], v[y * v_row :][:width]
        for x in range(width):
            value = np.float64(source[x])
            if data[x] and np.isfinite(value):
                counts[min(int((value - low) / span * bins), bins - 1)] += 1
