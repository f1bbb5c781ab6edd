"""Probability in integers: what makes the blended result independent of order, worker and moment.

A stored probability is uint8: 0...254 = p·254, rounded so that the planes of a valid pixel sum to 254 exactly; 255 is
nodata. Every tile is quantised first (`models.quantise`), then added in int32 with its integer weights: integer sums
do not care about order. The weights of a pixel sum to 2^2k, so the planes of a blended pixel sum to 254·2^2k,
which is also the proof that no tile is missing there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infra.errors import GeoloomError
from tasks.raster.kernels import add_weighted, highest_plane, round_sums, rows_of, sum_by_table
from tasks.raster.tiling import WEIGHT_BITS

TOP = 254
"""A probability of 1."""
NODATA = 255
ENTROPY_BITS = 20


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


def uncertainty(probability: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How undecided stored probabilities are: their entropy by that of all classes being equally likely.

    -sum p ln p / ln n for n classes (Shannon 1948), summed in whole 2^-20ths, so the bits are the same everywhere.

    Args:
        probability: (class, y, x) uint8.

    Returns:
        (y, x) uint8: 0 certain to 254 undecided; 255 where there is no data.
    """
    p = np.arange(1, TOP + 1) / TOP
    table = np.zeros(256, np.int32)
    table[1 : TOP + 1] = np.rint(-p * np.log(p) / np.log(max(len(probability), 2)) * (1 << ENTROPY_BITS))
    sums = np.empty(probability.shape[1:], np.int32)
    sum_by_table(rows_of(probability), len(probability), NODATA, table, sums)
    half = 1 << (ENTROPY_BITS - 1)
    shares = np.minimum((sums * TOP + half) >> ENTROPY_BITS, TOP)
    return np.where(sums < 0, NODATA, shares).astype(np.uint8)
