"""The cube: the Zarr arrays of all scenes on one grid.

    cube.zarr/image   (band, y, x)  the scenes' dtype
    cube.zarr/valid   (y, x)        bool, True = data

Chunks are (1, 512, 512) in shards of (1, 2048, 2048). A block is one shard's rectangle in all bands, and has
one writer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from tasks.raster import grid as grids
from tasks.raster.grid import Window
from tasks.raster.zarrays import create_array, create_group, open_group

BLOCK = 2048


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
        """Read image (band, y, x) and valid (y, x) of one window inside the grid."""
        rows, cols = window
        wanted = range(len(self.bands)) if bands is None else bands
        image = np.stack([np.asarray(self.image[band, rows, cols]) for band in wanted])
        return image, np.asarray(self.valid[rows, cols], dtype=bool)

    def dask(self) -> tuple[da.Array, da.Array]:
        """Image (band, y, x) and valid (y, x) as lazy Dask arrays, a chunk a shard."""
        size = (BLOCK, BLOCK)
        return (
            da.from_array(self.image, chunks=(1, *size), name=False, inline_array=True),
            da.from_array(self.valid, chunks=size, name=False, inline_array=True),
        )


def create_cube(path: Path, grid: GeoBox, *, bands: tuple[str, ...], dtype: str, scenes: list[str]) -> None:
    """Make an empty cube: every pixel invalid."""
    group = create_group(path, grid, attributes={"grid": grids.to_json(grid), "bands": list(bands), "scenes": scenes})
    shape = (grid.shape[0], grid.shape[1])
    create_array(group, "image", planes=("band", len(bands)), shape=shape, dtype=dtype, fill=0, shard=BLOCK)
    create_array(group, "valid", planes=None, shape=shape, dtype="bool", fill=False, shard=BLOCK)


def open_cube(path: Path) -> Cube:
    """Open a cube for reading.

    Raises:
        UnusableInput: there is none.
    """
    group = open_group(path, made_by="ingest")
    document: dict[str, Any] = group.attrs["grid"]  # type: ignore[assignment]
    names: list[str] = group.attrs["bands"]  # type: ignore[assignment]
    return Cube(grids.from_json(document), tuple(names), group["image"], group["valid"])  # type: ignore[arg-type]


def write_block(path: Path, window: Window, *, image: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    """Write one block of the cube, whole shards at once."""
    rows, cols = window
    group = zarr.open_group(path, mode="r+")
    group["image"][:, rows, cols] = image  # type: ignore[index]
    group["valid"][rows, cols] = valid  # type: ignore[index]


def finish_cube(path: Path, *, statistics: tuple[BandStatistics, ...], fingerprint: str) -> None:
    """Record what only the whole ingest knows."""
    group = zarr.open_group(path, mode="r+")
    group["image"].attrs.update({"statistics": [asdict(s) for s in statistics], "fingerprint": fingerprint})
