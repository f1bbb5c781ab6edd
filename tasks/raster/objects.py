"""Objects of a class over a whole scene, found block by block: each has one outline and one id, wherever blocks meet.

Where a map tells touching objects apart, they have names, and stay apart.

Every block tells its own pieces; `Gathering` takes blocks in reading order and puts pieces that touch across an edge
together. What it holds at a time are the objects of one row of blocks, and those that reach on into the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window


@dataclass(frozen=True, slots=True)
class Objects:
    """Connected regions of a class, each whole."""

    ids: NDArray[np.int64]
    """From the first pixel in reading order, so that it does not depend on blocks or workers: row * columns + column,
    and 1 more."""
    pixels: NDArray[np.int64]
    sums: NDArray[np.int64]
    """Of a quantity over their pixels, such as probabilities in 254ths: whole numbers, so order does not matter."""
    outlines: NDArray[np.object_]
    """Polygons with their holes, along pixel edges, in columns and rows of the scene."""
    names: NDArray[np.uint32]
    """What the map calls them; 0 where it does not."""

    def __len__(self) -> int:
        return len(self.ids)

    def chosen(self, which: NDArray[np.bool_]) -> Objects:
        """Some of them."""
        return Objects(self.ids[which], self.pixels[which], self.sums[which], self.outlines[which], self.names[which])


@dataclass(frozen=True, slots=True)
class Pieces:
    """Parts of objects that reach beyond one block."""

    window: Window
    parts: Objects
    """Each with the id that it would have alone."""
    edges: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
    """Along the block's first and last row, and its first and last column: number of the part at each pixel, from 1; 0
    where there is none."""


def find_objects(
    mask: NDArray[np.bool_],
    values: NDArray[np.uint8],
    window: Window,
    *,
    shape: tuple[int, int],
    names: NDArray[np.uint32] | None = None,
) -> tuple[Objects, Pieces]:
    """The connected regions of a mask: pixels that share an edge, and a name where they have any.

    Args:
        mask: (y, x), a block of the class.
        values: (y, x), what is summed over each region.
        window: where the block lies in the scene.
        shape: rows and columns of the scene.
        names: (y, x), what the map calls its objects; all 0 if None.

    Returns:
        Objects that lie within the block, and the parts of those that may go on in others.
    """
    if not mask.any():
        nothing = _table([])
        top, left = (np.zeros(n, np.int32) for n in mask.shape[::-1])
        return nothing, Pieces(window, nothing, (top, top, left, left))
    labels, count = _regions(mask, names)
    rows, cols = window
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    _, index = np.unique(flat[places], return_index=True)
    row, col = np.divmod(places[index], labels.shape[1])
    outlines = np.empty(count, object)
    corner = rasterio.Affine.translation(cols.start, rows.start)
    for document, number in rasterio.features.shapes(labels, mask=mask, connectivity=4, transform=corner):
        outlines[int(number) - 1] = _valid(shapely.geometry.shape(document))
    found = Objects(
        (row + rows.start).astype(np.int64) * shape[1] + col + cols.start + 1,
        np.bincount(flat, minlength=count + 1)[1:].astype(np.int64),
        np.bincount(flat, weights=values.ravel(), minlength=count + 1)[1:].astype(np.int64),
        outlines,
        np.zeros(count, np.uint32) if names is None else names[row, col],
    )
    goes_on = np.zeros(count + 1, bool)
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    ends = (rows.start == 0, rows.stop == shape[0], cols.start == 0, cols.stop == shape[1])
    for side, at_the_end in zip(sides, ends, strict=True):
        if not at_the_end:
            goes_on[side] = True
    goes_on[0] = False
    numbers = np.where(goes_on, np.cumsum(goes_on), 0).astype(np.int32)
    top, bottom, left, right = (numbers[side] for side in sides)
    return found.chosen(~goes_on[1:]), Pieces(window, found.chosen(goes_on[1:]), (top, bottom, left, right))


def _regions(mask: NDArray[np.bool_], names: NDArray[np.uint32] | None) -> tuple[NDArray[np.int32], int]:
    if names is None:
        labels, count = ndimage.label(mask, output=np.int32)
        return labels, count
    from skimage.measure import label  # 0.4 s to load, and few need it

    _, dense = np.unique(names[mask], return_inverse=True)
    values = np.zeros(mask.shape, np.int32)
    values[mask] = dense + 1
    labels, count = label(values, connectivity=1, return_num=True)
    return labels.astype(np.int32), count


def _valid(outline: shapely.Polygon) -> shapely.Polygon:
    """The same region where holes touch each other or the outside at a corner, which some libraries take amiss."""
    return outline if outline.is_valid else shapely.make_valid(outline)


@dataclass(slots=True)
class _Open:
    """An object that is being put together."""

    first: int
    pixels: int
    total: int
    name: int
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

    def add(self, pieces: Pieces) -> Objects:
        """Take the next block in reading order; gives the objects that it was the last to see."""
        cols, parts = pieces.window[1], pieces.parts
        top, bottom, left, right = pieces.edges
        base = len(self._parent)
        for n in range(len(parts)):
            self._parent.append(base + n)
            self._open[base + n] = _Open(
                int(parts.ids[n]), int(parts.pixels[n]), int(parts.sums[n]), int(parts.names[n]), [parts.outlines[n]]
            )
        self._join(self._above[cols], _named(top, base))
        if cols.start > 0 and self._left is not None:
            self._join(self._left, _named(left, base))
        self._left = _named(right, base)
        self._below[cols] = _named(bottom, base)
        return self._close_row() if cols.stop == len(self._above) else _table([])

    def end(self) -> Objects:
        """After the last block: the objects that reach the scene's last row."""
        self._above[:] = 0
        return self._emit(set())

    def _close_row(self) -> Objects:
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

    def _emit(self, kept: set[int]) -> Objects:
        whole = sorted((o for root, o in self._open.items() if root not in kept), key=lambda o: o.first)
        self._open = {root: o for root, o in self._open.items() if root in kept}
        return _table(whole)

    def _join(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        both = (one > 0) & (other > 0)
        for a, b in np.unique(np.stack([one[both], other[both]], axis=1), axis=0).tolist():
            if self._open[self._root(a)].name == self._open[self._root(b)].name:
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


def _table(whole: list[_Open]) -> Objects:
    outlines = np.empty(len(whole), object)
    outlines[:] = [_joined(o.outlines) for o in whole]
    columns = np.array([(o.first, o.pixels, o.total, o.name) for o in whole], np.int64).reshape(-1, 4)
    ids, pixels, sums, names = columns.T
    return Objects(ids, pixels, sums, outlines, names.astype(np.uint32))


def _joined(outlines: list[shapely.Polygon]) -> shapely.Polygon:
    return outlines[0] if len(outlines) == 1 else shapely.union_all(outlines)


def _named(labels: NDArray[np.int32], base: int) -> NDArray[np.int64]:
    """Numbers of pieces as numbers of open objects."""
    return np.where(labels > 0, labels.astype(np.int64) + base - 1, 0)
