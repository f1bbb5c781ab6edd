"""Which chips of several scenes go to which split, so that no place is in two and a gap lies between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.footprints import Plane
from tasks.raster.splits import block_side, blocks, deal, keep_apart


@dataclass(frozen=True, slots=True)
class Site:
    """A scene's lattice of chips, and those of them that may be used."""

    lattice: tuple[int, int]
    """Rows and columns."""
    at: NDArray[np.int64]
    """(chip, 2) lattice row and column of each usable chip."""
    pixels: NDArray[np.int64]
    """(chip, class) labelled pixels of each."""
    place: int
    """Sites of the same place have the same number."""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Usable chips of all sites, site by site; arrays are (chip, ...)."""

    site: NDArray[np.int64]
    split: NDArray[np.int64]
    """Number of the split."""
    kept: NDArray[np.bool_]
    """False where a chip is left out for the gap."""
    block: int
    """Chips a side of the blocks; 0 where whole places went to a split."""
    outlines: NDArray[np.object_]
    crs: pyproj.CRS | None
    """Of the outlines; where it is None they are in columns and rows of their scene."""


def plan_splits(
    sites: Sequence[Site], plane: Plane, *, chip: int, shares: Mapping[str, float], by_blocks: bool, seed: int
) -> SplitPlan:
    """Deal chips out to splits.

    A place with several sites always goes to one split as a whole.

    Args:
        sites: with at least one usable chip among them.
        plane: of the sites' grids, in order.
        chip: pixels a side.
        shares: of each split, above 0.
        by_blocks: a place with one site is cut into square blocks, as large as the smallest share allows.
        seed: chooses what goes where.

    Raises:
        UnusableInput: a split would be left without a chip.
    """
    site = np.repeat(np.arange(len(sites)), [len(s.at) for s in sites])
    at = np.concatenate([s.at for s in sites])
    pixels = np.concatenate([s.pixels for s in sites])
    boxes = np.concatenate([at[:, ::-1], at[:, ::-1] + 1], axis=1).astype(np.float64) * chip
    near, outlines, crs = _planes(site, boxes, sites, plane, chip=chip)
    shared = Counter(s.place for s in sites)
    lone = [s.lattice for s in sites if shared[s.place] == 1] if by_blocks else []
    largest = block_side(lone, least=min(shares.values())) if lone else 0
    for side in range(largest, 0, -1) if largest else (0,):
        part = _parts(sites, shared, side=side)
        try:
            split = deal(_weights(part, pixels), list(shares.values()), seed=seed)[part]
        except UnusableInput:
            if side > 1:
                continue  # smaller blocks are more
            raise
        kept = keep_apart(split, list(shares.values()), near=near)
        chips = np.bincount(split[kept], minlength=len(shares))
        if chips.all():
            return SplitPlan(site, split, kept, side, outlines, crs)
    empty = ", ".join(name for name, count in zip(shares, chips, strict=True) if not count)
    raise UnusableInput(
        f"Of {len(site)} chips of {chip} pixels, with a gap of a chip between splits, none is left for {empty}; use a "
        "smaller --chip, other --splits, a lower --least-labelled or more scenes."
    )


def _planes(
    site: NDArray[np.int64], boxes: NDArray[np.float64], sites: Sequence[Site], plane: Plane, *, chip: int
) -> tuple[list[tuple[NDArray[np.object_], NDArray[np.object_]]], NDArray[np.object_], pyproj.CRS | None]:
    """Outlines, plain and grown by the gap, in each plane where chips can be near; those to tell, and their CRS."""
    # Distances within a scene are whole chips: grown by a little less, a box meets its neighbours and no one else.
    grown = boxes + (chip - 0.5) * np.array([-1, -1, 1, 1])
    ahead = np.cumsum([0, *((s.lattice[1] + 2) * chip for s in sites[:-1])])[site]
    beside = ahead[:, None] * np.array([1, 0, 1, 0])  # every scene beside the one before it, and not near
    near = [(shapely.box(*(boxes + beside).T), shapely.box(*(grown + beside).T))]
    if plane.crs is None:
        return near, shapely.box(*boxes.T), None
    ends = np.cumsum([len(s.at) for s in sites])[:-1]
    plain, wide = (
        np.concatenate([plane.outlines(n, part) for n, part in enumerate(np.split(some, ends))])
        for some in (boxes, grown)
    )
    if len(sites) > 1:
        near.append((plain, wide))
    if all(ground.on_earth for ground in plane.grounds):
        return near, plain, plane.crs
    return near, shapely.box(*boxes.T), None


def _parts(sites: Sequence[Site], shared: Mapping[int, int], *, side: int) -> NDArray[np.int64]:
    """(chip,) the number of the part that each goes to a split with; blocks of no chip a side are whole places."""
    pairs = []
    for site in sites:
        cut = side and shared[site.place] == 1
        block = blocks(site.lattice, side)[site.at[:, 0], site.at[:, 1]] if cut else np.zeros(len(site.at), np.int64)
        pairs.append(np.stack([np.full(len(block), site.place), block], axis=1))
    return np.unique(np.concatenate(pairs), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _weights(part: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(part, 1 + class): chips, and pixels of each class."""
    weights = np.zeros((part.max() + 1, 1 + pixels.shape[1]))
    np.add.at(weights, part, np.concatenate([np.ones((len(part), 1), np.int64), pixels], axis=1))
    return weights
