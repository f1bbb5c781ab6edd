"""A cloud-optimized GeoTIFF laid out from plain ones: the scene and its overviews, each a tiled TIFF of its own.

GDAL's COG driver decompresses and compresses every tile again, some 3 times the work of writing them once. Here
GDAL has written the tiles, compressed for good, and they are only copied into the order that readers over a network
want: all directories first, then the tiles of the smallest overview, ..., then those of the scene.

    header · GDAL's note on the layout · directory of the scene · of each overview, larger to smaller · tiles

The structure is that of the TIFF 6.0 and BigTIFF specifications, the note and the size before each tile that of
GDAL's COG driver (https://gdal.org/en/stable/drivers/raster/cog.html#file-format-details).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SUBFILE, WIDTH, HEIGHT, OFFSETS, SIZES = 254, 256, 257, 324, 325
SHARED = (258, 259, 262, 277, 284, 317, 320, 322, 323, 338, 339, 42113)
"""What an overview's directory has in common with the scene's: how pixels are stored, colours, nodata."""
SHORT, LONG, LONG8 = 3, 4, 16
BYTES = {
    1: 1,
    2: 1,
    SHORT: 2,
    LONG: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    LONG8: 8,
    17: 8,
    18: 8,
}
"""Bytes of one value of each TIFF type."""
FRAME = 4
"""Bytes before a tile, its size, and after it, its last ones again: a reader sees that it has all of it."""
LARGEST = 1 << 32
"""Bytes that a TIFF's offsets reach; a BigTIFF's reach further."""
NOTE = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag's value."""

    kind: int
    """TIFF's type of it."""
    count: int
    value: bytes
    """Little-endian."""

    @classmethod
    def of(cls, numbers: Sequence[int], *, kind: int) -> Entry:
        """Unsigned integers of a TIFF type."""
        return cls(kind, len(numbers), struct.pack(f"<{len(numbers)}{_LETTER[kind]}", *numbers))

    def integers(self) -> tuple[int, ...]:
        """The value as unsigned integers."""
        return struct.unpack(f"<{self.count}{_LETTER[self.kind]}", self.value)


_LETTER = {SHORT: "H", LONG: "I", LONG8: "Q"}


def assemble_cog(path: Path, levels: Sequence[Path]) -> None:
    """Lay out a cloud-optimized GeoTIFF.

    Args:
        path: where it goes.
        levels: tiled TIFFs made alike, the scene first, then its overviews from larger to smaller.
    """
    directories = [read_directory(level) for level in levels]
    scene = directories[0]
    places = [(d[OFFSETS].integers(), d[SIZES].integers()) for d in directories]
    assert all(size for _, sizes in places for size in sizes)
    room = sum(size + 2 * FRAME for _, sizes in places for size in sizes)
    heads = [scene] + [
        {tag: scene[tag] for tag in SHARED if tag in scene}
        | {tag: directory[tag] for tag in (WIDTH, HEIGHT)}
        | {SUBFILE: Entry.of([1], kind=LONG)}
        for directory in directories[1:]
    ]
    big = False
    front = _front(heads, [sizes for _, sizes in places], big=big)
    if front + room >= LARGEST:
        big = True
        front = _front(heads, [sizes for _, sizes in places], big=big)
    at = front
    moved: list[list[int]] = []
    for _, sizes in reversed(places):
        moved.insert(0, [])
        for size in sizes:
            moved[0].append(at + FRAME)
            at += size + 2 * FRAME
    with path.open("wb") as target:
        target.write(_header(big=big))
        for n, (head, new, (_, sizes)) in enumerate(zip(heads, moved, places, strict=True)):
            entries = _with_tiles(head, new, sizes, big=big)
            target.write(_packed(entries, target.tell(), last=n == len(heads) - 1, big=big))
        for level, (offsets, sizes) in zip(reversed(levels), reversed(places), strict=True):
            with level.open("rb") as source:
                target.writelines(_framed(source, offsets, sizes))


def read_directory(path: Path) -> dict[int, Entry]:
    """The first directory of a little-endian TIFF or BigTIFF."""
    with path.open("rb") as file:
        start = file.read(16)
        assert start[:2] == b"II"
        big = start[2] == 43  # noqa: PLR2004 - the version that BigTIFF has
        file.seek(*struct.unpack_from("<Q" if big else "<I", start, 8 if big else 4))
        (count,) = struct.unpack("<Q" if big else "<H", file.read(8 if big else 2))
        form = "<HHQ8s" if big else "<HHI4s"
        table = file.read(count * struct.calcsize(form))
        entries = {}
        for tag, kind, number, inline in struct.iter_unpack(form, table):
            size = number * BYTES[kind]
            value = inline[:size]
            if size > len(inline):
                file.seek(int.from_bytes(inline, "little"))
                value = file.read(size)
            entries[tag] = Entry(kind, number, value)
    return entries


def _with_tiles(
    entries: Mapping[int, Entry], offsets: Sequence[int], sizes: Sequence[int], *, big: bool
) -> dict[int, Entry]:
    tiles = {OFFSETS: Entry.of(offsets, kind=LONG8 if big else LONG), SIZES: Entry.of(sizes, kind=LONG)}
    return dict(sorted((dict(entries) | tiles).items()))


def _header(*, big: bool) -> bytes:
    note = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(NOTE) + NOTE
    note += b"\0" * (-len(note) % 8)
    first = (16 if big else 8) + len(note)
    return (struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHI", b"II", 42, first)) + note


def _front(heads: Sequence[Mapping[int, Entry]], sizes: Sequence[Sequence[int]], *, big: bool) -> int:
    """Bytes before the first tile. Directories begin at multiples of 8, so their length does not depend on where."""
    packed = (_packed(_with_tiles(h, s, s, big=big), 0, last=True, big=big) for h, s in zip(heads, sizes, strict=True))
    return len(_header(big=big)) + sum(map(len, packed))


def _packed(entries: Mapping[int, Entry], at: int, *, last: bool, big: bool) -> bytes:
    """A directory and its values as they stand at `at`; the next directory follows unless it is the last."""
    count, form, inline, pointer = ("<Q", "<HHQ8s", 8, "<Q") if big else ("<H", "<HHI4s", 4, "<I")
    values = at + struct.calcsize(count) + len(entries) * struct.calcsize(form) + inline
    table, data = struct.pack(count, len(entries)), b""
    for tag, entry in entries.items():
        value = entry.value
        if len(value) > inline:
            value = struct.pack(pointer, values + len(data))
            data += entry.value + b"\0" * (-len(entry.value) % 8)
        table += struct.pack(form, tag, entry.kind, entry.count, value)
    data += b"\0" * (-(values + len(data)) % 8)
    return table + struct.pack(pointer, 0 if last else values + len(data)) + data


def _framed(source: BinaryIO, offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    for offset, size in zip(offsets, sizes, strict=True):
        source.seek(offset)
        tile = source.read(size)
        yield struct.pack("<I", size) + tile + tile[-FRAME:]
