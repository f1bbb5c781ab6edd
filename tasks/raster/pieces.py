"""Objects that several windows see, each with ids of its own: which of these pieces are one object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AGREE = 0.5
"""Share of pixels, of those where two windows look, above which their pieces are one object."""

Pairs = NDArray[np.uint32]
"""(n, 2) ids of pieces that are one object."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a window sees of an area."""

    piece: NDArray[np.uint32]
    """(y, x) ids, 0 = none."""
    label: NDArray[np.uint8]
    """(y, x) classes: pieces of different ones are not one object."""
    cut: NDArray[np.bool_]
    """(y, x) of pieces that reach the window's border: they may be parts of something larger."""

    @classmethod
    def of(cls, piece: NDArray[np.uint32], label: NDArray[np.uint8]) -> Sight:
        """All that a window sees."""
        border = np.unique(np.concatenate([piece[0], piece[-1], piece[:, 0], piece[:, -1]]))
        return cls(piece, label, np.isin(piece, border[border > 0]))

    def at(self, place: tuple[slice, slice]) -> Sight:
        """What it sees of a part of that."""
        return Sight(self.piece[place], self.label[place], self.cut[place])


def matching(one: Sight, other: Sight) -> Pairs:
    """Pieces of one window and pieces of another that are the same object, by an area that both see.

    Two that cover the same pixels are (intersection over union), and one that its window's border cuts is with what
    holds most of it: it may hang together with more beyond that border, which the other window sees.
    """
    both = (one.piece > 0) & (other.piece > 0) & (one.label == other.label)
    pairs, common = np.unique(np.stack([one.piece[both], other.piece[both]], axis=1), axis=0, return_counts=True)
    if not len(pairs):
        return np.zeros((0, 2), np.uint32)
    (area, cut), (other_area, other_cut) = (_of(side, pairs[:, n]) for n, side in enumerate((one, other)))
    same = common > AGREE * (area + other_area - common)
    part = (cut & (common > AGREE * area)) | (other_cut & (common > AGREE * other_area))
    return pairs[same | part]


def _of(sight: Sight, wanted: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pixels of pieces, and whether each is cut."""
    ids, first, area = np.unique(sight.piece, return_index=True, return_counts=True)
    place = np.searchsorted(ids, wanted)
    return area[place], sight.cut.ravel()[first[place]]


def smallest_ids(pairs: Iterable[Pairs]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Each piece that is one with another, and the smallest id of all that are, chains of them followed.

    Returns:
        (n,) ids in order, and (n,) what they become: the same whatever the order of the pairs.
    """
    above: dict[int, int] = {}

    def root(piece: int) -> int:
        while (parent := above.setdefault(piece, piece)) != piece:
            above[piece] = above[parent]  # halves the way for the next who comes
            piece = above[piece]
        return piece

    for some in pairs:
        for one, other in some.tolist():
            low, high = sorted((root(one), root(other)))
            above[high] = low
    ids = np.array(sorted(above), np.uint32)
    return ids, np.array([root(int(piece)) for piece in ids], np.uint32)


def renamed(pieces: NDArray[np.uint32], ids: NDArray[np.uint32], become: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Pieces (y, x) with the ids that `smallest_ids` found; those it does not name keep theirs."""
    if not len(ids):
        return pieces
    place = np.searchsorted(ids, pieces).clip(max=len(ids) - 1)
    return np.where(ids[place] == pieces, become[place], pieces)
