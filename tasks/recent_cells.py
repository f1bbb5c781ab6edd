"""The parts of scenes that a training read last, kept in memory: it comes back to each of them many times an hour."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.raster.cube import cells_of, window_of_cells
from tasks.raster.grid import Window, within

BUDGET = 256 << 20
"""Bytes: some 50 million pixels of three 8-bit bands with their labels."""

Planes = tuple[NDArray[Any], ...]
"""Arrays (..., y, x) of one window."""


@dataclass(frozen=True, slots=True)
class _Held:
    planes: Planes
    size: int


class RecentCells:
    """Cells of 512² pixels by what they belong to; for any thread."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget, self._size = budget, 0
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._lock = Lock()

    def read(self, owner: Hashable, window: Window, shape: tuple[int, int], read: Callable[[Window], Planes]) -> Planes:
        """The arrays of a window.

        Args:
            owner: whose they are; the same always reads the same.
            window: inside the scene.
            shape: rows and columns of the scene.
            read: gives the arrays of whole cells.
        """
        rows, cols = cells_of(window)
        cells = [[self._cell((owner, r, c), (r, c), shape, read) for c in _range(cols)] for r in _range(rows)]
        around = window_of_cells((rows, cols), shape)
        place = within(window, around)
        if len(cells) == len(cells[0]) == 1:
            return tuple(plane[..., place[0], place[1]] for plane in cells[0][0])
        joined = (np.concatenate([np.concatenate(row, axis=-1) for row in _grid(cells, n)], axis=-2)
                  for n in range(len(cells[0][0])))  # fmt: skip
        return tuple(plane[..., place[0], place[1]] for plane in joined)

    def _cell(
        self, key: Hashable, cell: tuple[int, int], shape: tuple[int, int], read: Callable[[Window], Planes]
    ) -> Planes:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key].planes
        planes = tuple(map(np.ascontiguousarray, read(window_of_cells(tuple(slice(n, n + 1) for n in cell), shape))))  # type: ignore[arg-type]
        held = _Held(planes, sum(plane.nbytes for plane in planes))
        with self._lock:
            if key not in self._held:
                self._held[key] = held
                self._size += held.size
            while self._size > self._budget and len(self._held) > 1:
                self._size -= self._held.popitem(last=False)[1].size
        return planes


def _range(cells: slice) -> range:
    return range(cells.start, cells.stop)


def _grid(cells: list[list[Planes]], plane: int) -> list[list[NDArray[Any]]]:
    return [[cell[plane] for cell in row] for row in cells]
