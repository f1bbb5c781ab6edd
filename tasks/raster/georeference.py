"""What an open raster says of where it lies: a CRS and a transform, ground control points, or RPCs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from infra.errors import UnusableInput, UnusableScene
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Control
from tasks.raster.places import is_address, without_keys

FEWEST_POINTS = 3
"""Ground control points from which a place follows."""


def control_of(source: Any) -> Control | None:
    """Its ground control points, where they and nothing else place it."""
    points, crs = source.gcps
    if source.crs is not None or len(points) < FEWEST_POINTS or crs is None:
        return None
    return Control(crs.to_wkt(), tuple((p.row, p.col, p.x, p.y, p.z or 0.0) for p in points))


def place_of(source: Any) -> str | None:
    """The CRS that ground control points or RPCs lead to."""
    points, crs = source.gcps
    if not (points and crs is not None):
        crs = rasterio.crs.CRS.from_epsg(4326) if source.rpcs is not None else None
    return None if crs is None else str(crs.to_wkt())


def crs_of(source: Any, path: str, assumed: str | None, *, trusted: bool) -> str | None:
    """The CRS that the transform leads to: the file's own, or of one with a transform alone what is said beside it."""
    place = source.transform
    if not all(map(math.isfinite, place)) or not place.determinant:
        told = without_keys(path)
        raise UnusableScene(
            f"{told} has a transform that leads nowhere ({list(place)[:6]}); mend its world file.", path
        )
    if source.crs is not None:
        own: str = source.crs.to_wkt()
        return own
    if place.is_identity or source.gcps[0] or source.rpcs:
        return None
    beside = Path(path).with_suffix(".prj")
    said = beside.read_text(errors="replace") if trusted and not is_address(path) and beside.is_file() else assumed
    return None if said is None else str(named_crs(said).to_wkt())


def named_crs(said: str) -> Any:
    """The CRS that a user's words mean.

    Raises:
        UnusableInput: none.
    """
    try:
        with rasterio.Env():  # PROJ's own words go to the log, and not past us to the terminal
            return rasterio.crs.CRS.from_user_input(said)
    except rasterio.errors.CRSError as error:
        raise UnusableInput(
            f"'{said[:80]}' is no CRS that PROJ knows; give a code such as EPSG:32616, or WKT."
        ) from error
