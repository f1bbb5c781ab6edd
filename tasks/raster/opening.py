"""Rasters opened: by a driver that their first bytes ask for, and following no other file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import UnusableInput, UnusableScene, first_line
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window
from tasks.raster.places import drivers_of, gdal_name, gdal_options, is_address, without_keys


@contextmanager
def open_raster(path: str | Path, *, trusted: bool = True, pixels: bool = True) -> Iterator[Any]:
    """Open a raster for reading, or say in one sentence why it cannot be.

    Args:
        path: a file or an address.
        trusted: False of a file that somebody else put here: GDAL looks at nothing but this file.
        pixels: False where it is only asked what it says of itself. Where it is not trusted and pixels are read, GDAL
            is told of no overviews, which may be other files; its transform is then of no use where it has none.

    Raises:
        UnusableInput: missing, empty, or no raster that GDAL knows.
    """
    name = str(path)
    place, told = gdal_name(name), without_keys(name)
    if not is_address(name):
        if not Path(name).is_file():
            raise UnusableInput(f"There is no file {name}; give the path of a raster.")
        if Path(name).stat().st_size == 0:
            raise UnusableScene(f"{name} is empty (0 bytes); get it again.", name)
    limits = {} if trusted or not pixels else {"OVERVIEW_LEVEL": "NONE"}
    with rasterio.Env(**gdal_options(name, trusted=trusted)):
        source, problem = None, "it begins as no GeoTIFF, PNG, JPEG or JPEG 2000"
        for driver in drivers_of(name):
            try:
                source = rasterio.open(place, driver=driver, **limits)
                break
            except rasterio.errors.RasterioError as error:
                problem = first_line(error).replace(place, told)
        if source is None:
            todo = "check the address and the network" if is_address(name) else "get it again"
            raise UnusableScene(f"{told} is not a raster that GDAL can open ({problem}); {todo}.", name)
        with source:
            if is_address(name) and "OVERVIEW_FILE" in source.tags(ns="OVERVIEWS"):
                raise UnusableScene(f"{told} names another file as its overviews, which is not followed.", name)
            yield source


class _Complaints(logging.Handler):
    """What GDAL warns of while it reads, in the thread that reads."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what says that pixels are damaged: of a JPEG in a TIFF, GDAL says no more than this."""
        if "JPEG" in (said := record.getMessage()):
            self.heard.said = said


_COMPLAINTS = _Complaints()
logging.getLogger("rasterio").addHandler(_COMPLAINTS)


@contextmanager
def refusing_damage() -> Iterator[None]:
    """Around reading pixels: damaged ones that GDAL only warns of are an error, too.

    Raises:
        RasterioIOError: they are damaged.
    """
    _COMPLAINTS.heard.said = ""
    yield
    if _COMPLAINTS.heard.said:
        raise rasterio.errors.RasterioIOError(_COMPLAINTS.heard.said)


@contextmanager
def reading(path: str | Path, window: Window, *, remedy: str) -> Iterator[None]:
    """Around reading a window's pixels.

    Raises:
        UnusableInput: they are damaged; says what to do about it.
    """
    try:
        with refusing_damage():
            yield
    except rasterio.errors.RasterioIOError as error:
        raise UnusableInput(
            f"{path} cannot be read in rows {window[0].start} to {window[0].stop}: the file is truncated or corrupt; "
            f"{remedy}."
        ) from error


def block_bytes(source: Any) -> int:
    """Bytes that must be decoded to see one pixel of an open raster: its tile or strip, of all bands."""
    rows, columns = source.block_shapes[0]
    return int(rows * columns * pixel_bytes(source))


def pixel_bytes(source: Any) -> int:
    """Bytes of one pixel of an open raster, of all bands."""
    return sum(np.dtype(kind).itemsize for kind in source.dtypes)
