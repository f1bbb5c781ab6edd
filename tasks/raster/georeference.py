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
    points, control = source.gcps
    wkt: str | None = None
    if points and control is not None:
        wkt = control.to_wkt()
    elif source.rpcs is not None:
        wkt = rasterio.crs.CRS.from_epsg(4326).to_wkt()
    return wkt


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
    if said is None:
        return None
    try:
        return str(rasterio.crs.CRS.from_user_input(said).to_wkt())
    except rasterio.errors.CRSError as error:
        raise UnusableInput(f"'{said[:80]}' is no CRS that PROJ knows; give a code such as EPSG:32616.") from error
