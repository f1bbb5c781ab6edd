"""GeoTIFFs out: written by window to a temporary tiled file, then laid out as a cloud-optimized one, in bounded memory.

GDAL compresses the tiles, on all cores, once: for the scene as it comes, then for each overview, which is made from
the one below by window. `tasks/raster/cog.py` puts them together. `rasterio.open(..., driver="COG")` would buffer the
whole raster, and copying with that driver compresses every tile twice more. Nothing volatile (time, host, worker or
thread count) goes into the files: the same pixels give the same bytes.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import GeoloomError
from tasks.raster.classes import ClassMap
from tasks.raster.cog import assemble_cog
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Control, Window, windows
from tasks.raster.overviews import halve_mean, halve_mode
from tasks.raster.statistics import count_values

BLOCK = 512
STRIDE = 4 * BLOCK
"""Pixels a side of the windows that overviews are made from: 4 MB a band."""
LEVELS = {"DEFLATE": {"zlevel": 5}, "ZSTD": {"zstd_level": 3}}
"""How hard to compress. One step more of DEFLATE takes twice the time and saves a tenth of a class map; ZSTD's usual 9
takes 3 times the time of 3 and saves 5 % of a probability."""
THREADS = "ALL_CPUS"
"""That compress; no lane is at work while products are written."""
BIGTIFF = "IF_SAFER"
ROOM = 4 << 20
"""Bytes below which a disk counts as full: a few compressed blocks and what the file system keeps."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a GeoTIFF of uint8 bands is besides its pixels."""

    grid: GeoBox
    bands: tuple[str, ...]
    """Description of each band."""
    nodata: int | None
    overviews: str
    """How overviews are made: `MODE` for classes, `AVERAGE` for probabilities."""
    compress: str = "DEFLATE"
    predictor: bool = False
    scale: float | None = None
    """What a pixel is multiplied with to get its value."""
    palette: NDArray[np.uint8] | None = None
    """(256, 3) colours by value; the TIFF colour table has no alpha."""
    tags: Mapping[str, str] = field(default_factory=dict)
    control: Control | None = None
    """Ground control points, where the grid has no CRS."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.grid.shape[0], self.grid.shape[1]


def class_layout(grid: GeoBox, classes: ClassMap, *, tags: Mapping[str, str], control: Control | None = None) -> Layout:
    """How `classes.tif` is laid out: one palette band, its class names in the tag CLASS_NAMES."""
    names = {"CLASS_NAMES": ",".join(classes.names)}
    return Layout(grid, ("class",), 255, "MODE", palette=classes.palette(), tags=names | dict(tags), control=control)


@contextmanager
def tiled_geotiff(path: Path, layout: Layout) -> Iterator[Callable[[Window, NDArray[np.uint8]], None]]:
    """Open a tiled GeoTIFF and give the function that writes a window of it, (band, y, x) uint8.

    A window's edges lie on multiples of `BLOCK` or on the grid's own, so that each tile is compressed once, and what
    fills it beyond the grid does not depend on the order in which it was put together.
    """
    with noticing_a_full_disk(path), _create(path, layout, shape=layout.shape, **georeference(layout.grid)) as target:
        target.descriptions = layout.bands
        target.update_tags(**layout.tags)
        if layout.control is not None:
            points = [rasterio.control.GroundControlPoint(*point) for point in layout.control.points]
            target.gcps = points, rasterio.crs.CRS.from_wkt(layout.control.crs)
        if layout.scale is not None:
            target.scales = (layout.scale,) * len(layout.bands)

        counts = np.zeros((len(layout.bands), 256), np.int64)

        def write(window: Window, pixels: NDArray[np.uint8]) -> None:
            for edge, length in zip(window, layout.shape, strict=True):
                assert edge.start % BLOCK == 0
                assert edge.stop % BLOCK == 0 or edge.stop == length
            target.write(pixels, window=rasterio.windows.Window.from_slices(*window))
            for n, plane in enumerate(pixels):
                data = plane != layout.nodata if layout.nodata is not None else np.ones(plane.shape, np.bool_)
                counts[n] += count_values(plane, data)

        yield write
        for number, band in enumerate(counts, 1):
            target.update_tags(number, **_statistics(band, layout.shape))


def write_geotiff(
    path: Path, layout: Layout, parts: Iterable[tuple[Window, NDArray[np.uint8]]], *, scratch: Path
) -> None:
    """Write a cloud-optimized GeoTIFF.

    Args:
        path: where it goes; the caller renames it to its final name.
        layout: everything but the pixels.
        parts: (window, (band, y, x) uint8) pairs that cover the grid once, in any order, cut at multiples of `BLOCK`.
        scratch: a file beside it for the tiled GeoTIFF on the way; overviews go to files of its name and a number.

    Raises:
        OSError: the disk is full.
    """
    try:
        with tiled_geotiff(scratch, layout) as write:
            for window, pixels in parts:
                write(window, pixels)
        copy_to_cog(scratch, path, layout)
    finally:
        scratch.unlink(missing_ok=True)


def copy_to_cog(source: Path, path: Path, layout: Layout) -> None:
    """Lay out a file that `tiled_geotiff` made of the same layout as a cloud-optimized one, with overviews.

    Raises:
        OSError: the disk is full.
    """
    levels = [source]
    try:
        with noticing_a_full_disk(path):
            for rows, cols in overview_shapes(layout.shape):
                levels.append(source.with_name(f"{source.name}.{len(levels)}"))
                _write_overview(levels[-2], levels[-1], layout, shape=(rows, cols))
            assemble_cog(path, levels)
    finally:
        for level in levels[1:]:
            level.unlink(missing_ok=True)


def overview_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows and columns of each overview, halved until one tile holds all."""
    shapes = []
    while max(shape) > BLOCK:
        shape = (-(-shape[0] // 2), -(-shape[1] // 2))
        shapes.append(shape)
    return shapes


def _write_overview(source: Path, path: Path, layout: Layout, *, shape: tuple[int, int]) -> None:
    with rasterio.open(source) as below, _create(path, layout, shape=shape) as target:
        for rows, cols in windows(below.shape, STRIDE):
            pixels = below.read(window=rasterio.windows.Window.from_slices(rows, cols))
            if layout.overviews == "MODE":
                half = halve_mode(pixels, layout.nodata)
            else:
                half = halve_mean(pixels, layout.nodata, alpha=layout.bands[-1] == "alpha")
            target.write(half, window=rasterio.windows.Window(cols.start // 2, rows.start // 2, *half.shape[:0:-1]))


@contextmanager
def _create(path: Path, layout: Layout, *, shape: tuple[int, int], **place: Any) -> Iterator[Any]:
    """A tiled file of a layout's bands, colours and compression; the scene and its overviews are made alike."""
    with (
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=shape[0],
            width=shape[1],
            count=len(layout.bands),
            dtype="uint8",
            nodata=layout.nodata,
            tiled=True,
            blockxsize=BLOCK,
            blockysize=BLOCK,
            compress=layout.compress,
            predictor=2 if layout.predictor else 1,
            bigtiff=BIGTIFF,
            interleave="pixel",
            num_threads=THREADS,
            **LEVELS[layout.compress],
            **place,
        ) as target,
    ):
        if layout.bands[:3] == ("red", "green", "blue"):
            target.colorinterp = [rasterio.enums.ColorInterp[name] for name in layout.bands]
        if layout.palette is not None:
            target.write_colormap(1, {i: (*map(int, c), 255) for i, c in enumerate(layout.palette)})
        yield target


def _statistics(counts: NDArray[np.int64], shape: tuple[int, int]) -> dict[str, str]:
    """What GDAL calls a band's statistics, from how often each value is there; nothing where all is nodata."""
    total, values = int(counts.sum()), np.arange(256)
    if not total:
        return {}
    mean = float(values @ counts) / total
    deviation = math.sqrt(float((values - mean) ** 2 @ counts) / total)
    low, high = np.flatnonzero(counts)[[0, -1]].tolist()
    names = ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV", "VALID_PERCENT")
    numbers = (low, high, mean, deviation, 100 * total / (shape[0] * shape[1]))
    return {f"STATISTICS_{name}": f"{number:.14g}" for name, number in zip(names, numbers, strict=True)}


@contextmanager
def noticing_a_full_disk(path: Path) -> Iterator[None]:
    """Give GDAL's errors the number that they lack: "write failed" with next to no room left means the disk."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, GeoloomError) and shutil.disk_usage(path.parent).free < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def georeference(grid: GeoBox) -> dict[str, Any]:
    """CRS and transform for rasterio; neither where a scene in pixel space has none, so that its products have none."""
    if grid.crs is None and grid.affine == rasterio.Affine.identity():
        return {}
    return {"crs": grid.crs.wkt if grid.crs else None, "transform": grid.affine}
