"""A scene: a raster as delivered. What it says of itself, and its pixels by window."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window

DTYPES = ("uint8", "uint16", "int16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Scene:
    """What a raster file says of itself."""

    path: str
    grid: GeoBox
    bands: tuple[str, ...]
    """Names of the bands that carry imagery (alpha is not one), unique."""
    indexes: tuple[int, ...]
    """GDAL's number, from 1, of each of these bands."""
    dtype: str
    """One of `DTYPES`."""
    nodata: float | None
    alpha: int | None
    """GDAL's number of the alpha band; > 0 there means valid."""
    masked: bool
    """True where the file has a mask of its own, internal or beside it; > 0 there means valid."""
    attribution: str
    """The file's copyright or source tag, '' where it has none."""


def describe_scene(path: str | Path) -> Scene:
    """Read a raster's metadata.

    Raises:
        UnusableInput: missing, empty, truncated, not a raster, or of a pixel type that geoloom does not take.
    """
    with open_raster(path) as source:
        alpha = next(
            (
                i
                for i, c in zip(source.indexes, source.colorinterp, strict=True)
                if c == rasterio.enums.ColorInterp.alpha
            ),
            None,
        )
        indexes = tuple(i for i in source.indexes if i != alpha)
        if not indexes:
            raise UnusableInput(f"{path} has an alpha band and no other; a scene needs at least one band of imagery.")
        dtypes = {source.dtypes[i - 1] for i in indexes}
        if len(dtypes) > 1 or not dtypes <= set(DTYPES):
            raise UnusableInput(
                f"{path} has pixels of type {', '.join(sorted(dtypes))}; expected one of {', '.join(DTYPES)} "
                "in all bands."
            )
        flags = source.mask_flag_enums[indexes[0] - 1]
        special = {rasterio.enums.MaskFlags.alpha, rasterio.enums.MaskFlags.nodata}
        tags = source.tags()
        crs = source.crs.to_wkt() if source.crs else None
        return Scene(
            path=str(path),
            grid=GeoBox((source.height, source.width), source.transform, crs),
            bands=_band_names(source, indexes),
            indexes=indexes,
            dtype=dtypes.pop(),
            nodata=source.nodata,
            alpha=alpha,
            masked=rasterio.enums.MaskFlags.per_dataset in flags and not special & set(flags),
            attribution=tags.get("TIFFTAG_COPYRIGHT", tags.get("ATTRIBUTION", "")),
        )


def read_scene(scene: Scene, window: Window, *, bands: tuple[str, ...]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read one window.

    Args:
        scene: from `describe_scene`.
        window: rows and columns of the scene, inside it.
        bands: names of the bands wanted, in this order.

    Returns:
        image (band, y, x) in the scene's dtype, and valid (y, x): alpha or mask > 0 where there is one, else any band
        that is finite and not nodata.

    Raises:
        UnusableInput: these pixels are truncated or corrupt.
    """
    rows, _ = window
    place = rasterio.windows.Window.from_slices(*window)
    numbers = [scene.indexes[scene.bands.index(name)] for name in bands]
    with open_raster(scene.path) as source:
        try:
            image = source.read(numbers, window=place)
            if scene.alpha is not None:
                valid = np.asarray(source.read(scene.alpha, window=place) > 0, bool)
            elif scene.masked:
                valid = np.asarray(source.read_masks(numbers[0], window=place) > 0, bool)
            else:
                valid = _declared_valid(image, scene.nodata)
        except rasterio.errors.RasterioError as error:
            raise UnusableInput(
                f"{scene.path} cannot be read in rows {rows.start} to {rows.stop}: the file is truncated or corrupt; "
                "get it again."
            ) from error
    return image, valid


def read_plane(path: str | Path, window: Window) -> NDArray[Any]:
    """The first band of a raster in one window inside it, (y, x) in the file's dtype: a class raster's labels."""
    with open_raster(path) as source:
        plane: NDArray[Any] = source.read(1, window=rasterio.windows.Window.from_slices(*window))
    return plane


def _declared_valid(image: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    declared = nodata is not None and not math.isnan(nodata)
    if image.dtype.kind != "f" and not declared:
        return np.ones(image.shape[1:], bool)
    valid = np.zeros(image.shape[1:], bool)
    for plane in image:
        if image.dtype.kind != "f":
            valid |= plane != nodata
        else:
            valid |= np.isfinite(plane) & (plane != nodata) if declared else np.isfinite(plane)
        if valid.all():
            break
    return valid


@contextmanager
def open_raster(path: str | Path) -> Iterator[Any]:
    """Open a raster for reading, or say in one sentence why it cannot be.

    Raises:
        UnusableInput: missing, empty, or no raster that GDAL knows.
    """
    name = str(path)
    if not Path(name).is_file():
        raise UnusableInput(f"There is no file {name}; give the path of a raster.")
    if Path(name).stat().st_size == 0:
        raise UnusableInput(f"{name} is empty (0 bytes); get it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            source = rasterio.open(name)
    except rasterio.errors.RasterioError as error:
        raise UnusableInput(f"{name} is not a raster that GDAL can open ({_first_line(error)}).") from error
    with source:
        yield source


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


def _band_names(source: Any, indexes: tuple[int, ...]) -> tuple[str, ...]:
    """Descriptions where every band has its own, else colours, else b1, b2, ..."""
    described = tuple((source.descriptions[i - 1] or "").strip().lower() for i in indexes)
    if all(described) and len(set(described)) == len(described):
        return described
    colours = tuple(source.colorinterp[i - 1].name for i in indexes)
    if set(colours) <= {"red", "green", "blue"} and len(set(colours)) == len(colours):
        return colours
    return tuple(f"b{i}" for i in range(1, len(indexes) + 1))
