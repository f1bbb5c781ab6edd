"""Objects of two maps of one grid, met block by block: how large each is, and how much of it the other map has too.

A region is connected (by edges of pixels) and of one class and one object id. What is held is a few numbers a region
and the last row and column of pixels that were met, so a scene of any size fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window

MATCH = 0.5
"""Intersection over union above which two objects are the same: no object can then have two partners."""
SIZES = (("small", 32**2), ("medium", 96**2), ("large", np.inf))
"""Names and upper limits of areas in pixels, as COCO's evaluation has them."""


@dataclass(frozen=True, slots=True)
class SizeScore:
    """How well objects of a size were found."""

    objects: int
    """In the reference."""
    found: int
    """Of them, those that an object of the map matches."""
    labelled: int
    """Objects of that size in the map."""
    right: int
    """Of them, those that match one of the reference."""
    iou: float
    """Mean over the reference's objects of the best intersection over union; NaN without any."""

    @property
    def precision(self) -> float:
        """Share of the map's objects that are right; NaN without any."""
        return self.right / self.labelled if self.labelled else float("nan")

    @property
    def recall(self) -> float:
        """Share of the reference's objects that are found; NaN without any."""
        return self.found / self.objects if self.objects else float("nan")


class Overlaps:
    """Takes blocks of a map and its reference in reading order."""

    def __init__(self, columns: int) -> None:
        """Begin.

        Args:
            columns: of the grid.
        """
        self._sides = _Regions(columns), _Regions(columns)
        self._common: list[NDArray[np.int64]] = []

    def add(
        self, window: Window, label: NDArray[np.uint8], instance: NDArray[np.uint32], reference: NDArray[np.uint8]
    ) -> None:
        """Take a block.

        Args:
            window: where it lies.
            label: (y, x) classes of the map; 255 where it says nothing.
            instance: (y, x) its object ids; regions of id 0 are told apart by where they hang together.
            reference: (y, x) classes of the reference; 255 where it says nothing: there the map is not looked at.
        """
        label = np.where(reference == IGNORE, np.uint8(IGNORE), label)
        one = self._sides[0].add(window, label, instance)
        other = self._sides[1].add(window, reference, np.zeros_like(instance))
        both = (one > 0) & (other > 0) & (label == reference)
        pairs, count = np.unique(np.stack([one[both], other[both]]), axis=1, return_counts=True)
        self._common.append(np.concatenate([pairs, count[None]]).T)

    def scores(self) -> dict[int, dict[str, SizeScore]]:
        """By class id and size."""
        (names, areas, classes), (other_names, other_areas, other_classes) = (side.whole() for side in self._sides)
        common = np.concatenate([np.zeros((0, 3), np.int64), *self._common])
        pairs = np.stack([names[common[:, 0]], other_names[common[:, 1]]])
        pairs, place = np.unique(pairs, axis=1, return_inverse=True)
        shared = np.bincount(place.ravel(), weights=common[:, 2], minlength=pairs.shape[1])
        iou = shared / (areas[pairs[0]] + other_areas[pairs[1]] - shared)
        best, best_other = np.zeros(len(areas)), np.zeros(len(other_areas))
        np.maximum.at(best, pairs[0], iou)
        np.maximum.at(best_other, pairs[1], iou)
        found: dict[int, dict[str, SizeScore]] = {}
        for klass in sorted({*classes.tolist(), *other_classes.tolist()} - {0}):
            low: float = 0
            for size, high in SIZES:
                mine = best[(classes == klass) & (areas >= low) & (areas < high)]
                theirs = best_other[(other_classes == klass) & (other_areas >= low) & (other_areas < high)]
                found.setdefault(int(klass), {})[size] = SizeScore(
                    len(theirs), int((theirs > MATCH).sum()), len(mine), int((mine > MATCH).sum()),
                    float(theirs.mean()) if len(theirs) else float("nan"),
                )  # fmt: skip
                low = high
        return found


class _Regions:
    """Regions of one map, numbered from 1 as they come; the background and what is ignored have none."""

    def __init__(self, columns: int) -> None:
        self._areas: list[NDArray[np.int64]] = []
        self._classes: list[NDArray[np.uint8]] = []
        self._ids: list[NDArray[np.uint32]] = []
        self._joined: list[NDArray[np.int64]] = []
        self._count = 0
        # Number, class and id along the last row of the blocks above, and the last column of the block to the left.
        self._above = np.zeros((3, columns), np.int64)
        self._left: NDArray[np.int64] | None = None

    def add(self, window: Window, label: NDArray[np.uint8], instance: NDArray[np.uint32]) -> NDArray[np.int64]:
        """(y, x) numbers of a block's regions, 0 where there is none."""
        from skimage.measure import label as connected

        known = (label > 0) & (label != IGNORE)
        kinds = np.where(known, instance.astype(np.int64) << 8 | label, 0)
        _, dense = np.unique(kinds, return_inverse=True)
        parts, count = connected(np.where(known, dense.reshape(kinds.shape) + 1, 0), connectivity=1, return_num=True)
        flat = parts.ravel()
        first = np.zeros(count + 1, np.intp)
        first[flat[::-1]] = np.arange(flat.size)[::-1]
        self._areas.append(np.bincount(flat, minlength=count + 1)[1:])
        self._classes.append(label.ravel()[first[1:]])
        self._ids.append(instance.ravel()[first[1:]])
        numbers: NDArray[np.int64] = np.where(parts > 0, parts + self._count, 0)
        self._count += count
        self._meet(window, np.stack([numbers, label, instance]))
        return numbers

    def _meet(self, window: Window, told: NDArray[np.int64]) -> None:
        rows, cols = window
        if rows.start:
            self._join(self._above[:, cols], told[:, 0])
        if cols.start and self._left is not None:
            self._join(self._left, told[:, :, 0])
        self._above[:, cols], self._left = told[:, -1], told[:, :, -1]

    def _join(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        same = (one[0] > 0) & (other[0] > 0) & (one[1:] == other[1:]).all(axis=0)
        self._joined.append(np.unique(np.stack([one[0, same], other[0, same]]), axis=1).T)

    def whole(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """What each number's region is, across blocks: (numbers + 1,) places, and the (n,) areas and classes there."""
        classes = np.concatenate([np.zeros(1, np.uint8), *self._classes])
        areas = np.concatenate([np.zeros(1, np.int64), *self._areas])
        ids = np.concatenate([np.zeros(1, np.uint32), *self._ids]).astype(np.int64) << 8 | classes
        # Parts of one object are one, wherever they lie.
        order = np.argsort(ids, kind="stable")
        same = (np.diff(ids[order]) == 0) & (ids[order][1:] >= 1 << 8)
        twins = np.stack([order[:-1][same], order[1:][same]], axis=1)
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._joined, twins])
        size = len(areas)
        links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
        _, names = connected_components(links, directed=False)
        total = np.bincount(names, weights=areas).astype(np.int64)
        klass = np.zeros(len(total), np.uint8)
        klass[names] = classes
        return names.astype(np.int64), total, klass
