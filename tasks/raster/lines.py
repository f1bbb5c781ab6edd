"""Lines cut into pieces that fit a window, with the areas around them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
import shapely.ops
from numpy.typing import NDArray

from tasks.raster.gdal import rasterio


@dataclass(frozen=True, slots=True)
class Piece:
    """A short piece of a line in pixel coordinates of a window."""

    line: shapely.LineString
    points: NDArray[np.float64]
    """(k, 2) x, y along it, evenly spaced, both ends left out where it has a middle."""


def cut_line(line: shapely.Geometry, shape: tuple[int, int], *, length: float, spacing: float) -> list[Piece]:
    """Cut a line at a window's edges and into pieces of about equal length.

    Args:
        line: LineString or MultiLineString in pixel coordinates of the window.
        shape: rows and columns of the window.
        length: of the longest piece, pixels.
        spacing: of the points on it, pixels.
    """
    inside = shapely.intersection(line, shapely.box(0, 0, shape[1], shape[0]))
    pieces = []
    for part in shapely.get_parts(inside):
        if part.geom_type != "LineString" or part.length == 0:
            continue
        count = int(np.ceil(part.length / length))
        ends = np.linspace(0, part.length, count + 1)
        for begin, end in pairwise(ends):
            steps = max(1, round((end - begin) / spacing))
            places = begin + (np.arange(steps) + 0.5) / steps * (end - begin)
            points = shapely.get_coordinates(shapely.line_interpolate_point(part, places))
            pieces.append(Piece(shapely.ops.substring(part, begin, end), points))
    return pieces


def widen(geometry: shapely.Geometry, width: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a window whose centre lies within half a width of a line or polygon, (y, x) bool."""
    area = geometry.buffer(width / 2)
    burnt: NDArray[np.uint8] = rasterio.features.rasterize([(area, 1)], out_shape=shape, dtype="uint8")
    return burnt > 0
