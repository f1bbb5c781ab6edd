"""Chips as GeoTIFFs: pixels in the scene's dtype with what is no data as an internal mask, labels with their colours.

The same pixels give the same bytes. Each file is whole from the moment it has its name.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableScene
from tasks.raster.classes import IGNORE, ClassMap
from tasks.raster.gdal import rasterio
from tasks.raster.geotiff import georeference
from tasks.raster.ground import is_on_earth
from tasks.raster.opening import open_raster, refusing_damage
from tasks.raster.picture import RGB

LEVEL = 5
"""Of DEFLATE; one more takes twice the time (tasks/raster/geotiff.py)."""


def write_chip(
    path: Path, image: NDArray[Any], valid: NDArray[np.bool_], *, grid: GeoBox, bands: Sequence[str]
) -> None:
    """Write a chip's pixels.

    Args:
        path: NAME.tif, in a folder that is there.
        image: (band, y, x).
        valid: (y, x); a chip without invalid pixels gets no mask.
        grid: of the chip.
        bands: their names.
    """
    predictor = 3 if image.dtype.kind == "f" else 2
    with _new(path, grid, count=len(image), dtype=image.dtype.name, predictor=predictor) as file:
        if tuple(bands[:3]) == RGB and len(bands) == len(RGB):
            file.colorinterp = [rasterio.enums.ColorInterp[name] for name in bands]
        file.descriptions = tuple(bands)
        file.write(image)
        if not valid.all():
            file.write_mask(valid)


def write_label(path: Path, label: NDArray[np.uint8], *, grid: GeoBox, classes: ClassMap) -> None:
    """Write a chip's labels (y, x): ids with a colour table, 255 = nodata = ignore, their names as CLASS_NAMES."""
    with _new(path, grid, count=1, dtype="uint8", predictor=1, nodata=IGNORE) as file:
        file.write_colormap(1, {n: (*map(int, c), 255) for n, c in enumerate(classes.palette())})
        file.update_tags(CLASS_NAMES=",".join(classes.names))
        file.write(label, 1)


@contextmanager
def _new(path: Path, grid: GeoBox, **profile: Any) -> Iterator[Any]:
    """A GeoTIFF that gets its name when it is whole; a folder that lacks some of its files is swept by who fills it."""
    temporary = path.with_name(f".part{os.getpid()}.{path.name}")
    place = {"height": grid.shape[0], "width": grid.shape[1], **georeference(grid)}
    layout = {"driver": "GTiff", "compress": "DEFLATE", "zlevel": LEVEL, "interleave": "pixel"}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(temporary, "w", **layout, **place, **profile) as file,
    ):
        yield file
    temporary.replace(path)


@dataclass(frozen=True, slots=True)
class ReadChip:
    """A chip as it was read, from a file of any kind."""

    image: NDArray[Any]
    """(band, y, x)."""
    valid: NDArray[np.bool_]
    """(y, x)."""
    crs: str
    """WKT; '' without a place on Earth."""
    outline: shapely.Polygon
    """In that CRS."""


def read_chip(path: Path) -> ReadChip:
    """Read a chip's pixels and where they lie.

    Raises:
        UnusableInput: it is missing, damaged or no raster.
    """
    with open_raster(path) as file:
        height, width = file.shape
        corners = [file.transform @ corner for corner in ((0, 0), (width, 0), (width, height), (0, height))]
        crs = _on_earth(file.crs.to_wkt()) if file.crs is not None else ""
        try:
            with refusing_damage():
                image, valid = file.read(), file.dataset_mask() > 0
        except rasterio.errors.RasterioError as error:
            raise UnusableScene(
                f"{path} is damaged: its pixels cannot be read; get or make it again.", str(path)
            ) from error
        return ReadChip(image, valid, crs, shapely.Polygon(corners))


@functools.lru_cache(maxsize=64)
def _on_earth(wkt: str) -> str:
    return wkt if is_on_earth(pyproj.CRS(wkt)) else ""
