"""A scene: a raster as delivered. What it says of itself, and its pixels by window."""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput, UnusableScene
from tasks.raster.gdal import rasterio
from tasks.raster.georeference import control_of, crs_of, place_of
from tasks.raster.grid import Control, Window
from tasks.raster.opening import block_bytes, open_raster, reading, refusing_damage
from tasks.raster.places import without_keys

COLOURS = ("red", "green", "blue")
LARGEST_BLOCK = 1 << 30
"""Bytes of a tile or strip, all bands together, that is decoded at once."""
_MADE_ANEW = "run 'geoloom mosaic' again"
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
    date: str
    """When it was taken, ISO 8601, as its tags say; '' where they do not."""
    placed: str | None
    """WKT of the CRS that its transform, its ground control points or its RPCs lead to; None where it lies nowhere."""
    control: Control | None
    """Its ground control points, where these place it and no transform does."""
    palette: bool
    """True where its one band is of indexes into a table of colours, and `bands` are those colours."""
    pages: int = 1
    """Pictures in its file, of which it is the first; its overviews and masks are none."""
    beside: tuple[Scene, ...] = ()
    """Other files with more of its bands, of which none has a name of this one's."""
    item: str = ""
    """The STAC item that names these files."""
    trusted: bool = True
    """False of a file that somebody else put here: whoever opens it must say so."""

    @property
    def name(self) -> str:
        """What it is called where it is written down: the item or the path, without keys to a server."""
        return without_keys(self.item or self.path)

    @property
    def files(self) -> tuple[Scene, ...]:
        """Itself and those beside it."""
        return (self, *self.beside)

    @property
    def all_bands(self) -> tuple[str, ...]:
        """The bands of all its files."""
        return tuple(band for file in self.files for band in file.bands)


