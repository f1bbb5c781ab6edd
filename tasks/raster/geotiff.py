"""GeoTIFFs out: written by window to a temporary tiled file, then copied to a cloud-optimized one, in bounded memory.

`rasterio.open(..., driver="COG")` buffers the whole raster; a tiled GeoTIFF copied by the COG driver stays under 502
MB at 40,000² (docs/hazards.md). Nothing volatile (time, host, worker count) goes into the files: the same pixels give
the same bytes.
"""

from __future__ import annotations

import errno
import os
import shutil
import warnings
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
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window

BLOCK = 512
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


def class_layout(grid: GeoBox, classes: ClassMap, *, tags: Mapping[str, str]) -> Layout:
    """How `classes.tif` is laid out: one palette band, its class names in the tag CLASS_NAMES."""
    names = {"CLASS_NAMES": ",".join(classes.names)}
    return Layout(grid, ("class",), 255, "MODE", palette=classes.palette(), tags=names | dict(tags))


@contextmanager
def tiled_geotiff(path: Path, layout: Layout) -> Iterator[Callable[[Window, NDArray[np.uint8]], None]]:
    """Open a tiled GeoTIFF and give the function that writes a window of it, (band, y, x) uint8."""
    height, width = layout.grid.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        target = rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=height,
            width=width,
            count=len(layout.bands),
            dtype="uint8",
            nodata=layout.nodata,
            tiled=True,
            blockxsize=BLOCK,
            blockysize=BLOCK,
            compress="ZSTD",
            zstd_level=1,
            bigtiff="IF_SAFER",
            interleave="band",
            **_georeference(layout.grid),
        )
    with _noticing_a_full_disk(path), target:
        target.descriptions = layout.bands
        target.update_tags(**layout.tags)
        if layout.bands[:3] == ("red", "green", "blue"):
            target.colorinterp = [rasterio.enums.ColorInterp[name] for name in layout.bands]
        if layout.scale is not None:
            target.scales = (layout.scale,) * len(layout.bands)
        if layout.palette is not None:
            target.write_colormap(1, {i: (*map(int, c), 255) for i, c in enumerate(layout.palette)})

        def write(window: Window, pixels: NDArray[np.uint8]) -> None:
            place = rasterio.windows.Window.from_slices(*window)
            target.write(pixels, window=place)

        yield write


def write_geotiff(
    path: Path, layout: Layout, windows: Iterable[tuple[Window, NDArray[np.uint8]]], *, scratch: Path
) -> None:
    """Write a cloud-optimized GeoTIFF.

    Args:
        path: where it goes; the caller renames it to its final name.
        layout: everything but the pixels.
        windows: (window, (band, y, x) uint8) pairs that cover the grid once, in any order.
        scratch: a file beside it for the tiled GeoTIFF on the way.

    Raises:
        OSError: the disk is full.
    """
    try:
        with tiled_geotiff(scratch, layout) as write:
            for window, pixels in windows:
                write(window, pixels)
        copy_to_cog(scratch, path, layout)
    finally:
        scratch.unlink(missing_ok=True)


def copy_to_cog(source: Path, path: Path, layout: Layout) -> None:
    """Copy a tiled GeoTIFF to a cloud-optimized one.

    Raises:
        OSError: the disk is full.
    """
    # GDAL's STATISTICS=YES is not asked for: it goes through the VRT driver, which is off (tasks/raster/gdal.py).
    with warnings.catch_warnings(), _noticing_a_full_disk(path):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        rasterio.shutil.copy(
            source,
            path,
            driver="COG",
            blocksize=str(BLOCK),
            compress=layout.compress,
            bigtiff="IF_SAFER",
            predictor="YES" if layout.predictor else "NO",
            overview_resampling=layout.overviews,
        )


@contextmanager
def _noticing_a_full_disk(path: Path) -> Iterator[None]:
    """Give GDAL's errors the number that they lack: "write failed" with next to no room left means the disk."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, GeoloomError) and shutil.disk_usage(path.parent).free < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _georeference(grid: GeoBox) -> dict[str, Any]:
    """CRS and transform; neither where a scene in pixel space has none, so that the product has none either."""
    if grid.crs is None and grid.affine == rasterio.Affine.identity():
        return {}
    return {"crs": grid.crs.wkt if grid.crs else None, "transform": grid.affine}
