"""How a scene is cut into tiles, and with what weight each tile speaks in each pixel.

A network sees a tile; near the tile's inner sides it lacks context, so `margin` pixels there are thrown away, and
over the next `ramp` pixels one tile fades into the other. Along one axis, tile i begins at s_i. A rising ramp R_i
goes from 0 to 2^k over the pixels s_i + margin ... s_i + margin + ramp (half a cosine, rounded to integers); R_0 is
2^k everywhere and R_n is 0. The weight of tile i is R_i - R_{i+1}. These telescope: in every pixel they sum to
exactly 2^k, whatever the starts are, and none is negative since every ramp is the same one shifted. There is no
margin and no fade at the scene's own border, where one pass over the whole scene has no context either.

Starts are multiples of the network's stride, so that its pooling falls on the same pixels as in one whole pass; the
scene is padded to a multiple too, and the last tile is moved back to end there.

Tiles do not belong to the network's convenience alone: a tile is owned by the block in which its weight begins, goes
through the network there, once, and hands what reaches further to the blocks on its right and below.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput

WEIGHT_BITS = 11
"""k: two axes and a probability of 254 stay under 2^30, so sums fit int32."""
WHOLE = 1 << WEIGHT_BITS


@dataclass(frozen=True, slots=True)
class Axis:
    """The tiles along one axis."""

    length: int
    """Pixels of the scene."""
    padded: int
    """The next multiple of the network's stride."""
    size: int
    """Pixels of a tile."""
    margin: int
    ramp: int
    starts: tuple[int, ...]

    @classmethod
    def cut(cls, length: int, *, size: int, margin: int, ramp: int, stride: int) -> Axis:
        """Cut `length` pixels into tiles of `size`, which shrinks to the scene where that is smaller.

        Raises:
            UnusableInput: the tile is no multiple of the network's stride, or nothing is left between its margins.
        """
        if size % stride or size < stride:
            raise UnusableInput(f"The tile was {size} pixels; expected a multiple of {stride}, the network's stride.")
        if margin < 0 or ramp < 0:
            raise UnusableInput(f"Margin {margin} and ramp {ramp} were given; expected 0 or more pixels.")
        padded = -(-length // stride) * stride
        size = min(size, padded)
        if size == padded:
            return cls(length, padded, size, margin, ramp, (0,))
        step = (size - 2 * margin - ramp) // stride * stride
        if step <= 0:
            raise UnusableInput(
                f"A tile of {size} pixels keeps nothing between margins of {margin} and a ramp of {ramp} "
                f"(2·margin + ramp must leave {stride}); use a larger tile or a smaller margin."
            )
        last = padded - size
        return cls(length, padded, size, margin, ramp, (*range(0, last, step), last))

    def span(self, tile: int) -> tuple[int, int]:
        """The pixels, first and one past the last, where a tile has weight."""
        begin = 0 if tile == 0 else self.starts[tile] + self.margin
        if tile == len(self.starts) - 1:
            return begin, self.length
        return begin, min(self.starts[tile + 1] + self.margin + self.ramp, self.length)

    def extent(self, tile: int) -> slice:
        """The scene's pixels that a tile sees."""
        return slice(self.starts[tile], min(self.starts[tile] + self.size, self.length))

    def touching(self, first: int, last: int) -> range:
        """The tiles that have weight in the pixels `first` to one before `last`."""
        left = max(bisect_right(self.starts, first - self.margin - self.ramp) - 1, 0)
        return range(left, max(bisect_left(self.starts, last - self.margin), 1))

    def begun_in(self, first: int, last: int) -> range:
        """The tiles whose weight begins in the pixels `first` to one before `last`."""
        left = 0 if first == 0 else max(bisect_left(self.starts, first - self.margin), 1)
        return range(left, max(bisect_left(self.starts, last - self.margin), 1))

    def weights(self, tile: int) -> NDArray[np.int32]:
        """A tile's integer weights over its span; all tiles' sum to `WHOLE` in every pixel of the scene."""
        place = np.arange(*self.span(tile))
        rising = self._rising(tile, place)
        if tile + 1 < len(self.starts):
            rising = rising - self._rising(tile + 1, place)
        return rising

    def _rising(self, tile: int, place: NDArray[np.int_]) -> NDArray[np.int32]:
        if tile == 0:
            return np.full(place.shape, WHOLE, np.int32)
        table = np.concatenate([[0], _half_cosine(self.ramp), [WHOLE]]).astype(np.int32)
        return table[np.clip(place - (self.starts[tile] + self.margin) + 1, 0, self.ramp + 1)]


def _half_cosine(ramp: int) -> NDArray[np.int64]:
    phase = (np.arange(ramp) + 0.5) / max(ramp, 1)
    return np.rint(WHOLE * 0.5 * (1.0 - np.cos(np.pi * phase))).astype(np.int64)


Tile = tuple[int, int]
"""Row and column of a tile in the tiling."""
Block = tuple[int, int]
"""Row and column of a block."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles of a scene, and the blocks that own them."""

    rows: Axis
    cols: Axis
    block: int
    """Pixels a side of a block; at least a tile, so that no tile reaches past the next block."""

    def __post_init__(self) -> None:
        """Check the block."""
        assert self.block >= max(self.rows.size, self.cols.size)

    @property
    def count(self) -> int:
        """Tiles in all."""
        return len(self.rows.starts) * len(self.cols.starts)

    def tiles(self) -> Iterator[Tile]:
        """All tiles, row by row."""
        for i in range(len(self.rows.starts)):
            for j in range(len(self.cols.starts)):
                yield i, j

    def blocks(self) -> Iterator[Block]:
        """All blocks, row by row."""
        for r in range(-(-self.rows.length // self.block)):
            for c in range(-(-self.cols.length // self.block)):
                yield r, c

    def window(self, block: Block) -> tuple[slice, slice]:
        """The pixels of a block."""
        tops, lefts = (
            (b * self.block, min((b + 1) * self.block, axis.length))
            for b, axis in zip(block, (self.rows, self.cols), strict=True)
        )
        return slice(*tops), slice(*lefts)

    def span(self, tile: Tile) -> tuple[slice, slice]:
        """The pixels where a tile has weight."""
        return slice(*self.rows.span(tile[0])), slice(*self.cols.span(tile[1]))

    def owner(self, tile: Tile) -> Block:
        """The block in which a tile's weight begins."""
        rows, cols = self.span(tile)
        return rows.start // self.block, cols.start // self.block

    def owned(self, block: Block) -> list[Tile]:
        """The tiles that go through the network with a block, row by row."""
        rows, cols = self.window(block)
        return [
            (i, j) for i in self.rows.begun_in(rows.start, rows.stop) for j in self.cols.begun_in(cols.start, cols.stop)
        ]

    def touching(self, block: Block) -> list[Tile]:
        """The tiles that have weight in a block, row by row."""
        rows, cols = self.window(block)
        return [
            (i, j) for i in self.rows.touching(rows.start, rows.stop) for j in self.cols.touching(cols.start, cols.stop)
        ]

    def touched(self, tile: Tile) -> list[Block]:
        """The blocks in which a tile has weight, row by row; its owner is the first."""
        rows, cols = self.span(tile)
        return [
            (r, c)
            for r in range(rows.start // self.block, (rows.stop - 1) // self.block + 1)
            for c in range(cols.start // self.block, (cols.stop - 1) // self.block + 1)
        ]

    def extent(self, tile: Tile) -> tuple[slice, slice]:
        """The scene's pixels that a tile sees; its size beyond the scene's border is padding."""
        return self.rows.extent(tile[0]), self.cols.extent(tile[1])

    def meeting(self, tile: Tile, block: Block) -> tuple[slice, slice]:
        """The pixels of a block in which a tile has weight."""
        rows, cols = (
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(self.span(tile), self.window(block), strict=True)
        )
        return rows, cols


def cut_scene(shape: tuple[int, int], *, tile: int, margin: int, ramp: int, stride: int, shard: int) -> Tiling:
    """Cut a scene of (rows, columns) pixels into tiles and into blocks of whole shards."""
    rows, cols = (Axis.cut(n, size=tile, margin=margin, ramp=ramp, stride=stride) for n in shape)
    largest = max(rows.size, cols.size)
    return Tiling(rows, cols, -(-largest // shard) * shard)