def describe_scene(
    path: str | Path, *, nodata: float | None = None, crs: str | None = None, bands: int = 0, trusted: bool = True
) -> Scene:
    """Read a raster's metadata.

    Args:
        path: the raster.
        nodata: what all bands of a pixel without data have, where the file has no nodata value, alpha or mask.
        crs: what its coordinates are in, where neither the file nor a .prj beside it says so.
        bands: how many bands of imagery it has, where that is known: a fourth of uint8 is called alpha by those who
            write near infrared without a word on what it is. 0: what is called alpha is.
        trusted: see `open_raster`.

    Raises:
        UnusableInput: missing, empty, truncated, not a raster, or of a pixel type that geoloom does not take.
    """
    told = without_keys(str(path))
    with open_raster(path, trusted=trusted, pixels=False) as source:
        alpha = next(
            (
                i
                for i, c in zip(source.indexes, source.colorinterp, strict=True)
                if c == rasterio.enums.ColorInterp.alpha and bands < source.count
            ),
            None,
        )
        indexes = tuple(i for i in source.indexes if i != alpha)
        if not indexes:
            raise UnusableInput(f"{told} has an alpha band and no other; a scene needs at least one band of imagery.")
        palette = len(indexes) == 1 and source.colorinterp[indexes[0] - 1] == rasterio.enums.ColorInterp.palette
        dtypes = {source.dtypes[i - 1] for i in indexes}
        if len(dtypes) > 1 or not dtypes <= set(DTYPES):
            raise UnusableInput(
                f"{told} has pixels of type {', '.join(sorted(dtypes))}; expected one of {', '.join(DTYPES)} "
                "in all bands: convert it with 'gdal_translate -ot'."
            )
        block = block_bytes(source)
        if block > LARGEST_BLOCK:
            raise UnusableInput(
                f"{told} is stored in pieces of {block / 2**30:.1f} GB, each of which must be decoded at once; convert "
                "it with 'gdal_translate -co TILED=YES'."
            )
        flags = source.mask_flag_enums[indexes[0] - 1]
        special = {rasterio.enums.MaskFlags.alpha, rasterio.enums.MaskFlags.nodata}
        masked = rasterio.enums.MaskFlags.per_dataset in flags and not special & set(flags)
        silent = source.nodata is None and alpha is None and not masked
        kind = np.dtype(next(iter(dtypes)))
        if (
            silent
            and nodata is not None
            and kind.kind != "f"
            and not np.iinfo(kind).min <= nodata <= np.iinfo(kind).max
        ):
            raise UnusableInput(
                f"No pixel of {told}, of type {kind}, can be {nodata:g}; give a --nodata that it can hold."
            )
        tags = source.tags()
        wkt = crs_of(source, str(path), crs, trusted=trusted)
        return Scene(
            path=str(path),
            grid=GeoBox((source.height, source.width), source.transform, wkt),
            bands=COLOURS if palette else _band_names(source, indexes),
            indexes=indexes,
            dtype=dtypes.pop(),
            nodata=nodata if silent else source.nodata,
            alpha=alpha,
            masked=masked,
            attribution=tags.get("TIFFTAG_COPYRIGHT", tags.get("ATTRIBUTION", "")),
            date=_date(source),
            placed=wkt or place_of(source),
            control=control_of(source),
            palette=palette,
            pages=max(len(source.subdatasets), 1),
            trusted=trusted,
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
    with open_scene(scene) as source:
        return read_open(source, scene, window, bands=bands)


def read_open(
    source: Any, scene: Scene, window: Window, *, bands: tuple[str, ...], shape: tuple[int, int] | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The same of a scene that is open; where a shape is given, coarser, from overviews where there are any."""
    rows, _ = window
    options: dict[str, Any] = {"window": rasterio.windows.Window.from_slices(*window), "out_shape": shape}
    numbers = [1 if scene.palette else scene.indexes[scene.bands.index(name)] for name in bands]
    try:
        with refusing_damage():
            image = source.read(numbers[:1] if scene.palette else numbers, **options)
        if scene.alpha is not None:
            valid = np.asarray(source.read(scene.alpha, **options) > 0, bool)
        elif scene.masked:
            valid = np.asarray(source.read_masks(numbers[0], **options) > 0, bool)
        else:
            valid = _declared_valid(image, scene.nodata)
        if scene.palette:
            colours = _palette(source)
            valid &= colours[image[0], -1] > 0
            image = np.stack([colours[image[0], COLOURS.index(name)] for name in bands])
    except rasterio.errors.RasterioError as error:
        raise UnusableScene(
            f"{scene.name} cannot be read in rows {rows.start} to {rows.stop}: the file is truncated or corrupt; "
            "get it again.",
            scene.path,
        ) from error
    return image, valid


def _palette(source: Any) -> NDArray[np.uint8]:
    """Red, green, blue and alpha of every index."""
    table = source.colormap(1)
    colours = np.zeros((1 << 8 * np.dtype(source.dtypes[0]).itemsize, len(COLOURS) + 1), np.uint8)
    for index, colour in table.items():
        colours[index] = colour
    return colours


def _date(source: Any) -> str:
    said = source.tags(ns="IMAGERY").get("ACQUISITIONDATETIME") or source.tags().get("TIFFTAG_DATETIME", "")
    numbers = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)(?:[ T](\d\d:\d\d:\d\d))?", said.strip())
    if numbers is None:
        return ""
    year, month, day, clock = numbers.groups()
    try:
        return datetime.fromisoformat(f"{year}-{month}-{day}T{clock or '00:00:00'}").isoformat()
    except ValueError:  # 0000:00:00 00:00:00, as cameras write that have no clock
        return ""


def read_plane(path: str | Path, window: Window) -> NDArray[Any]:
    """The first band of a product in one window inside it, (y, x) in the file's dtype: a class raster's labels.

    Raises:
        UnusableInput: it is damaged.
    """
    with open_raster(path) as source, reading(path, window, remedy=_MADE_ANEW):
        plane: NDArray[Any] = source.read(1, window=rasterio.windows.Window.from_slices(*window))
    return plane


def read_planes(path: str | Path, window: Window) -> NDArray[Any]:
    """All bands of a product in one window inside it, (band, y, x) in the file's dtype.

    Raises:
        UnusableInput: it is damaged.
    """
    with open_raster(path) as source, reading(path, window, remedy=_MADE_ANEW):
        planes: NDArray[Any] = source.read(window=rasterio.windows.Window.from_slices(*window))
    return planes


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


def open_scene(scene: Scene) -> AbstractContextManager[Any]:
    """Open a scene for reading; see `open_raster`."""
    return open_raster(scene.path, trusted=scene.trusted)


def _band_names(source: Any, indexes: tuple[int, ...]) -> tuple[str, ...]:
    """Descriptions where every band has its own, else colours, else b1, b2, ..."""
    described = tuple((source.descriptions[i - 1] or "").strip().lower() for i in indexes)
    if all(described) and len(set(described)) == len(described):
        return described
    colours = tuple(source.colorinterp[i - 1].name for i in indexes)
    if set(colours) <= set(COLOURS) and len(set(colours)) == len(colours):
        return colours
    return tuple(f"b{i}" for i in range(1, len(indexes) + 1))
