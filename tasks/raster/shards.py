"""Windows of Zarr arrays in and out, shard by shard: the objects are zarr-python's own, made with less ado.

zarr-python runs an event loop's worth of tasks a chunk, copies it several times and reads chunk by chunk: 20 ns a pixel
of three bands besides the compression. Here a shard is encoded and written at once, and of a shard that is read one
range is fetched, all shards of a window side by side, so that a bucket sees two requests a shard and not one a chunk.

A shard (https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed) is its chunks, one after the other,
then an index of (offset, bytes) for each, then the index's crc32c. Chunks are zstd frames with a checksum. A chunk that
is wholly beyond the array's edge is left out; all others are written, whatever their pixels.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.abc.store import RangeByteRequest, Store, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.codecs import BytesCodec, ShardingCodec, ZstdCodec
from zarr.core.sync import sync

from tasks.raster.grid import Window

ABSENT = (1 << 64) - 1
"""Offset and bytes, in the index, of a chunk that is not there."""


@dataclass(frozen=True, slots=True)
class Sharding:
    """How the pixels of (plane, y, x), or of (y, x) as one plane, lie in stored objects."""

    store: Store
    key: str
    """Of the array; '' where it is the store's root."""
    flat: bool
    """True for an array of (y, x)."""
    shape: tuple[int, int, int]
    shard: tuple[int, int, int]
    chunk: int
    """Pixels a side; one plane."""
    dtype: np.dtype[Any]
    fill: Any
    zstd: Zstd

    @classmethod
    def of(cls, array: zarr.Array[Any]) -> Sharding:
        """That of an array which `tasks.raster.zarrays` made."""
        (codec,) = array.metadata.codecs  # type: ignore[union-attr]
        assert isinstance(codec, ShardingCodec)
        order, zstd = codec.codecs
        assert isinstance(order, BytesCodec)
        assert isinstance(zstd, ZstdCodec)
        flat = array.ndim == 2  # noqa: PLR2004 - (y, x)
        lead: tuple[int, ...] = (1,) if flat else ()
        planes, rows, cols = (*lead, *(array.shards or ()))
        bands, height, width = (*lead, *array.shape)
        return cls(
            array.store,
            array.path,
            flat,
            (bands, height, width),
            (planes, rows, cols),
            array.chunks[-1],
            np.dtype(array.dtype),
            array.fill_value,
            Zstd(level=zstd.level, checksum=zstd.checksum),
        )

    @property
    def counts(self) -> tuple[int, int, int]:
        """Chunks of a shard along each axis."""
        return self.shard[0], self.shard[1] // self.chunk, self.shard[2] // self.chunk

    def name(self, place: tuple[int, int, int]) -> str:
        """The key of a shard by its plane, row and column."""
        return "/".join([*([self.key] if self.key else []), "c", *map(str, place[1:] if self.flat else place)])


def write_shards(array: zarr.Array[Any], window: Window, pixels: NDArray[Any]) -> None:
    """Write whole shards.

    Args:
        array: as `tasks.raster.zarrays` makes them.
        window: rows and columns, cut at multiples of the shard or at the array's edge.
        pixels: (plane, y, x) or (y, x) of the array's dtype, all planes.
    """
    layout = Sharding.of(array)
    pixels = np.asarray(pixels, layout.dtype).reshape(layout.shape[0], *(s.stop - s.start for s in window))
    for edge, size, length in zip(window, layout.shard[1:], layout.shape[1:], strict=True):
        assert edge.start % size == 0
        assert edge.stop % size == 0 or edge.stop == length
    make = default_buffer_prototype().buffer.from_bytes
    planes, height, width = layout.shard
    puts = []
    for plane in range(0, pixels.shape[0], planes):
        for top in range(0, pixels.shape[1], height):
            for left in range(0, pixels.shape[2], width):
                place = plane // planes, (window[0].start + top) // height, (window[1].start + left) // width
                part = pixels[plane : plane + planes, top : top + height, left : left + width]
                puts.append(layout.store.set(layout.name(place), make(_encode(layout, part))))
    sync(_all(puts))


def read_shards(array: zarr.Array[Any], window: Window, *, planes: Sequence[int] | None = None) -> NDArray[Any]:
    """Read one window inside the array.

    Args:
        array: as `tasks.raster.zarrays` makes them.
        window: rows and columns.
        planes: those wanted, in this order; all of them where there is None.

    Returns:
        (plane, y, x), or (y, x) of an array that is; the fill value where no shard or chunk is stored.

    Raises:
        ValueError, RuntimeError: a stored object is truncated or damaged.
    """
    layout = Sharding.of(array)
    wanted = list(range(layout.shape[0]) if planes is None else planes)
    result = np.empty((len(wanted), *(s.stop - s.start for s in window)), layout.dtype)
    pieces = list(_pieces(layout, window, wanted))
    found = sync(_all([_fetch(layout, piece) for piece in pieces]))
    for piece, held in zip(pieces, found, strict=True):
        for n, where in piece.chunks:
            _decode(layout, held, where, piece.corner(layout, where), window, result[n])
    return result[0] if layout.flat else result


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a window needs of one shard."""

    place: tuple[int, int, int]
    """Plane, row and column of the shard."""
    chunks: tuple[tuple[int, tuple[int, int, int]], ...]
    """The result's plane, and the chunk's place in the shard."""

    def corner(self, layout: Sharding, where: tuple[int, int, int]) -> tuple[int, int]:
        """Row and column of a chunk's first pixel in the array."""
        row, col = (self.place[n] * layout.shard[n] + where[n] * layout.chunk for n in (1, 2))
        return row, col


