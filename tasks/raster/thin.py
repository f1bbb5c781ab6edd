"""Areas thinned to lines one pixel wide, and such lines walked from end to end: loops over pixels, compiled.

Thinning is that of Guo and Hall in the form of Lam, Lee and Suen, "Thinning methodologies", IEEE PAMI 14 (1992), p. 879
(MATLAB's `bwmorph thin`, scikit-image's `thin`). Each round looks at no pixel further than two away, so what so many
rounds give at a place depends on so much of its surroundings and no more: blocks with that margin agree to the pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.raster.kernels import compiled

ROUND = 2
"""Pixels over which one round of thinning reaches."""
_FEWEST, _MOST = 2, 3


def _tables() -> NDArray[np.bool_]:
    """(2, 256): whether a pixel goes in each half of a round, by its neighbours E, NE, N, NW, W, SW, S, SE as bits."""
    codes = np.arange(256)
    x = [(codes >> bit & 1).astype(bool) for bit in range(8)]
    crossings = sum((~x[i] & (x[i + 1] | x[(i + 2) % 8])).astype(int) for i in (0, 2, 4, 6))
    one = sum((x[i] | x[i + 1]).astype(int) for i in (0, 2, 4, 6))
    other = sum((x[i + 1] | x[(i + 2) % 8]).astype(int) for i in (0, 2, 4, 6))
    fewest = np.minimum(one, other)
    common = (crossings == 1) & (fewest >= _FEWEST) & (fewest <= _MOST)
    first, second = (x[1] | x[2] | ~x[7]) & x[0], (x[5] | x[6] | ~x[3]) & x[4]
    return np.stack([common & ~first, common & ~second])


TABLES = _tables()


def thin(area: NDArray[np.bool_], *, rounds: int) -> NDArray[np.bool_]:
    """The centre lines of an area, (y, x) bool, after so many rounds at most; nothing lies outside."""
    padded = np.pad(area, 1).astype(np.uint8)
    _thin(padded.ravel(), padded.shape[1], np.flatnonzero(padded), rounds, TABLES)
    return padded[1:-1, 1:-1].astype(bool)


@compiled
def _thin(image: NDArray[np.uint8], step: int, places: NDArray[np.int64], rounds: int, goes: NDArray[np.bool_]) -> None:
    doomed = np.empty(places.size, np.int64)
    left = places.size
    for _ in range(rounds):
        before = left
        for half in range(2):
            count = 0
            for n in range(left):
                p = places[n]
                code = (
                    image[p + 1]
                    | image[p - step + 1] << 1
                    | image[p - step] << 2
                    | image[p - step - 1] << 3
                    | image[p - 1] << 4
                    | image[p + step - 1] << 5
                    | image[p + step] << 6
                    | image[p + step + 1] << 7
                )
                if goes[half, code]:
                    doomed[count] = p
                    count += 1
            for n in range(count):
                image[doomed[n]] = 0
            kept = 0
            for n in range(left):
                if image[places[n]]:
                    places[kept] = places[n]
                    kept += 1
            left = kept
        if left == before:
            return


@compiled
def walk(
    lines: NDArray[np.uint8], inside: NDArray[np.uint8], step: int, places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Walk the pixels between places where lines meet.

    Args:
        lines: flat image with a margin of zeros: 0 nothing, 1 a line, 2 where lines meet.
        inside: flat image: where to walk.
        step: pixels of a row of both.
        places: flat indices of all pixels that are 1 and inside, ascending.

    Returns:
        The pixels of all walks one after another; where each walk begins among them, and the last ends; and for each
        walk the pixel beyond its first and its last: where lines meet, or a line outside, or -1 where it just ends.
        A closed walk has each other's end there.
    """
    pixels, starts = np.empty(places.size, np.int64), np.empty(places.size + 1, np.int64)
    beyond = np.empty((places.size, 2), np.int64)
    passed = np.zeros(lines.size, np.uint8)
    count = walks = 0
    for rings in range(2):  # those with ends first; what is then left are rings
        for begin in places:
            if passed[begin] or (not rings and _inner(lines, inside, begin, step) > 1):
                continue
            starts[walks] = count
            last, here, ahead = np.int64(-1), begin, begin
            while ahead >= 0:
                here = ahead
                passed[here] = 1
                pixels[count] = here
                count += 1
                ahead, out, other = _around(lines, inside, passed, here, last, step)
                if here == begin:
                    beyond[walks, 0] = other if ahead < 0 else out
                last = here
            beyond[walks, 1] = out
            if rings:
                beyond[walks] = here, begin
            walks += 1
    starts[walks] = count
    return pixels[:count], starts[: walks + 1], beyond[:walks]


@compiled
def _inner(lines: NDArray[np.uint8], inside: NDArray[np.uint8], here: int, step: int) -> int:
    """How many neighbours a walk could go on to."""
    count = 0
    for row in (-step, 0, step):
        for p in range(here + row - 1, here + row + 2):
            count += p != here and lines[p] == 1 and inside[p] == 1
    return count


@compiled
def _around(
    lines: NDArray[np.uint8],
    inside: NDArray[np.uint8],
    passed: NDArray[np.uint8],
    here: np.int64,
    last: np.int64,
    step: int,
) -> tuple[np.int64, np.int64, np.int64]:
    """The next pixel of a walk, and up to two that lie beyond its end; -1 where there is none."""
    ahead, out, other = np.int64(-1), np.int64(-1), np.int64(-1)
    for row in (-step, 0, step):
        for p in range(here + row - 1, here + row + 2):
            if p in (here, last) or not lines[p]:
                continue
            if lines[p] == 1 and inside[p]:
                if not passed[p]:
                    ahead = np.int64(p)
            elif out < 0:
                out = np.int64(p)
            else:
                other = np.int64(p)
    return ahead, out, other
