"""Probability in integers: what makes the blended result independent of order, worker and moment.

A stored probability is uint8: 0...254 = p·254, rounded so that the planes of a valid pixel sum to 254 exactly; 255 is
nodata. Every tile is quantised first, then added in int32 with its integer weights: integer sums do not care about
order. The weights of a pixel sum to 2^2k, so the planes of a blended pixel sum to 254·2^2k, which is also the proof
that no tile is missing there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infra.errors import GeoloomError
from tasks.raster.kernels import add_weighted, highest_plane, round_sums, rows_of
from tasks.raster.tiling import WEIGHT_BITS

TOP = 254
"""A probability of 1."""
NODATA = 255


def quantise(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round probabilities so that the planes of each pixel sum to 254: the largest-remainder method.

    Args:
        probability: (class, y, x) float32, each pixel's planes summing to 1.

    Returns:
        (class, y, x) uint8; of equal remainders the lowest class is rounded up first.

    Raises:
        GeoloomError: the planes of a pixel do not sum to 1, or are no numbers.
    """
    # In units of 2^-15 the remainders are integers, and their comparison is the same on every machine.
    scaled = np.rint(probability * np.float32(TOP << 15)).astype(np.int32)
    whole = scaled >> 15
    missing = TOP - whole.sum(axis=0)
    # Rounding down loses less than one a plane; more means that the planes were no probabilities (NaN, for one).
    wrong = np.count_nonzero(np.abs(missing) > len(whole))
    if wrong:
        raise GeoloomError(f"The network gave {wrong} pixels whose probabilities do not sum to 1; check its weights.")
    return _largest_remainder(whole, scaled & ((1 << 15) - 1), missing)


def add(part: NDArray[np.uint8], rows: NDArray[np.int32], cols: NDArray[np.int32], total: NDArray[np.int32]) -> None:
    """Add what a tile says to a block: total += part · rows · cols, in place.

    Args:
        part: (class, y, x) uint8, quantised probabilities.
        rows: (y,) int32, the tile's weights along y.
        cols: (x,) int32, those along x.
        total: (class, y, x) int32, the part of a block's sums where the tile has weight; x contiguous.
    """
    assert part.shape == total.shape == (len(part), rows.size, cols.size)
    # A copy would take the sums and lose them.
    assert total.strides[-1] == total.itemsize
    add_weighted(rows_of(part), rows, cols, rows_of(total), len(part))


def finish(total: NDArray[np.int32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Turn weighted sums into stored probabilities.

    Args:
        total: (class, y, x) int32, the sum over tiles of weight · quantised probability.
        valid: (y, x); where False the result is `NODATA`.

    Returns:
        (class, y, x) uint8, rounded by the largest remainder, of equal remainders the lowest class first.

    Raises:
        GeoloomError: a valid pixel lacks a tile's contribution.
    """
    result = np.empty(total.shape, np.uint8)
    short = round_sums(rows_of(total), rows_of(valid), 2 * WEIGHT_BITS, TOP, result)
    if short:
        raise GeoloomError(
            f"{short} pixels of a block lack a tile's contribution; remove strips/ and run predict again."
        )
    return result


def _largest_remainder(
    whole: NDArray[np.int32], remainder: NDArray[np.int32], missing: NDArray[np.int_]
) -> NDArray[np.uint8]:
    """Round up as many planes of a pixel as `missing` (y, x) says, by largest remainder; (class, y, x) in and out."""
    classes, missing = len(whole), missing.ravel()
    result = whole.astype(np.uint8).reshape(classes, -1)
    left = remainder.reshape(classes, -1)
    # Only pixels that still lack something are looked at again: after one round few do.
    where = np.flatnonzero(missing > 0)
    left, short = left[:, where], missing[where]
    while where.size:
        best = left.argmax(axis=0)
        result[best, where] += 1
        left[best, np.arange(where.size)] = -1
        short -= 1
        again = short > 0
        where, left, short = where[again], left[:, again], short[again]
    # Planes that sum to a little over 1 in float32 may exceed by one: the largest gives it back.
    where = np.flatnonzero(missing < 0)
    result[result[:, where].argmax(axis=0), where] += missing[where].astype(np.uint8)
    return result.reshape(whole.shape)


def predicted_class(probability: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most probable class of stored probabilities, ties to the lowest id; 255 where there is no data.

    Args:
        probability: (class, y, x) uint8.

    Returns:
        (y, x) uint8.
    """
    best = np.empty(probability.shape[1:], np.uint8)
    highest_plane(rows_of(probability), len(probability), NODATA, best)
    return best
