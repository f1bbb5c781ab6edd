"""Runs: the pixels of an area as lengths of 0s and 1s in turn, 0s first, in COCO's two spellings and CVAT's.

COCO counts down the columns of the whole picture (https://github.com/cocodataset/cocoapi, common/maskApi.c), CVAT along
the rows of a box. Here an area is the sorted flat indexes, row by row, of its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput

Indexes = NDArray[np.int64]


def counts_of(indexes: Indexes, size: int) -> list[int]:
    """Lengths of runs, of 0s first, of `size` pixels of which those at the sorted indexes are 1."""
    edges = np.flatnonzero(np.diff(indexes) > 1)
    starts = indexes[np.concatenate([[0], edges + 1])] if indexes.size else indexes
    stops = indexes[np.concatenate([edges, [len(indexes) - 1]])] + 1 if indexes.size else indexes
    changes = np.stack([starts, stops], axis=1).ravel()
    found: list[int] = np.diff(changes, prepend=0, append=size).tolist()
    return found if found[-1] or len(found) == 1 else found[:-1]


def indexes_of(counts: Sequence[int] | NDArray[np.int64], size: int) -> Indexes:
    """The sorted indexes of the pixels that are 1.

    Raises:
        UnusableInput: the runs are not of `size` pixels.
    """
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size:
        raise UnusableInput(f"A mask's runs make {int(lengths.sum())} pixels, and its picture has {size}.")
    stops = np.cumsum(lengths)
    ones = lengths[1::2]
    # Of each run of 1s: where it starts, less how many 1s came before it, repeated, plus a running number.
    before = np.cumsum(ones) - ones
    starts = stops[1::2] - ones
    return np.repeat(starts - before, ones) + np.arange(int(ones.sum()))


def by_rows(indexes: Indexes, shape: tuple[int, int]) -> Indexes:
    """Indexes counted down the columns as indexes along the rows, sorted."""
    rows, cols = shape
    return np.sort(indexes % rows * cols + indexes // rows)


def by_columns(indexes: Indexes, shape: tuple[int, int]) -> Indexes:
    """Indexes counted along the rows as indexes down the columns, sorted."""
    rows, cols = shape
    return np.sort(indexes % cols * rows + indexes // cols)


def unpack(text: str) -> NDArray[np.int64]:
    """The counts in COCO's compressed string.

    Each count is six bits a character from '0' on: five of the number, the lowest first, and one that says that more
    follow; the last one's fifth bit is the sign. From the fourth on, what is written is the difference to the count two
    before.

    Raises:
        UnusableInput: it is no such string.
    """
    codes = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - ord("0")
    if codes.size == 0 or (codes < 0).any() or (codes > 0x3F).any() or codes[-1] & 0x20:  # noqa: PLR2004 - six bits
        raise UnusableInput(f"'{text[:40]}' is no mask in COCO's compressed form; it is damaged.")
    last = (codes & 0x20) == 0
    ends = np.flatnonzero(last)
    begins = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(codes.size) - np.repeat(begins, ends - begins + 1)
    if place.max() > 11:  # noqa: PLR2004 - 12 characters hold 60 bits
        raise UnusableInput(f"'{text[:40]}' is no mask in COCO's compressed form; it is damaged.")
    values = np.add.reduceat((codes & 0x1F) << (5 * place), begins)
    negative = (codes[ends] & 0x10) != 0
    values = values - np.where(negative, np.int64(1) << (5 * (place[ends] + 1)), 0)
    values[1::2], values[2::2] = np.cumsum(values[1::2]), np.cumsum(values[2::2])
    return values
