"""Objects of a class over a whole scene, found block by block: each has one outline and one id, wherever blocks meet.

Every block tells its own pieces; `Gathering` takes blocks in reading order and puts pieces that touch across an edge
together. What it holds at a time are the objects of one row of blocks, and those that reach on into the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import shape

from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window


@dataclass(frozen=True, slots=True)
class Pieces:
    """What of a class lies in one block; all arrays but the edges have one entry a piece."""

    window: Window
    first: NDArray[np.int64]
    """Row * columns of the scene + column of its first pixel in reading order."""
    pixels: NDArray[np.int64]
    sums: NDArray[np.int64]
    """Of a quantity over its pixels, such as probabilities in 254ths: whole numbers, so that order does not matter."""
    outlines: NDArray[np.object_]
    """Polygons along pixel edges, in columns and rows of the scene."""
    top: NDArray[np.int32]
    """Along the block's first row: number of the piece at each pixel, from 1; 0 where there is none."""
    bottom: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Object:
    """One connected region of a class."""

    id: int
    """From its first pixel in reading order, so that it does not depend on blocks or workers: row * columns + column,
    and 1 more."""
    pixels: int
    mean: float
    """Of the quantity that was summed."""
    outline: shapely.Polygon
    """Along pixel edges, with its holes, in columns and rows of the scene."""


def find_pieces(mask: NDArray[np.bool_], values: NDArray[np.uint8], window: Window, *, columns: int) -> Pieces:
    """The connected pieces of a mask: pixels that share an edge.

    Args:
        mask: (y, x), a block of the class.
        values: (y, x), what is summed over each piece.
        window: where the block lies in the scene.
        columns: of the scene.
    """
    labels, count = ndimage.label(mask, output=np.int32)
    rows, cols = window
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    numbers, index = np.unique(flat[places], return_index=True)
    assert len(numbers) == count
    row, col = np.divmod(places[index], labels.shape[1])
    outlines = np.empty(count, object)
    corner = rasterio.Affine.translation(cols.start, rows.start)
    for document, number in rasterio.features.shapes(labels, mask=mask, connectivity=4, transform=corner):
        outlines[int(number) - 1] = _valid(shape(document))
    return Pieces(
        window,
        (row + rows.start).astype(np.int64) * columns + col + cols.start,
        np.bincount(flat, minlength=count + 1)[1:].astype(np.int64),
        np.bincount(flat, weights=values.ravel(), minlength=count + 1)[1:].astype(np.int64),
        outlines,
        labels[0].copy(),
        labels[-1].copy(),
        labels[:, 0].copy(),
        labels[:, -1].copy(),
    )


def _valid(outline: shapely.Polygon) -> shapely.Polygon:
    """The same region where holes touch each other or the outside at a corner, which some libraries take amiss."""
    return outline if outline.is_valid else shapely.make_valid(outline)


@dataclass(slots=True)
class _Open:
    """An object that is being put together."""

    first: int
    pixels: int
    total: int
    outlines: list[shapely.Polygon] = field(default_factory=list)


class Gathering:
    """Puts the pieces of blocks together."""

    def __init__(self, columns: int) -> None:
        self._above = np.zeros(columns, np.int64)
        """Number of the open object at each pixel of the row of blocks before; 0 where there is none."""
        self._below = np.zeros(columns, np.int64)
        self._left: NDArray[np.int64] | None = None
        self._parent = [0]
        self._open: dict[int, _Open] = {}

    def add(self, pieces: Pieces) -> list[Object]:
        """Take the next block in reading order; gives the objects that it was the last to see."""
        cols = pieces.window[1]
        starts_row, ends_row = cols.start == 0, cols.stop == len(self._above)
        base = len(self._parent)
        for n in range(len(pieces.first)):
            self._parent.append(base + n)
            self._open[base + n] = _Open(
                int(pieces.first[n]), int(pieces.pixels[n]), int(pieces.sums[n]), [pieces.outlines[n]]
            )
        self._join(self._above[cols], _named(pieces.top, base))
        if not starts_row and self._left is not None:
            self._join(self._left, _named(pieces.left, base))
        self._left = _named(pieces.right, base)
        self._below[cols] = _named(pieces.bottom, base)
        return self._close_row() if ends_row else []

    def end(self) -> list[Object]:
        """After the last block: the objects that reach the scene's last row."""
        self._above[:] = 0
        return self._emit(set())

    def _close_row(self) -> list[Object]:
        """Objects that do not reach the row of blocks below are whole."""
        roots = np.array([self._root(n) for n in range(len(self._parent))], np.int64)
        self._above, self._below = roots[self._below], np.zeros_like(self._below)
        reaching = set(np.unique(self._above).tolist()) - {0}
        whole = self._emit(reaching)
        # Numbered anew, so that what has been given is forgotten.
        numbers = {root: n for n, root in enumerate(sorted(reaching), 1)}
        table = np.zeros(len(self._parent), np.int64)
        for root, n in numbers.items():
            table[root] = n
        self._above = table[self._above]
        self._open = {numbers[root]: self._open[root] for root in sorted(reaching)}
        self._parent = list(range(len(numbers) + 1))
        self._left = None
        return whole

    def _emit(self, kept: set[int]) -> list[Object]:
        whole = sorted((o for root, o in self._open.items() if root not in kept), key=lambda o: o.first)
        self._open = {root: o for root, o in self._open.items() if root in kept}
        return [Object(o.first + 1, o.pixels, o.total / o.pixels, _joined(o.outlines)) for o in whole]

    def _join(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        both = (one > 0) & (other > 0)
        for a, b in np.unique(np.stack([one[both], other[both]], axis=1), axis=0).tolist():
            self._unite(a, b)

    def _unite(self, one: int, other: int) -> None:
        a, b = sorted((self._root(one), self._root(other)))
        if a == b:
            return
        self._parent[b] = a
        taken, keeps = self._open.pop(b), self._open[a]
        keeps.first = min(keeps.first, taken.first)
        keeps.pixels += taken.pixels
        keeps.total += taken.total
        keeps.outlines += taken.outlines

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number


def _joined(outlines: list[shapely.Polygon]) -> shapely.Polygon:
    return outlines[0] if len(outlines) == 1 else shapely.union_all(outlines)


def _named(labels: NDArray[np.int32], base: int) -> NDArray[np.int64]:
    """Numbers of pieces as numbers of open objects."""
    return np.where(labels > 0, labels.astype(np.int64) + base - 1, 0)
