"""How one block of a prediction is woven: its tiles through the network, their contributions added in integers.

A tile is run by one block and may have weight in three others; what it says there travels as a strip, one stored
object a tile and block, named after the tile's fingerprint and proved by a checksum. A block is complete when every
tile that has weight on its valid pixels is in: from its own run, or from strips. Sums of integers do not care in
which order that happens, so blocks run in any order and on any worker, and the bits are the same.

A tile that failed has no contribution: its strip says so, and the pixels where it has weight become nodata.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from infra.errors import GeoloomError, UnusableInput
from tasks.raster.blend import NODATA, add, finish
from tasks.raster.cube import Cube
from tasks.raster.grid import within
from tasks.raster.tiling import Block, Tile, Tiling

Forward = Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[np.uint8]]
"""Image (n, band, y, x) and valid (n, y, x) to quantised probabilities (n, class, y, x)."""

_ZSTD = Zstd(level=1, checksum=True)


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one tile says: quantised probabilities (class, y, x) of its whole square, or nothing where it failed."""

    tile: Tile
    probability: NDArray[np.uint8] | None
    valid: NDArray[np.bool_]
    """(y, x) of the same square."""
    error: str = ""


def run_tiles(
    cube: Cube,
    tiling: Tiling,
    owner: Block,
    wanted: Mapping[Tile, Collection[Block]],
    *,
    bands: tuple[int, ...],
    batch: int,
    forward: Forward,
    tries: int = 2,
) -> Iterator[Contribution]:
    """Run those tiles of one owner that have weight on a valid pixel of a block that wants them.

    Batches are cut from all of the owner's tiles that hold data, whichever are wanted, and filled up to `batch`: what
    goes through the network together is the same in a first run and in a repair, and so are the bits.

    Raises:
        DamagedCube: the pixels that a tile sees are not those that were ingested.
    """
    if not wanted:
        return
    owned = tiling.owned(owner)
    extents = [tiling.extent(tile) for tile in owned]
    region = (
        slice(min(e[0].start for e in extents), max(e[0].stop for e in extents)),
        slice(min(e[1].start for e in extents), max(e[1].stop for e in extents)),
    )
    if not cube.may_hold_data(region):
        return
    around, image, valid = cube.read_proved(region, bands=bands)

    def holds(window: tuple[slice, slice]) -> bool:
        return bool(valid[within(window, around)].any())

    held = [tile for tile in owned if holds(tiling.span(tile))]
    for group in (held[n : n + batch] for n in range(0, len(held), batch)):
        needed = [tile for tile in group if any(holds(tiling.meeting(tile, b)) for b in wanted.get(tile, ()))]
        if not needed:
            continue
        pixels = np.zeros((batch, len(bands), tiling.rows.size, tiling.cols.size), image.dtype)
        data = np.zeros((batch, *pixels.shape[2:]), bool)
        for n, tile in enumerate(group):
            place = within(tiling.extent(tile), around)
            part = image[:, place[0], place[1]]
            pixels[n, :, : part.shape[1], : part.shape[2]] = part
            data[n, : part.shape[1], : part.shape[2]] = valid[place]
        probability, error = _try(forward, pixels, data, tries)
        for n, tile in enumerate(group):
            if tile not in needed:
                continue
            said = None if probability is None else probability[n]
            if said is None and len(group) > 1:  # which of them it was, each tells alone, in a batch of the same shape
                alone = (np.arange(batch) == n)[:, None, None]
                again, error = _try(forward, pixels * alone[:, None], data & alone, 1)
                said = None if again is None else again[n]
            yield Contribution(tile, said, data[n], error if said is None else "")


def _try(
    forward: Forward, pixels: NDArray[Any], data: NDArray[np.bool_], tries: int
) -> tuple[NDArray[np.uint8] | None, str]:
    error = ""
    for _ in range(tries):
        try:
            return forward(pixels, data), ""
        except UnusableInput:
            raise  # the network cannot be run here at all
        except Exception as problem:  # noqa: BLE001 - whatever a network raises costs its tiles, not the run
            error = f"{type(problem).__name__}: {problem}"
    return None, error


