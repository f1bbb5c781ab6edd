"""The grid, always whole: an odc-geo `GeoBox` (CRS, transform and shape), and what is asked of one.

The CRS may be None: everything then works in pixel space. Windows are (rows, cols), two slices of non-negative pixel
indices, rows counted downwards from the grid's first row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyproj
from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput

Window = tuple[slice, slice]
Bounds = tuple[float, float, float, float]

SAME = 0.01
"""Pixels within which two places are the same."""


@dataclass(frozen=True, slots=True)
class Control:
    """Ground control points: where some of a grid's places lie, for one that has no transform."""

    crs: str
    """WKT."""
    points: tuple[tuple[float, float, float, float, float], ...]
    """Row, column, x, y, z of each; row and column count from the corner of the first pixel."""

    def moved(self, rows: int, cols: int) -> Control:
        """The same points on a grid whose first pixel lies so many rows and columns before."""
        return Control(self.crs, tuple((r + rows, c + cols, *place) for r, c, *place in self.points))  # type: ignore[misc]


def to_json(grid: GeoBox) -> dict[str, Any]:
    """The grid as plain JSON: `crs` (WKT or null), `transform` (six numbers, a b c d e f), `shape` (rows, columns)."""
    return {
        "crs": grid.crs.wkt if grid.crs else None,
        "transform": list(grid.affine)[:6],
        "shape": list(grid.shape),
    }


def from_json(document: dict[str, Any]) -> GeoBox:
    """The grid that `to_json` wrote."""
    return GeoBox(tuple(document["shape"]), Affine(*document["transform"]), document["crs"])


def shape_of(window: Window) -> tuple[int, int]:
    """Rows and columns of a window."""
    return window[0].stop - window[0].start, window[1].stop - window[1].start


def grown(window: Window, reach: int) -> Window:
    """A window with so many pixels more at each side, but for what would lie before row or column 0."""
    rows, cols = (slice(max(s.start - reach, 0), s.stop + reach) for s in window)
    return rows, cols


def crop_to(window: Window, shape: tuple[int, int]) -> Window:
    """The part of a window that lies within a shape."""
    rows, cols = (slice(max(s.start, 0), min(s.stop, length)) for s, length in zip(window, shape, strict=True))
    return rows, cols


def crop(grid: GeoBox, window: Window) -> GeoBox:
    """The grid of one window."""
    rows, cols = window
    return GeoBox(shape_of(window), grid.affine @ Affine.translation(cols.start, rows.start), grid.crs)


def whole(grid: GeoBox) -> Window:
    """The window of all pixels."""
    return slice(0, grid.shape[0]), slice(0, grid.shape[1])


def within(window: Window, around: Window) -> Window:
    """A window as counted from the first pixel of one around it."""
    rows, cols = (slice(w.start - a.start, w.stop - a.start) for w, a in zip(window, around, strict=True))
    return rows, cols


def windows(shape: tuple[int, int], size: int) -> Iterator[Window]:
    """Squares of `size` that cover a shape, row by row; those at the far edges are cut."""
    for top in range(0, shape[0], size):
        for left in range(0, shape[1], size):
            yield slice(top, min(top + size, shape[0])), slice(left, min(left + size, shape[1]))


def window_of(grid: GeoBox, bounds: Bounds, *, beyond: bool = False) -> Window:
    """The pixels whose area meets bounds in the grid's coordinates (columns and rows where it has no CRS).

    Args:
        grid: any grid with an invertible transform.
        bounds: x0, y0, x1, y1, in any order.
        beyond: keep what of the bounds lies outside the grid; starts may then be negative.

    Raises:
        UnusableInput: none of them lies on the grid.
    """
    x0, y0, x1, y1 = bounds
    corners = [~grid.affine @ corner for corner in ((x0, y0), (x1, y0), (x0, y1), (x1, y1))]
    spans, misses = [], False
    for axis, length in ((1, grid.shape[0]), (0, grid.shape[1])):
        places = [corner[axis] for corner in corners]
        # A thousandth of a pixel absorbs the rounding of coordinates printed in decimal.
        low, high = math.floor(min(places) + 1e-3), math.ceil(max(places) - 1e-3)
        inside = slice(max(low, 0), min(high, length))
        misses |= inside.stop <= inside.start
        spans.append(slice(low, high) if beyond else inside)
    if misses:
        raise UnusableInput(
            f"The bounds {x0:.12g} {y0:.12g} {x1:.12g} {y1:.12g} do not meet the scene, which spans "
            f"{describe_extent(grid)}."
        )
    return spans[0], spans[1]


def describe_extent(grid: GeoBox) -> str:
    """The grid's extent for a message: `x 0 to 500, y 0 to 300 (no CRS: pixels)`."""
    height, width = grid.shape
    corners = [grid.affine @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    where = (
        f"EPSG:{grid.crs.epsg}" if grid.crs and grid.crs.epsg else ("a custom CRS" if grid.crs else "no CRS: pixels")
    )
    return f"x {min(xs):.12g} to {max(xs):.12g}, y {min(ys):.12g} to {max(ys):.12g} ({where})"


def bounds_in(grid: GeoBox, crs: Any) -> Bounds:
    """The bounds of a grid that has a CRS in another one; infinite where they cannot be brought there.

    Args:
        grid: any grid with a CRS.
        crs: anything that pyproj takes.
    """
    assert grid.crs is not None
    there = pyproj.Transformer.from_crs(grid.crs.wkt, crs, always_xy=True)
    bounds: Bounds = there.transform_bounds(*grid.extent.boundingbox.bbox)
    return bounds


def ground_resolution(grid: GeoBox) -> float | None:
    """Ground metres a pixel at the grid's centre, the geometric mean of both axes; None where there is no CRS.

    Measured on the ellipsoid (pyproj's `Geod`): a pixel of web Mercator at 60° north covers half the ground that its
    coordinates say. A CRS that cannot be brought there (a local one) counts in its own unit.
    """
    if grid.crs is None:
        return None
    crs = pyproj.CRS(grid.crs.wkt)
    row, col = grid.shape[0] / 2, grid.shape[1] / 2
    centre, right, below = (grid.affine @ p for p in ((col, row), (col + 1, row), (col, row + 1)))
    geod = crs.get_geod()
    if geod is not None and crs.geodetic_crs is not None:
        degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        origin, *ends = (degrees.transform(*p) for p in (centre, right, below))
        across, down = (geod.inv(*origin, *end)[2] for end in ends)
        if math.isfinite(across * down):
            return math.sqrt(across * down)
    factor = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    return factor * math.sqrt(math.dist(centre, right) * math.dist(centre, below))


def same_place(one: GeoBox, other: GeoBox) -> bool:
    """True where two grids have the same CRS, shape and transform, the last to a hundredth of a pixel."""
    if one.shape != other.shape or (one.crs is None) != (other.crs is None):
        return False
    if one.crs is not None and one.crs != other.crs:
        return False
    height, width = one.shape
    corners = ((0, 0), (width, 0), (0, height), (width, height))
    moved = [~one.affine @ (other.affine @ corner) for corner in corners]
    return all(math.dist(a, b) < SAME for a, b in zip(moved, corners, strict=True))
