"""Spatial splits: which part of which scene goes to training, validation or test, with a gap between them.

Chips lie on a lattice of their own size that begins at a scene's first pixel. A part is what goes to one split as a
whole: a square block of k x k lattice places, or all scenes of one place. Parts are dealt out so that every split gets
its share of the chips and of each class. Then every chip that comes nearer than one chip's side to a chip of another
split is left out, the larger split giving way to the smaller: what a network sees around a chip of one split, up to a
chip's side, is in no other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput

LARGEST = 8
"""Chips a side of the largest block: the gap around one of 8 x 8 costs 36 chips."""


def block_side(shapes: Sequence[tuple[int, int]], *, least: float) -> int:
    """Chips a side of blocks: the largest of which there is one for the smallest share.

    Args:
        shapes: lattice rows and columns of the scenes that are cut into blocks.
        least: the smallest share.
    """
    for side in range(LARGEST, 1, -1):
        if sum((rows // side) * (cols // side) for rows, cols in shapes) * least >= 1:
            return side
    return 1


def deal(weights: NDArray[np.float64], shares: Sequence[float], *, seed: int) -> NDArray[np.int64]:
    """Deal parts out to splits in proportion to their shares; (part,) the number of each one's split.

    The large ones go first, those within a factor of two in an order that the seed chooses. Each goes to the split
    that has least, for its share, of what the part consists of, counted with half of the part (Sainte-Laguë's
    divisors, which favour neither large nor small shares).

    Args:
        weights: (part, what), each column what a split is to have its share of: chips, pixels of a class.
        shares: of each split, above 0.
        seed: chooses.

    Raises:
        UnusableInput: fewer parts than splits.
    """
    if len(weights) < len(shares):
        raise UnusableInput(
            f"There is room for {len(weights)} separate part(s) and {len(shares)} splits are asked for; give more "
            "scenes of other places, a smaller --chip, fewer --splits, or --by blocks."
        )
    total = weights.sum(axis=0)
    parts = weights / np.where(total > 0, total, 1.0)
    size = np.floor(np.log2(np.maximum(weights[:, 0], 1)))
    order = np.lexsort((np.random.default_rng(seed).permutation(len(parts)), -size))
    share = np.asarray(shares, np.float64)
    got = np.zeros((len(share), parts.shape[1]))
    split = np.zeros(len(parts), np.int64)
    for part in order:
        chosen = int(np.argmin(((got + parts[part] / 2) @ parts[part]) / share))
        split[part] = chosen
        got[chosen] += parts[part]
    for empty in set(range(len(share))) - set(split.tolist()):
        giving = np.bincount(split, minlength=len(share)).argmax()
        mine = np.flatnonzero(split == giving)
        split[mine[np.argmin(weights[mine, 0])]] = empty
    return split


def blocks(shape: tuple[int, int], side: int) -> NDArray[np.int64]:
    """The number of each lattice place's block, (row, column); what is too thin for one at the end joins the last."""
    rows, cols = (np.minimum(np.arange(n) // side, max(n // side - 1, 0)) for n in shape)
    return rows[:, None] * (int(cols.max(initial=0)) + 1) + cols[None, :]


def keep_apart(
    split: NDArray[np.int64],
    shares: Sequence[float],
    *,
    near: Sequence[tuple[NDArray[np.object_], NDArray[np.object_]]],
) -> NDArray[np.bool_]:
    """Which chips stay so that none comes near one of another split; (chip,) bool.

    Args:
        split: (chip,) the number of its split.
        shares: of each split: the larger gives way.
        near: pairs of (chip,) outlines, plain and grown by the gap, in one plane each; None where a chip has no place
            in that plane.
    """
    kept = np.zeros(len(split), np.bool_)
    for chosen in sorted(range(len(shares)), key=lambda s: (shares[s], -s)):
        mine, there = np.flatnonzero(split == chosen), np.flatnonzero(kept)
        free = np.ones(len(mine), np.bool_)
        for plain, grown in near:
            hit = shapely.STRtree(plain[there]).query(grown[mine], predicate="intersects")[0]
            free[hit] = False
        kept[mine[free]] = True
    return kept
