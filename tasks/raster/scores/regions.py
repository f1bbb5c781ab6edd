"""Which instance a pixel belongs to, window by window: by ids that are given, or by where a mask hangs together.

A mask is labelled a window at a time. Each region of a window is a piece with a number of its own; pieces that touch
across a window's edge are noted as pairs, and at the end all pieces that hang together are one instance. What is held
is a pair a crossing and the rows of pixels along the edges, so a scene of any size fits.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from infra.errors import UnusableInput
from tasks.raster.grid import Window

UNNAMED = -1
"""Stands among ids for an instance that has none."""
EIGHT = 8
"""Neighbours of a pixel that shares an edge or a corner with each."""


class Regions(Protocol):
    """Numbers the instances of one map."""

    def add(self, window: Window, values: NDArray[Any]) -> NDArray[np.int64]:
        """(y, x) numbers of a window's pieces, from 1, the same for no two; 0 where there is none."""

    def whole(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """What instance each of these pieces is part of, after the last window."""


class Connected:
    """Instances that are the connected regions of a mask; windows come in reading order."""

    def __init__(self, columns: int, connectivity: int) -> None:
        if connectivity not in (4, EIGHT):
            raise ValueError(f"connectivity is {connectivity}: expected 4 or 8")
        self._connectivity = connectivity
        self._count = 0
        self._joined: list[NDArray[np.int64]] = []
        # Pieces along the last row of the windows above, a pixel more at each end; and the same of this row's windows.
        self._above, self._below = np.zeros((2, columns + 2), np.int64)
        self._left = np.zeros(0, np.int64)

    def add(self, window: Window, values: NDArray[Any]) -> NDArray[np.int64]:
        """Pieces of a mask (y, x)."""
        rows, cols = window
        mask = np.ascontiguousarray(values).view(np.uint8)
        count, labels = cv2.connectedComponents(mask, connectivity=self._connectivity, ltype=cv2.CV_32S)
        numbers: NDArray[np.int64] = labels.astype(np.int64)
        np.add(numbers, self._count, out=numbers, where=labels > 0)
        self._count += count - 1
        if cols.start == 0:
            self._above, self._below = self._below, np.zeros_like(self._below)
        elif len(self._left):
            self._join(np.pad(self._left, 1), numbers[:, 0])
        if rows.start:
            self._join(self._above[cols.start : cols.stop + 2], numbers[0])
        self._below[cols.start + 1 : cols.stop + 1] = numbers[-1]
        self._left = numbers[:, -1].copy()
        return numbers

    def whole(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the connected region of each piece."""
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._joined])
        size = self._count + 1
        links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
        _, names = connected_components(links, directed=False)
        found: NDArray[np.int64] = names.astype(np.int64)[pieces]
        return found

    def _join(self, before: NDArray[np.int64], here: NDArray[np.int64]) -> None:
        """Note what touches: `before` is one pixel longer than `here` at each end."""
        for shift in range(3) if self._connectivity == EIGHT else (1,):
            there = before[shift : shift + len(here)]
            both = (there > 0) & (here > 0)
            if both.any():
                self._joined.append(np.unique(np.stack([there[both], here[both]], axis=1), axis=0))


class Given:
    """Instances that have an id each over the whole scene, wherever their pixels lie; others as `Connected`.

    Pieces of ids have even numbers, those of regions without one odd ones.
    """

    def __init__(self, columns: int, connectivity: int) -> None:
        self._rest = Connected(columns, connectivity)

    def add(self, window: Window, values: NDArray[Any]) -> NDArray[np.int64]:
        """Pieces of ids (y, x) from 1; 0 where there is nothing, `UNNAMED` where there is something without an id.

        Raises:
            UnusableInput: an id is negative.
        """
        ids = np.ascontiguousarray(values, np.int64)
        if ids.size and int(ids.min()) < UNNAMED:
            raise UnusableInput(f"Instance {ids.min()} occurs at {window}: expected ids from 1, and 0 where none is.")
        unnamed = ids == UNNAMED
        pieces = self._rest.add(window, unnamed)
        return np.where(unnamed, 2 * pieces + 1, 2 * ids)

    def whole(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids themselves, twice; a region's number, twice and 1."""
        found = pieces.copy()
        odd = pieces % 2 > 0
        found[odd] = 2 * self._rest.whole(pieces[odd] // 2) + 1
        return found
