"""Centre lines of blocks as one graph of the scene: edges from node to node, and how many meet at each.

`Network` takes blocks in reading order. What it holds at a time is one row of blocks, and what reaches into the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from tasks.raster.blend import TOP
from tasks.raster.centre_lines import TENTHS, Walks

SHORTEST = 20.0
"""Pixels of the shortest line that joins nothing."""
RING = 8
"""Pixels of the shortest ring: smaller ones are how pixels meet."""
STAIRS = 1.0
"""Pixels by which a line of pixels departs from the straight one that it stands for."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A line from node to node."""

    id: int
    """From its first pixel in reading order, so that it does not depend on blocks or workers."""
    start: int
    """Id of the node that it begins at."""
    end: int
    line: shapely.LineString
    """In columns and rows of the scene; the first pixel's centre is (0.5, 0.5)."""
    width: float
    """Pixels, the mean along it; nan where all of it is a closed gap."""
    mean: float
    """Of the probability along it, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Node:
    """Where lines end or meet."""

    id: int
    degree: int
    """How many ends of lines are there."""
    place: tuple[float, float]
    """Column and row."""


Meeting: TypeAlias = int | tuple[int, int]
"""Where pieces meet: a node's id, or the two pixels on either side of a block's edge."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A line that is being put together."""

    first: int
    """Its first pixel in reading order."""
    pixels: int
    sums: NDArray[np.int64]
    """Of probability, half widths, and pixels that have one."""
    path: list[NDArray[np.float64]]
    """(n, 2) columns and rows, part after part."""
    ends: tuple[Meeting, Meeting]

    def turned(self) -> _Piece:
        return replace(self, path=[part[::-1] for part in reversed(self.path)], ends=self.ends[::-1])


