"""Where windows of several scenes lie on the ground, in one plane, and which scenes hold the same place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from tasks.raster.globe import HALF, on_globe
from tasks.raster.grid import Control
from tasks.raster.ground import Ground

DEGREES = pyproj.CRS("OGC:CRS84")
"""Longitude and latitude, where scenes have different CRS."""
EDGE = 33
"""Places along each side of a scene's outline: a straight line in one CRS is none in another."""
SLIVER = 1e-6
"""Share of the smaller outline below which two that meet do not overlap: what rounding leaves along a common edge."""


@dataclass(frozen=True, slots=True)
class Plane:
    """What the outlines of several grids are drawn in: their common CRS, else degrees."""

    grounds: tuple[Ground, ...]
    crs: pyproj.CRS | None
    """None where no grid has a place on Earth."""

    @classmethod
    def of(cls, grids: Sequence[tuple[GeoBox, Control | None]]) -> Plane:
        """The plane of grids, each with its ground control points where it has no CRS."""
        grounds = tuple(Ground(grid, control) for grid, control in grids)
        found = [ground.crs for ground in grounds if ground.on_earth]
        crs = None if not found else found[0] if all(c == found[0] for c in found) else DEGREES
        return cls(grounds, crs)

    def outlines(self, number: int, boxes: NDArray[np.float64], *, edge: int = 2) -> NDArray[np.object_]:
        """Polygons of boxes (n, 4) first column, first row, last column, last row; None for a grid without a place.

        Args:
            number: of the grid.
            boxes: in its pixels.
            edge: places along each side.
        """
        ground = self.grounds[number]
        if self.crs is None or not ground.on_earth:
            return np.full(len(boxes), None, object)
        along = np.linspace(0, 1, edge)[:-1]
        none, one = np.zeros_like(along), np.ones_like(along)
        x = np.concatenate([along, one, 1 - along, none])
        y = np.concatenate([none, along, one, 1 - along])
        left, top, right, bottom = boxes.T[..., None]
        rings = np.stack([left + x * (right - left), top + y * (bottom - top)], axis=-1)  # (n, ring, 2)
        places = ground.place(rings.reshape(-1, 2))
        assert ground.crs is not None
        return brought(shapely.polygons(places.reshape(rings.shape)), ground.crs, self.crs)


def brought(outlines: NDArray[np.object_], crs: pyproj.CRS, plane: pyproj.CRS) -> NDArray[np.object_]:
    """Outlines in a plane's CRS; polygons that cross the antimeridian are cut there."""
    if crs == plane:
        return outlines
    there = pyproj.Transformer.from_crs(crs, plane, always_xy=True)
    found: NDArray[np.object_] = shapely.transform(outlines, lambda xy: np.stack(there.transform(*xy.T), axis=1))
    if plane.is_geographic:
        west, _, east, _ = shapely.bounds(found).T
        for n in np.flatnonzero(east - west > HALF):
            if found[n].geom_type == "Polygon":
                found[n] = on_globe(shapely.get_coordinates(found[n])[:-1])
    return found


def overlapping(some: NDArray[np.object_], others: NDArray[np.object_]) -> NDArray[np.int64]:
    """Numbers (2, pair) of the outlines of both that share area; None takes no part."""
    first, second = shapely.STRtree(others).query(some, predicate="intersects")
    shared = shapely.area(shapely.intersection(some[first], others[second]))
    least = np.minimum(shapely.area(some[first]), shapely.area(others[second]))
    found: NDArray[np.int64] = np.stack([first, second])[:, shared > SLIVER * least]
    return found


def joined(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """(count,) the number of the set that each thing belongs to, where pairs belong together; in order of the first."""
    of = list(range(count))

    def root(n: int) -> int:
        while of[n] != n:
            of[n] = of[of[n]]
            n = of[n]
        return n

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        of[high] = low
    return np.unique([root(n) for n in range(count)], return_inverse=True)[1].astype(np.int64)
