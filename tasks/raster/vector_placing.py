"""Vectors onto a grid: where in a file to look, its coordinates as pixels, and shapes that are valid."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.features import LINES, POLYGONS, are_lines, are_polygons
from tasks.raster.grid import Bounds, bounds_in, whole

SLACK = 0.01
"""What is read around the scene, as a share of its sides: a side that is straight here is bent in another CRS."""


def near_boxes(grid: GeoBox, path: str, crs: pyproj.CRS | None) -> list[Bounds] | None:
    """Boxes in a file's CRS around the scene: two where it lies across the antimeridian."""
    if grid.crs is None:
        rows, cols = whole(grid)
        corners = [grid.affine @ corner for corner in ((0, 0), (cols.stop, 0), (0, rows.stop), (cols.stop, rows.stop))]
        x, y = zip(*corners, strict=True)
        return [(min(x), min(y), max(x), max(y))]
    if crs is None:
        raise UnusableInput(
            f"{path} has no CRS and the scene has one; say what its coordinates are in with --assume-crs."
        )
    left, bottom, right, top = bounds_in(grid, crs)
    if not np.isfinite([left, bottom, right, top]).all():
        return None
    spans = [(left, right)] if left <= right else [(left, 180.0), (-180.0, right)]
    rise = SLACK * (top - bottom)
    return [(low - SLACK * (high - low), bottom - rise, high + SLACK * (high - low), top + rise) for low, high in spans]


def meeting(geometry: NDArray[np.object_], box: Bounds) -> NDArray[np.bool_]:
    """Which geometries meet a box: most are seen by their bounds to lie inside or outside."""
    left, bottom, right, top = box
    low_x, low_y, high_x, high_y = shapely.bounds(geometry).T  # NaN, which is not less than anything, where it is empty
    found: NDArray[np.bool_] = (low_x <= right) & (high_x >= left) & (low_y <= top) & (high_y >= bottom)
    inside = (low_x >= left) & (high_x <= right) & (low_y >= bottom) & (high_y <= top)
    edge = np.flatnonzero(found & ~inside)
    found[edge] = shapely.intersects(geometry[edge], shapely.box(*box))
    return found


def to_pixels(geometry: NDArray[np.object_], crs: pyproj.CRS | None, grid: GeoBox) -> NDArray[np.object_]:
    """Geometries in a file's CRS in pixel coordinates of a grid; infinite where a place has none."""
    inverse = ~grid.affine
    there = None
    if grid.crs is not None and crs != (own := pyproj.CRS(grid.crs.wkt)):
        there = pyproj.Transformer.from_crs(crs, own, always_xy=True)

    def place(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = xy.T if there is None else there.transform(*xy.T)
        return np.column_stack(inverse @ (x, y))

    found: NDArray[np.object_] = shapely.transform(geometry, place)  # heights are left behind
    return found


def mended(geometry: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Valid geometries of the same kind, None where none is left; and which of them were not valid."""
    broken = ~shapely.is_valid(geometry)
    polygons = are_polygons(geometry)
    made = geometry.copy()
    made[broken] = shapely.make_valid(geometry[broken])
    kept = np.where(polygons, are_polygons(made), are_lines(made))
    for number in np.flatnonzero(broken & ~kept):
        made[number] = _of_kind(made[number], POLYGONS if polygons[number] else LINES)
    return made, broken


def _of_kind(geometry: shapely.Geometry, kinds: Collection[int]) -> shapely.Geometry | None:
    """The parts of a collection that are of some types, as one geometry; None where there are none."""
    parts = [geometry]
    while any(shapely.get_type_id(part) == shapely.GeometryType.GEOMETRYCOLLECTION for part in parts):
        parts = [inner for part in parts for inner in shapely.get_parts(part)]
    kept = [part for part in parts if shapely.get_type_id(part) in kinds]
    return shapely.union_all(kept) if kept else None
