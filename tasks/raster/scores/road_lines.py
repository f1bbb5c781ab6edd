"""Centre lines of a road mask, window by window, as lines of the whole scene."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from tasks.raster.blend import TOP
from tasks.raster.centre_lines import REACH, walk_block
from tasks.raster.grid import Window
from tasks.raster.network import Network

__all__ = ["REACH", "RoadLines"]


class RoadLines:
    """Takes the windows of a scene in reading order; a mask of truth and one of a map are drawn in the same way."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._network = Network(shape[1])
        self._lines: list[shapely.LineString] = []

    def add(self, window: Window, around: Window, road: NDArray[np.bool_]) -> None:
        """Take the next window.

        Args:
            window: what is drawn.
            around: `REACH` pixels more at each side, as far as the scene goes.
            road: (y, x) of what lies around.
        """
        walks = walk_block(road, road.astype(np.uint8) * np.uint8(TOP), around, window, shape=self._shape)
        self._lines += [edge.line for edge in self._network.add(walks)[0]]

    def lines(self) -> list[shapely.LineString]:
        """All lines, in columns and rows; called once, after the last window."""
        self._lines += [edge.line for edge in self._network.end()[0]]
        return self._lines