@dataclass(slots=True)
class Cloth:
    """A block on the loom: the sum of what is in, and which tiles that is."""

    tiling: Tiling
    block: Block
    total: NDArray[np.int32]
    """(class, y, x): sum of weight · quantised probability."""
    tiles: set[Tile] = field(default_factory=set)
    lost: list[Tile] = field(default_factory=list)
    """Tiles that failed."""

    @classmethod
    def begin(cls, tiling: Tiling, block: Block, *, classes: int) -> Cloth:
        """An empty block."""
        rows, cols = tiling.window(block)
        return cls(tiling, block, np.zeros((classes, rows.stop - rows.start, cols.stop - cols.start), np.int32))

    def put(self, tile: Tile, part: NDArray[np.uint8] | None) -> None:
        """Add a tile's part (class, y, x), which covers just where tile and block meet; None where it failed."""
        assert tile not in self.tiles
        self.tiles.add(tile)
        if part is None:
            self.lost.append(tile)
            return
        where, window = self.tiling.meeting(tile, self.block), self.tiling.window(self.block)
        rows, cols = (
            axis.weights(k)[w.start - s.start : w.stop - s.start]
            for axis, k, w, s in zip(
                (self.tiling.rows, self.tiling.cols), tile, where, self.tiling.span(tile), strict=True
            )
        )
        place = within(where, window)
        add(part, rows, cols, self.total[:, place[0], place[1]])

    def lacks(self, valid: NDArray[np.bool_]) -> list[Tile]:
        """The tiles that have weight on valid pixels (y, x) of the block and are not in yet."""
        window = self.tiling.window(self.block)
        return [
            tile
            for tile in self.tiling.touching(self.block)
            if tile not in self.tiles and valid[within(self.tiling.meeting(tile, self.block), window)].any()
        ]

    def cut(self, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The finished block, (class, y, x) uint8; nodata where `valid` (y, x) is False or a tile failed."""
        window = self.tiling.window(self.block)
        known = valid
        if self.lost:
            known = valid.copy()
            for tile in self.lost:
                known[within(self.tiling.meeting(tile, self.block), window)] = False
        result: NDArray[np.uint8] = finish(self.total, known)
        assert (result[:, ~known] == NODATA).all()
        return result

    def pack(self) -> bytes:
        """All of it as bytes, to be gone on with by another worker."""
        tiles, lost = (np.array(sorted(part), np.int64).reshape(-1, 2) for part in (self.tiles, self.lost))
        return _pack(self.total, tiles, lost)

    @classmethod
    def unpack(cls, tiling: Tiling, block: Block, packed: bytes) -> Cloth:
        """What `pack` made."""
        total, tiles, lost = _unpack(packed)
        return cls(tiling, block, total, {(int(i), int(j)) for i, j in tiles}, [(int(i), int(j)) for i, j in lost])


def weave_whole(
    cube: Cube, tiling: Tiling, *, bands: tuple[int, ...], classes: int, batch: int, forward: Forward
) -> NDArray[np.uint8]:
    """A small scene woven in memory, (class, y, x): what many workers make of it, by one loop."""
    cloths = {block: Cloth.begin(tiling, block, classes=classes) for block in tiling.blocks()}
    for owner in cloths:
        wanted = {tile: tiling.touched(tile) for tile in tiling.owned(owner)}
        for said in run_tiles(cube, tiling, owner, wanted, bands=bands, batch=batch, forward=forward, tries=1):
            if said.error:
                raise GeoloomError(f"The network failed: {said.error}")
            for block in wanted[said.tile]:
                cloths[block].put(said.tile, part_for(tiling, said, block)[0])
    result = np.full((classes, tiling.rows.length, tiling.cols.length), NODATA, np.uint8)
    for block, cloth in cloths.items():
        window = tiling.window(block)
        result[:, *window] = cloth.cut(np.asarray(cube.valid[window], dtype=bool))
    return result


def part_for(tiling: Tiling, said: Contribution, block: Block) -> tuple[NDArray[np.uint8] | None, bool]:
    """The part of a contribution that meets a block, and whether any pixel there is valid.

    Returns:
        (class, y, x), None where the tile failed.
    """
    rows, cols = tiling.meeting(said.tile, block)
    top, left = tiling.rows.starts[said.tile[0]], tiling.cols.starts[said.tile[1]]
    place = np.s_[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
    part = None if said.probability is None else said.probability[:, place[0], place[1]]
    return part, bool(said.valid[place].any())


def pack_strip(part: NDArray[np.uint8] | None) -> bytes:
    """A strip as bytes: compressed, with a checksum; empty for a tile that failed."""
    return b"" if part is None else _pack(part)


def unpack_strip(packed: bytes) -> NDArray[np.uint8]:
    """What `pack_strip` made of a part.

    Raises:
        ValueError: it is damaged.
    """
    part: NDArray[np.uint8] = _unpack(packed)[0]
    return part


def _pack(*arrays: NDArray[Any]) -> bytes:
    raw = io.BytesIO()
    for array in arrays:
        np.save(raw, np.ascontiguousarray(array), allow_pickle=False)
    return bytes(_ZSTD.encode(raw.getbuffer()))


def _unpack(packed: bytes) -> list[Any]:
    try:
        raw = io.BytesIO(_ZSTD.decode(packed))
    except RuntimeError as error:
        raise ValueError(f"a stored contribution is damaged ({error})") from error
    arrays = []
    while raw.tell() < raw.getbuffer().nbytes:
        arrays.append(np.load(raw, allow_pickle=False))
    return arrays
