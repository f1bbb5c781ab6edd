"""Pictures that share pixels at a shift: windows of one picture that nobody says the place of.

Every patch of 8 x 8 pixels has a number that its pixels give. Where that number is the least of its neighbourhood, it
is a mark (winnowing, Schleimer and others 2003, in two dimensions): a choice by content alone, so two windows of one
picture have the same marks in what they share, whatever the shift. Two pictures share pixels where at least half of the
marks that one has where the other would lie are there in the other, too. Pixels must be the very same: lossy copies
have other marks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PATCH = 8
NEAR, FINEST = 8, 256
"""Pixels to each side in which a mark is alone, in pictures up to so many pixels a side; more in larger ones."""
LEAST, SHARE = 4, 0.5
"""Marks that two pictures have in common at least, and of those that they should have."""
CROWD = 32
"""Pictures with the same mark above which it tells nothing."""
_FACTORS = np.random.default_rng(8).integers(0, 2**63, 64, dtype=np.uint64) * 2 + 1


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Where a picture can be known again."""

    number: NDArray[np.uint64]
    """(n,)."""
    place: NDArray[np.int32]
    """(n, 2) row and column of each."""
    shape: tuple[int, int]
    """Of the picture."""
    near: int
    """Pixels from a patch's corner to the sides in which nothing can be a mark."""


def marks_of(image: NDArray[np.generic], valid: NDArray[np.bool_]) -> Marks:
    """The marks of a picture (band, y, x) of any dtype, of which `valid` (y, x) is data."""
    shape = (int(image.shape[1]), int(image.shape[2]))
    near = NEAR * max(1, round(max(shape) / FINEST))
    if min(shape) < PATCH + 2 * near:
        return Marks(np.zeros(0, np.uint64), np.zeros((0, 2), np.int32), shape, near)
    plane = np.zeros(shape, np.uint64)
    for band, factor in zip(image, _FACTORS[np.arange(len(image)) % 32], strict=True):
        bits = np.ascontiguousarray(band).view(f"u{band.dtype.itemsize}") if band.dtype.kind == "f" else band
        plane += bits.astype(np.uint64) * factor
    plane[~valid] = 0
    number, low, high = plane, plane, plane
    for axis in (0, 1):
        for step, factor in zip((1, 2, 4), _FACTORS[32 + 3 * axis :], strict=False):  # of 1, 2, 4, then 8 pixels
            length = number.shape[axis] - step
            here, there = ((slice(None),) * axis + (slice(k, k + length),) for k in (0, step))
            number = number[here] * factor + number[there]
            low, high = np.minimum(low[here], low[there]), np.maximum(high[here], high[there])
        number = (number ^ (number >> np.uint64(29))) * _FACTORS[40 + axis]
    # scipy compares as float64, which has 53 bits; what is of one colour tells nothing.
    rank = np.where(low == high, np.inf, (number >> np.uint64(11)).astype(np.float64))
    best = (rank == ndimage.minimum_filter(rank, 2 * near + 1)) & np.isfinite(rank)
    best[:near], best[-near:], best[:, :near], best[:, -near:] = False, False, False, False
    rows, cols = np.nonzero(best)
    return Marks(number[rows, cols], np.column_stack([rows, cols]).astype(np.int32), shape, near)


def pairs_shifted(marks: Sequence[Marks], split: NDArray[np.int64]) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Pairs of numbers of pictures in different splits that share pixels, and the shift in rows and columns.

    Takes time in proportion to the number of marks.
    """
    owner = np.repeat(np.arange(len(marks)), [len(one.number) for one in marks])
    if not len(owner):
        return
    number = np.concatenate([one.number for one in marks])
    place = np.concatenate([one.place for one in marks])
    order = np.argsort(number, kind="stable")
    same = number[order]
    begins = np.flatnonzero(np.concatenate([[True], same[1:] != same[:-1]]))
    crowd = np.diff(np.append(begins, len(same)))
    dull = np.repeat(crowd > CROWD, crowd)
    found = [np.zeros((0, 4), np.int64)]
    for step in range(1, min(CROWD, int(crowd.max()))):
        first = np.flatnonzero((same[:-step] == same[step:]) & ~dull[:-step])
        one, other = order[first], order[first + step]
        apart = split[owner[one]] != split[owner[other]]
        one, other = one[apart], other[apart]
        found.append(np.column_stack([owner[one], owner[other], place[one] - place[other]]))
    pairs, counts = np.unique(np.concatenate(found), axis=0, return_counts=True)
    for (a, b, down, right), count in zip(pairs[counts >= LEAST].tolist(), counts[counts >= LEAST], strict=True):
        wanted = _expected(marks[a], marks[b], (down, right)), _expected(marks[b], marks[a], (-down, -right))
        if count >= SHARE * min(wanted):
            yield a, b, (down, right)


def _expected(one: Marks, other: Marks, shift: tuple[int, int]) -> int:
    """How many marks of a picture lie where another, so far from it, could have them, too."""
    there = one.place - np.array(shift)
    end = np.array(other.shape) - PATCH + 1 - other.near
    return int(((there >= other.near) & (there < end)).all(axis=1).sum())
