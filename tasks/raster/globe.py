"""Outlines on the globe as GeoJSON wants them (RFC 7946): cut at the antimeridian, whole at a pole."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity

HALF, WHOLE = 180.0, 360.0


def on_globe(places: NDArray[np.float64]) -> shapely.Polygon | shapely.MultiPolygon:
    """The area within a ring of longitudes and latitudes (n, 2), its neighbours less than half the globe apart."""
    turns = (np.diff(places[:, 0], append=places[0, 0]) + HALF) % WHOLE - HALF
    east = places[0, 0] + np.concatenate([[0], np.cumsum(turns)])
    north = np.append(places[:, 1], places[0, 1])
    if abs(east[-1] - east[0]) > HALF:  # once around the globe: a pole is within
        pole = np.copysign(90.0, places[:, 1].mean())
        ring = [*zip(east, north, strict=True), (east[-1], pole), (east[0], pole)]
    else:
        ring = list(zip(east, north, strict=True))
    area = shapely.make_valid(shapely.Polygon(ring))
    globe = shapely.box(-HALF, -90, HALF, 90)
    found = shapely.union_all([affinity.translate(area, shift) & globe for shift in (-WHOLE, 0.0, WHOLE)])
    parts = [shapely.geometry.polygon.orient(p) for p in shapely.get_parts(found) if p.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def bounds_on_globe(outline: shapely.Polygon | shapely.MultiPolygon) -> list[float]:
    """West, south, east, north; west is the larger where the outline crosses the antimeridian."""
    west, south, east, north = outline.bounds
    parts = [part.bounds for part in shapely.get_parts(outline)]
    left = [part for part in parts if part[0] == -HALF]
    right = [part for part in parts if part[2] == HALF]
    if left and right and not any(part[0] == -HALF and part[2] == HALF for part in parts):
        west, east = min(part[0] for part in right), max(part[2] for part in left)
    return [west, south, east, north]
