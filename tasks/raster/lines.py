"""Pixels beside lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window, shape_of, within


@dataclass(frozen=True, slots=True)
class Beside:
    """Of each pixel of a window, the nearest line."""

    number: NDArray[np.intp]
    """(y, x) its place among the lines."""
    away: NDArray[np.float32]
    """(y, x) pixels from it."""


def beside(lines: Sequence[shapely.Geometry] | NDArray[np.object_], window: Window, *, reach: int) -> Beside | None:
    """How far the pixels of a window lie from lines.

    Args:
        lines: in pixels of the grid, from the upper left corner of its first pixel; where two cross, the later counts.
        window: of the grid.
        reach: pixels around the window in which lines are looked for, so that no pixel can tell where windows end.

    Returns:
        None where there is no line.
    """
    rows, cols = window
    around = (slice(rows.start - reach, rows.stop + reach), slice(cols.start - reach, cols.stop + reach))
    moved = shapely.transform(np.asarray(lines, object), lambda xy: xy - [around[1].start, around[0].start])
    numbered = [(line, number) for number, line in enumerate(moved, 1)]
    drawn: NDArray[np.uint32] = rasterio.features.rasterize(numbered, out_shape=shape_of(around), dtype="uint32")
    if not drawn.any():
        return None
    away, place = ndimage.distance_transform_edt(drawn == 0, return_indices=True)
    own = within(window, around)
    return Beside(drawn[tuple(place)][own].astype(np.intp) - 1, away[own].astype(np.float32))


def widen(geometry: shapely.Geometry, width: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a window whose centre lies within half a width of a line or polygon, (y, x) bool."""
    area = geometry.buffer(width / 2)
    burnt: NDArray[np.uint8] = rasterio.features.rasterize([(area, 1)], out_shape=shape, dtype="uint8")
    return burnt > 0
