"""From pixels to the ground: where they lie, and how many metres a step among them is."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage
from scipy.interpolate import RegularGridInterpolator

from tasks.raster.gdal import rasterio
from tasks.raster.grid import Control

EARTH = 6.378e6
"""Metres; a CRS whose ellipsoid is much larger or smaller is of another body."""
NET = 17
"""Places along each side of the scene at which metres are measured; between them they are interpolated."""


def is_on_earth(crs: pyproj.CRS | None) -> bool:
    """Whether places of a CRS can be told in degrees of WGS 84: it is no local one, and of no other body."""
    if crs is None or crs.ellipsoid is None or crs.is_engineering:
        return False
    return abs(crs.ellipsoid.semi_major_metre - EARTH) < EARTH / 100


class Ground:
    """The ground under a grid.

    Metres are measured on the ellipsoid (pyproj's `Geod`): web Mercator's square metre at 60° north is a quarter.
    Where there is neither CRS nor ground control points, places are columns and rows (or what the transform makes of
    them), and a pixel is one unit.

    Args:
        grid: the scene's.
        control: its ground control points, where it has no CRS.
    """

    def __init__(self, grid: GeoBox, control: Control | None) -> None:
        self._grid, self._control = grid, control
        wkt = control.crs if control else grid.crs.wkt if grid.crs else None
        self.crs = None if wkt is None else pyproj.CRS(wkt)
        """None where places are columns and rows."""
        self.on_earth = is_on_earth(self.crs)
        """Whether places can be told in degrees of WGS 84."""
        self._metric = None if self.crs is None else self._measured(self.crs)

    @property
    def unit(self) -> str:
        """What lengths are in: m, or px."""
        return "px" if self.crs is None else "m"

    def place(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns and rows (n, 2) as coordinates x, y of the CRS."""
        if self._control is not None:
            points = [rasterio.control.GroundControlPoint(*point) for point in self._control.points]
            with rasterio.transform.GCPTransformer(points) as transformer:
                xs, ys = transformer.xy(pixels[:, 1], pixels[:, 0], offset="ul")
            return np.stack([np.asarray(xs, np.float64), np.asarray(ys, np.float64)], axis=1)
        if self.crs is None and self._grid.affine == Affine.identity():
            return pixels
        xs, ys = self._grid.affine @ (pixels[:, 0], pixels[:, 1])  # type: ignore[operator]
        return np.stack([xs, ys], axis=1)

    def areas(self, outlines: NDArray[np.object_]) -> NDArray[np.float64]:
        """Of polygons in columns and rows, in square metres (pixels)."""
        areas: NDArray[np.float64] = shapely.area(outlines)
        if self._metric is None or not len(outlines):
            return areas
        centres = shapely.get_coordinates(shapely.centroid(outlines))
        return areas * self.pixel(centres) ** 2

    def lengths(self, lines: NDArray[np.object_]) -> NDArray[np.float64]:
        """Of lines in columns and rows, in metres (pixels)."""
        if not len(lines):
            return np.zeros(0)
        places, line = shapely.get_coordinates(lines, return_index=True)
        ways, same = np.diff(places, axis=0), np.diff(line) == 0
        across, both, down = self.metric((places[1:] + places[:-1]) / 2).T
        columns, rows = ways.T
        squares = across * columns**2 + 2 * both * columns * rows + down * rows**2
        each = np.sqrt(squares[same].clip(min=0))
        return np.bincount(line[1:][same], weights=each, minlength=len(lines)).astype(np.float64)

    def metric(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3): square metres of a column, of column by row, and of a row, at columns and rows (n, 2).

        The first fundamental form of the surface: a way of c columns and r rows is sqrt(E c² + 2 F c r + G r²) long.
        It is as smooth around a pole as elsewhere, where east and north turn.
        """
        if self._metric is None:
            return np.broadcast_to(np.array([1.0, 0.0, 1.0]), (len(pixels), 3))
        found: NDArray[np.float64] = self._metric(pixels[:, ::-1])
        return found

    def pixel(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,): the side in metres of a square as large as a pixel, at columns and rows (n, 2)."""
        across, both, down = self.metric(pixels).T
        sides: NDArray[np.float64] = (across * down - both**2).clip(min=0) ** 0.25
        return sides

    @property
    def middle(self) -> NDArray[np.float64]:
        """Column and row of the scene's middle, (1, 2)."""
        rows, columns = self._grid.shape
        return np.array([[columns / 2, rows / 2]])

    def aspect(self, pixels: NDArray[np.float64]) -> float:
        """Ground width of a pixel by its height, at a column and row (1, 2)."""
        across, _, down = self.metric(pixels)[0]
        return float(np.sqrt(across / down))

    def _measured(self, crs: pyproj.CRS) -> RegularGridInterpolator:
        """The metric at a net of places, each measured from half a pixel before it to half a pixel behind."""
        rows, columns = self._grid.shape
        sides = [np.linspace(0.5, n - 0.5, NET if n > 1 else 1) for n in (rows, columns)]
        row, col = (a.ravel() for a in np.meshgrid(*sides, indexing="ij"))
        geod = crs.get_geod()
        degrees: pyproj.Transformer | None = None
        if geod is not None and crs.geodetic_crs is not None and not crs.is_engineering:
            degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        factor = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0

        def length(columns: float, rows: float) -> NDArray[np.float64]:
            """Metres of a way of so many columns and rows, its middle at each place."""
            begin, end = (self.place(np.stack([col + s * columns, row + s * rows], axis=1)) for s in (-0.5, 0.5))
            if degrees is None or geod is None:
                found: NDArray[np.float64] = np.hypot(*(end - begin).T) * factor
            else:
                found = geod.inv(*degrees.transform(*begin.T), *degrees.transform(*end.T))[2]
            return found

        across, down, diagonal = length(1, 0) ** 2, length(0, 1) ** 2, length(1, 1) ** 2
        metric = np.stack([across, (diagonal - across - down) / 2, down], axis=1)
        metric = metric.reshape(len(sides[0]), len(sides[1]), 3)
        sides = [side if len(side) > 1 else np.array([side[0] - 0.5, side[0] + 0.5]) for side in sides]
        metric = np.broadcast_to(metric, (len(sides[0]), len(sides[1]), 3)).copy()
        lost = ~np.isfinite(metric).all(axis=2)
        if lost.any() and not lost.all():  # beyond what the projection reaches: as at the nearest place within
            nearest = ndimage.distance_transform_edt(lost, return_distances=False, return_indices=True)
            metric = metric[tuple(nearest)]
        return RegularGridInterpolator(sides, metric, bounds_error=False, fill_value=None)