class Network:
    """Puts the walks of blocks together.

    Args:
        columns: of the scene.
        shortest: pixels of the shortest line that joins nothing.
    """

    def __init__(self, columns: int, *, shortest: float = SHORTEST) -> None:
        self._columns, self._shortest = columns, shortest
        self._pieces: list[_Piece] = []
        self._places: dict[int, tuple[float, float]] = {}
        self._last_rows: dict[int, int] = {}
        self._given: dict[int, int] = {}
        """Ends of lines given already, by node."""

    def add(self, walks: Walks) -> tuple[list[Edge], list[Node]]:
        """Take the next block in reading order; gives what no later block can change."""
        for key, place, row in zip(walks.nodes.tolist(), walks.places.tolist(), walks.last_rows.tolist(), strict=True):
            self._places[key], self._last_rows[key] = tuple(place), row
        self._pieces += [self._piece(walks, n) for n in range(len(walks.starts) - 1)]
        rows, cols = walks.window
        return self._settle(rows.stop - 1 - RING) if cols.stop == self._columns else ([], [])

    def end(self) -> tuple[list[Edge], list[Node]]:
        """After the last block: all that is left."""
        return self._settle(None)

    def _piece(self, walks: Walks, n: int) -> _Piece:
        pixels = walks.pixels[walks.starts[n] : walks.starts[n + 1]]
        rows, cols = np.divmod(pixels, self._columns)
        ends = []
        for side, pixel in ((0, int(pixels[0])), (1, int(pixels[-1]))):
            beyond = int(walks.beyond[n, side])
            ends.append((min(pixel, beyond), max(pixel, beyond)) if walks.leaves[n, side] else beyond)
        sums = np.array([walks.likely[n], walks.half_widths[n], walks.measured[n]])
        path = np.stack([cols, rows], axis=1) + 0.5
        return _Piece(int(pixels.min()), len(pixels), sums, [path], (ends[0], ends[1]))

    def _settle(self, row: int | None) -> tuple[list[Edge], list[Node]]:
        """Give what lies above a row, or all: lines between nodes that are known in full, and those nodes."""
        self._join(lambda meeting: isinstance(meeting, tuple))
        self._drop_small_rings()
        settled = {key for key, last in self._last_rows.items() if row is None or last < row}
        self._join(lambda meeting: meeting in settled and not self._given.get(meeting))
        self._drop_small_rings()
        degrees = dict(self._given)
        for end in (end for piece in self._pieces for end in piece.ends if isinstance(end, int)):
            degrees[end] = degrees.get(end, 0) + 1
        settled |= {p.first for p in self._pieces if p.ends == (p.first, p.first)}

        edges, kept = [], []
        for piece in self._pieces:
            if not settled.issuperset(piece.ends):
                kept.append(piece)
            elif max(degrees[end] for end in piece.ends) > 1 or _length(piece) >= self._shortest:  # type: ignore[index]
                edges.append(self._edge(piece))
        self._pieces = kept
        for edge in edges:
            for end in (edge.start, edge.end):
                self._given[end - 1] = self._given.get(end - 1, 0) + 1
        waited = {end for piece in kept for end in piece.ends}
        nodes = [Node(key + 1, self._given[key], self._places[key]) for key in settled - waited if key in self._given]
        for key in settled - waited:
            for known in (self._places, self._last_rows, self._given):
                known.pop(key, None)
        return sorted(edges, key=lambda e: e.id), sorted(nodes, key=lambda n: n.id)

    def _drop_small_rings(self) -> None:
        self._pieces = [p for p in self._pieces if p.ends[0] != p.ends[1] or p.pixels >= RING]

    def _join(self, passes: Callable[[Meeting], bool]) -> None:
        """Make one of pieces that meet where no third one does."""
        meetings: dict[Meeting, list[tuple[int, int]]] = {}
        for n, piece in enumerate(self._pieces):
            for side, end in enumerate(piece.ends):
                meetings.setdefault(end, []).append((n, side))
        onward: dict[tuple[int, int], tuple[int, int]] = {}
        for meeting, ends in meetings.items():
            if len(ends) == 2 and passes(meeting):  # noqa: PLR2004
                onward[ends[0]], onward[ends[1]] = ends[1], ends[0]
        joined, used = [], set()
        free = [n for n in range(len(self._pieces)) if (n, 0) not in onward or (n, 1) not in onward]
        for begin in [*free, *range(len(self._pieces))]:
            if begin in used:
                continue
            chain, here = [], (begin, 0 if (begin, 0) not in onward else 1)
            while here[0] not in used:
                used.add(here[0])
                chain.append(here)
                here = onward.get((here[0], 1 - here[1]), here)
            joined.append(self._chained(chain, closed=here == chain[0] and chain[0] in onward))
        self._pieces = joined

    def _chained(self, chain: list[tuple[int, int]], *, closed: bool) -> _Piece:
        """Pieces, each with the side that it is entered by, as one."""
        pieces = [self._pieces[n] if side == 0 else self._pieces[n].turned() for n, side in chain]
        if len(pieces) == 1 and not closed:
            return pieces[0]
        path = []
        for n, piece in enumerate(pieces):
            if isinstance(piece.ends[0], int) and (n or closed):
                path.append(np.array([self._places[piece.ends[0]]]))
            path += piece.path
        first, ends = min(p.first for p in pieces), (pieces[0].ends[0], pieces[-1].ends[1])
        if closed:
            # A ring begins where its first pixel is, which becomes its node.
            around = np.concatenate(path)
            row, col = divmod(first, self._columns)
            begin = int(np.flatnonzero((around == (col + 0.5, row + 0.5)).all(axis=1))[0])
            path, ends = [np.roll(around, -begin, axis=0)[1:]], (first, first)
            self._places[first] = (col + 0.5, row + 0.5)
        return _Piece(first, sum(p.pixels for p in pieces), sum(p.sums for p in pieces), path, ends)  # type: ignore[arg-type]

    def _edge(self, piece: _Piece) -> Edge:
        start, end = piece.ends
        assert isinstance(start, int)
        assert isinstance(end, int)
        path = np.concatenate([[self._places[start]], *piece.path, [self._places[end]]])
        if start > end or (start == end and tuple(path[1]) > tuple(path[-2])):
            start, end, path = end, start, path[::-1]
        likely, half_widths, measured = piece.sums.tolist()
        return Edge(
            piece.first + 1,
            start + 1,
            end + 1,
            shapely.LineString(path).simplify(STAIRS),
            2 * half_widths / TENTHS / measured - 1 if measured else math.nan,  # both count the middle pixel
            likely / TOP / piece.pixels,
        )


def _length(piece: _Piece) -> float:
    return float(np.hypot(*np.diff(np.concatenate(piece.path), axis=0).T).sum() + 1)
