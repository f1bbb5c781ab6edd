"""The cube: the Zarr arrays of all scenes on one grid.

    cube.zarr/image    (band, y, x)            the scenes' dtype
    cube.zarr/valid    (y, x)                  bool, True = data
    cube.zarr/digests  (band + 1, row, column, 2)  uint64: 128 bits of each cell's pixels, `valid` last
    cube.zarr/counts   (row, column)           uint32: valid pixels of each cell

Chunks are (1, 512, 512) in shards of (1, 2048, 2048). A block is one shard's rectangle in all bands, and has one
writer. A cell is one chunk's rectangle: what is read is proved by its cells' digests, so that a missing or damaged
chunk never passes for pixels, and what changed is known to a cell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster import grid as grids
from tasks.raster.digest import digest_pair
from tasks.raster.grid import Window, within
from tasks.raster.shards import read_shards, write_shards
from tasks.raster.zarrays import (
    CHUNK,
    ZSTD,
    Place,
    change_group,
    consolidate,
    create_array,
    create_group,
    open_group,
    place_name,
    shard_names,
)

BLOCK = 2048


class DamagedCube(UnusableInput):
    """Stored pixels are not those that were ingested."""

    def __init__(self, message: str, cell: tuple[int, int]) -> None:
        super().__init__(message, cell)
        self.cell = cell

    def __str__(self) -> str:
        """The message alone."""
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """Statistics of one band over valid pixels; all 0 where there is none."""

    minimum: float
    maximum: float
    mean: float
    std: float
    low: float
    """2nd percentile, where a picture of the band begins."""
    high: float
    """98th percentile, where it ends."""


@dataclass(frozen=True, slots=True)
class Cube:
    """An open cube. Cheap to make; holds no pixels."""

    grid: GeoBox
    bands: tuple[str, ...]
    image: zarr.Array[Any]
    valid: zarr.Array[Any]
    digests: NDArray[np.uint64]
    """(band + 1, row, column, 2) of every cell, `valid` last."""
    counts: NDArray[np.uint32]
    """(row, column): valid pixels of every cell."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The pixels' dtype."""
        return np.dtype(self.image.dtype)

    @property
    def fingerprint(self) -> str:
        """A hash of all pixels, hexadecimal; set when the ingest ended."""
        return str(self.image.attrs["fingerprint"])

    @property
    def statistics(self) -> tuple[BandStatistics, ...]:
        """One for each band."""
        found: Any = self.image.attrs["statistics"]
        return tuple(BandStatistics(**entry) for entry in found)

    def read(self, window: Window, *, bands: tuple[int, ...] | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Image (band, y, x) and valid (y, x) of one window inside the grid; every cell is proved by its digest.

        Raises:
            DamagedCube: a chunk is missing, truncated, or not what was ingested.
        """
        around, image, valid = self.read_proved(window, bands=tuple(range(len(self.bands))) if bands is None else bands)
        rows, cols = within(window, around)
        return image[:, rows, cols], valid[rows, cols]

    def may_hold_data(self, window: Window) -> bool:
        """False where no cell of a window holds a valid pixel; reads nothing."""
        return bool(self.counts[cells_of(window)].any())

    def read_proved(self, window: Window, *, bands: tuple[int, ...]) -> tuple[Window, NDArray[Any], NDArray[np.bool_]]:
        """Read the cells that hold a window, and check every one against its digest.

        Returns:
            The window that was read (whole cells, cut at the grid's edge), image (band, y, x), valid (y, x).

        Raises:
            DamagedCube: a chunk is missing, truncated, or not what was ingested.
        """
        cells = cells_of(window)
        around = window_of_cells(cells, self.valid.shape)
        planes = (*bands, len(self.bands))
        want = self.digests[:, cells[0], cells[1]][list(planes)]
        try:
            read: tuple[NDArray[Any], NDArray[np.bool_]] | None = (
                read_shards(self.image, around, planes=bands),
                read_shards(self.valid, around),
            )
        except (ValueError, RuntimeError, OSError):
            read = None  # a codec's error does not say where: cell by cell does
        for n, plane in enumerate(planes):
            for row, col in np.ndindex(want.shape[1:3]):
                cell = (cells[0].start + row, cells[1].start + col)
                if read is None:
                    found = self._read_cell(plane, cell)
                else:
                    place = np.s_[row * CHUNK : (row + 1) * CHUNK, col * CHUNK : (col + 1) * CHUNK]
                    found = (read[0][n] if n < len(bands) else read[1])[place]
                if found is None or digest_pair(found) != tuple(want[n, row, col]):
                    raise DamagedCube(
                        f"cube.zarr is damaged in rows {cell[0] * CHUNK} to {(cell[0] + 1) * CHUNK}, columns "
                        f"{cell[1] * CHUNK} to {(cell[1] + 1) * CHUNK}; run 'geoloom ingest' with the same scenes "
                        "again: it reads that part again.",
                        cell,
                    )
        assert read is not None  # each cell can be read, so all of them can
        return around, *read

    def _read_cell(self, plane: int, cell: tuple[int, int]) -> NDArray[Any] | None:
        window = window_of_cells((slice(cell[0], cell[0] + 1), slice(cell[1], cell[1] + 1)), self.valid.shape)
        try:
            pixels: NDArray[Any] = (
                read_shards(self.valid, window)
                if plane == len(self.bands)
                else read_shards(self.image, window, planes=(plane,))[0]
            )
        except (ValueError, RuntimeError, OSError):
            return None
        return pixels


def cells_of(window: Window) -> Window:
    """The cells, rows and columns, that hold a window."""
    rows, cols = (slice(s.start // CHUNK, (s.stop - 1) // CHUNK + 1) for s in window)
    return rows, cols


def window_of_cells(cells: Window, shape: tuple[int, ...]) -> Window:
    """The pixels of cells, cut at the grid's edge."""
    rows, cols = (slice(s.start * CHUNK, min(s.stop * CHUNK, length)) for s, length in zip(cells, shape, strict=True))
    return rows, cols


def create_cube(place: Place, grid: GeoBox, *, bands: tuple[str, ...], dtype: str, scenes: list[str]) -> None:
    """Make an empty cube: every pixel invalid."""
    group = create_group(place, grid, attributes={"grid": grids.to_json(grid), "bands": list(bands), "scenes": scenes})
    shape = (grid.shape[0], grid.shape[1])
    planes = ("band", len(bands))
    create_array(group, "image", planes=planes, shape=shape, dtype=dtype, fill=0, shard=BLOCK, level=-1)
    create_array(group, "valid", planes=None, shape=shape, dtype="bool", fill=False, shard=BLOCK)


def is_cube(place: Place, grid: GeoBox, *, bands: tuple[str, ...], dtype: str) -> bool:
    """True where a cube of just this grid, bands and dtype stands, finished or not."""
    try:
        group = open_group(place, made_by="ingest")
        return bool(
            grids.from_json(group.attrs["grid"]) == grid  # type: ignore[arg-type]
            and tuple(group.attrs["bands"]) == bands  # type: ignore[arg-type]
            and group["image"].dtype == np.dtype(dtype)  # type: ignore[union-attr]
            and group["valid"].shape == tuple(grid.shape)  # type: ignore[union-attr]
        )
    except (UnusableInput, KeyError):
        return False


def open_cube(place: Place) -> Cube:
    """Open a cube for reading.

    Raises:
        UnusableInput: there is none, or its ingest did not end.
    """
    group = open_group(place, made_by="ingest")
    if "digests" not in group:
        raise UnusableInput(
            f"The ingest into {place_name(place)} was interrupted; run 'geoloom ingest' with the same scenes again."
        )
    document: dict[str, Any] = group.attrs["grid"]  # type: ignore[assignment]
    names: list[str] = group.attrs["bands"]  # type: ignore[assignment]
    image, valid, digests, counts = (group[name] for name in ("image", "valid", "digests", "counts"))
    return Cube(
        grids.from_json(document),
        tuple(names),
        image,  # type: ignore[arg-type]
        valid,  # type: ignore[arg-type]
        np.asarray(digests[:]),  # type: ignore[index]
        np.asarray(counts[:]),  # type: ignore[index]
    )


@dataclass(frozen=True, slots=True)
class BlockCells:
    """What a block adds to the arrays of cells."""

    digests: NDArray[np.uint64]
    """(band + 1, row, column, 2)."""
    counts: NDArray[np.uint32]
    """(row, column)."""


def count_cells(image: NDArray[Any], valid: NDArray[np.bool_]) -> BlockCells:
    """Digests and valid pixels of a block's cells, from image (band, y, x) and valid (y, x)."""
    rows, cols = (-(-n // CHUNK) for n in valid.shape)
    digests = np.zeros((len(image) + 1, rows, cols, 2), np.uint64)
    counts = np.zeros((rows, cols), np.uint32)
    for row in range(rows):
        for col in range(cols):
            place = np.s_[row * CHUNK : (row + 1) * CHUNK, col * CHUNK : (col + 1) * CHUNK]
            counts[row, col] = np.count_nonzero(valid[place])
            for n, plane in enumerate((*image, valid)):
                digests[n, row, col] = digest_pair(plane[place])
    return BlockCells(digests, counts)


def block_names(window: Window, *, bands: int) -> list[str]:
    """The stored objects, within the group, that hold a block."""
    return [*shard_names("image", window, side=BLOCK, planes=bands), *shard_names("valid", window, side=BLOCK)]


def write_block(place: Place, window: Window, *, image: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    """Write one block of the cube, whole shards at once."""
    group = change_group(place)
    for name, pixels in (("image", image), ("valid", valid)):
        write_shards(group[name], window, pixels)  # type: ignore[arg-type]


def unlist_levels(group: zarr.Group) -> None:
    """Take out of a cube's attributes where its coarser levels (`tasks/raster/levels.py`) are."""
    for name in ("zarr_conventions", "multiscales"):
        if name in group.attrs:
            del group.attrs[name]


def finish_cube(
    place: Place, *, statistics: tuple[BandStatistics, ...], blocks: list[tuple[Window, BlockCells]]
) -> str:
    """Record what only the whole ingest knows, and return the fingerprint of all pixels."""
    group = change_group(place)
    shape: tuple[int, ...] = group["valid"].shape  # type: ignore[union-attr]
    rows, cols = (-(-n // CHUNK) for n in shape)
    planes = len(statistics) + 1
    digests, counts = np.zeros((planes, rows, cols, 2), np.uint64), np.zeros((rows, cols), np.uint32)
    for window, cells in blocks:
        into = cells_of(window)
        digests[:, *into], counts[into] = cells.digests, cells.counts
    cell = ("cell_row", "cell_column")
    for name, array, axes in (("digests", digests, ("plane", *cell, "half")), ("counts", counts, cell)):
        chunks = tuple(min(n, CHUNK) for n in array.shape)
        made = group.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=chunks, compressors=[ZSTD], overwrite=True,
            dimension_names=axes,
        )  # fmt: skip
        made[...] = array
    high, low = digest_pair(digests)
    fingerprint = f"{high:016x}{low:016x}"
    unlist_levels(group)  # the ingest took them away
    group["image"].attrs.update({"statistics": [asdict(s) for s in statistics], "fingerprint": fingerprint})
    consolidate(place)
    return fingerprint