@dataclass(frozen=True, slots=True)
class _Held:
    """What was fetched of one shard."""

    index: NDArray[np.uint64]
    """(plane, row, column, 2): offset and bytes of each chunk."""
    data: NDArray[np.uint8]
    begin: int
    """Where the data begins in the shard."""


def _pieces(layout: Sharding, window: Window, wanted: list[int]) -> Iterator[_Piece]:
    shards = [range(s.start // n, (s.stop - 1) // n + 1) for s, n in zip(window, layout.shard[1:], strict=True)]
    for plane in sorted({p // layout.shard[0] for p in wanted}):
        here = [(n, p % layout.shard[0]) for n, p in enumerate(wanted) if p // layout.shard[0] == plane]
        for row in shards[0]:
            for col in shards[1]:
                inside = [
                    range(
                        (max(s.start, place * size) - place * size) // layout.chunk,
                        (min(s.stop, (place + 1) * size) - place * size - 1) // layout.chunk + 1,
                    )
                    for s, place, size in zip(window, (row, col), layout.shard[1:], strict=True)
                ]
                chunks = tuple((n, (p, i, j)) for n, p in here for i in inside[0] for j in inside[1])
                yield _Piece((plane, row, col), chunks)


async def _fetch(layout: Sharding, piece: _Piece) -> _Held | None:
    """One shard's index and the range that holds the chunks wanted; None where no such shard is stored."""
    name, prototype = layout.name(piece.place), default_buffer_prototype()
    length = 16 * math.prod(layout.counts) + 4
    whole = 2 * len(piece.chunks) > math.prod(layout.counts)
    tail = await layout.store.get(name, prototype, None if whole else SuffixByteRequest(length))
    if tail is None:
        return None
    stored = tail.as_numpy_array()
    index = _index(layout, stored[-length:].tobytes(), name)
    if whole:
        return _Held(index, stored, 0)
    spans = [index[where] for _, where in piece.chunks]
    spans = [span for span in spans if span[0] != ABSENT]
    if not spans:
        return _Held(index, stored[:0], 0)
    begin, end = int(min(s[0] for s in spans)), int(max(s[0] + s[1] for s in spans))
    data = await layout.store.get(name, prototype, RangeByteRequest(begin, end))
    return None if data is None else _Held(index, data.as_numpy_array(), begin)


def _index(layout: Sharding, raw: bytes, name: str) -> NDArray[np.uint64]:
    if len(raw) != 16 * math.prod(layout.counts) + 4 or _crc(raw[:-4]) != raw[-4:]:
        raise ValueError(f"the index of the shard {name} is truncated or damaged")
    return np.frombuffer(raw[:-4], "<u8").reshape(*layout.counts, 2)


def _decode(
    layout: Sharding,
    held: _Held | None,
    where: tuple[int, int, int],
    corner: tuple[int, int],
    window: Window,
    result: NDArray[Any],
) -> None:
    """Put what a chunk holds of the window into one plane of the result."""
    begin = [max(c, s.start) for c, s in zip(corner, window, strict=True)]
    end = [min(c + layout.chunk, s.stop) for c, s in zip(corner, window, strict=True)]
    target = result[tuple(slice(b - s.start, e - s.start) for b, e, s in zip(begin, end, window, strict=True))]
    offset, size = (ABSENT, 0) if held is None else (int(v) for v in held.index[where])
    if held is None or offset == ABSENT:
        target[:] = layout.fill
        return
    # Not into an array of ours: of a frame that is too short, the rest would be what stood there before.
    frame = layout.zstd.decode(np.ascontiguousarray(held.data[offset - held.begin :][:size]))
    chunk = np.frombuffer(frame, layout.dtype).reshape(layout.chunk, layout.chunk)
    target[:] = chunk[tuple(slice(b - c, e - c) for b, e, c in zip(begin, end, corner, strict=True))]


def _encode(layout: Sharding, pixels: NDArray[Any]) -> bytes:
    """One shard of (plane, y, x) pixels, which the array's edge may cut short."""
    index = np.full((*layout.counts, 2), ABSENT, "<u8")
    square = np.empty((layout.chunk, layout.chunk), layout.dtype)
    parts: list[bytes] = []
    at = 0
    for where in np.ndindex(pixels.shape[0], *(-(-n // layout.chunk) for n in pixels.shape[1:])):
        top, left = where[1] * layout.chunk, where[2] * layout.chunk
        part = pixels[where[0], top : top + layout.chunk, left : left + layout.chunk]
        if part.shape != square.shape:
            square[:] = layout.fill
        square[: part.shape[0], : part.shape[1]] = part
        parts.append(layout.zstd.encode(square))
        index[where] = at, len(parts[-1])
        at += len(parts[-1])
    raw = index.tobytes()
    return b"".join([*parts, raw, _crc(raw)])


def _crc(raw: bytes) -> bytes:
    return int(google_crc32c.value(raw)).to_bytes(4, "little")


async def _all(work: Sequence[Any]) -> list[Any]:
    return await asyncio.gather(*work)
