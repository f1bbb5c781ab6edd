"""Areas around the polygons of a map, which lie only roughly where the things are.

A pixel is of a polygon's thing where SAM's mask of the polygon's box, what the polygon's class looks like in this scene
(`tasks/scene_look.py`) and the distance from the polygon together say so. SAM alone takes a yard for its house, or the
roof's sunny half; what houses of the scene have in common corrects it (`benchmarks/labels.py` measures it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from models.sam_prompts import segment_boxes
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window, shape_of, within
from tasks.raster.vectors import Shapes
from tasks.scene_look import Lesson, Sight, lesson

ON, OFF, FAR, FARTHEST = -0.15, 0.2, 1.2, 256
"""Sides from a polygon's edge (a side is the root of its area): deeper than the first is taught as its class, from the
second to the third, and at most so many pixels, as none."""
REACH, WIDEST = 0.3, 64
"""Sides, and at most pixels, from a polygon within which its thing lies."""
SLOPE = 2.0
"""The logit falls by so much every side outside the polygon."""
SURE = 9.0
"""Where SAM's logits are cut."""


@dataclass(frozen=True, slots=True)
class Around:
    """A polygon and what lies around it in a window."""

    patch: Window
    """In pixels of the window."""
    away: NDArray[np.float32]
    """(y, x) of the patch: sides from the polygon's edge, less than 0 inside, where none is longer than `FARTHEST`."""
    reach: float
    """Sides within which all pixels are in the patch."""


def around(polygon: shapely.Geometry, place: Window, sides: float, *, most: int) -> Around | None:
    """How far the pixels of a window lie from a polygon; None where none is near.

    Args:
        polygon: in pixels of the grid.
        place: the window.
        sides: how far is near, where the root of the polygon's area is a side.
        most: pixels, beyond which nothing is near.
    """
    side = max(float(np.sqrt(polygon.area)), 1.0)
    near = min(sides * side, most)
    reach = int(near) + 1
    x0, y0, x1, y1 = polygon.bounds
    box = (slice(int(y0) - reach, int(np.ceil(y1)) + reach), slice(int(x0) - reach, int(np.ceil(x1)) + reach))
    patch = _meet(box, place)
    if 0 in shape_of(patch):
        return None
    rows, cols = (slice(s.start - reach, s.stop + reach) for s in patch)  # what is nearest may lie outside the window
    seen = _meet(box, (rows, cols))
    moved = shapely.transform(polygon, lambda xy: xy - [seen[1].start, seen[0].start])
    drawn: NDArray[np.uint8] = rasterio.features.rasterize([(moved, 1)], out_shape=shape_of(seen), dtype="uint8")
    if not drawn.any():  # it lies outside, or between the middles of pixels
        drawn = rasterio.features.rasterize([(moved, 1)], out_shape=shape_of(seen), dtype="uint8", all_touched=True)
    if not drawn.any():
        return None
    depth = ndimage.distance_transform_edt(np.pad(drawn, 1))[1:-1, 1:-1]
    # Inside, no side is longer than what is seen around a window: of a forest some pixels are deep.
    away = np.where(drawn > 0, -depth * (side / min(side, FARTHEST)), ndimage.distance_transform_edt(drawn == 0))
    sides_away: NDArray[np.float32] = (away[within(patch, seen)] / side).astype(np.float32)
    return Around(within(patch, place), sides_away, near / side)


def _meet(one: Window, other: Window) -> Window:
    """What two windows share; of no rows or columns where they do not meet."""
    rows, cols = (
        slice(max(a.start, b.start), max(min(a.stop, b.stop), a.start, b.start))
        for a, b in zip(one, other, strict=True)
    )
    return rows, cols


class Areas:
    """The polygons of one class of a scene."""

    def __init__(self, shapes: Shapes, klass: int) -> None:
        """Take those of a class out of a scene's vectors."""
        self.klass = klass
        self._polygons = shapes.geometry[(shapes.width == 0) & (shapes.label == klass)]
        self.tree = shapely.STRtree(self._polygons)

    def boxes(self, place: Window) -> NDArray[np.float64]:
        """(n, 4) x0, y0, x1, y1 of those that meet a window, in its pixels."""
        rows, cols = place
        here = self.tree.query(shapely.box(cols.start, rows.start, cols.stop, rows.stop), predicate="intersects")
        found: NDArray[np.float64] = shapely.bounds(self._polygons[np.sort(here)])
        return found - [cols.start, rows.start, cols.start, rows.start]

    def away(self, place: Window) -> NDArray[np.float32]:
        """(y, x) sides from the polygon that is nearest by its own measure; less than 0 inside."""
        found = np.full(shape_of(place), np.inf, np.float32)
        rows, cols = place
        box = shapely.box(cols.start, rows.start, cols.stop, rows.stop).buffer(FARTHEST, join_style="mitre")
        for number in self.tree.query(box, predicate="intersects"):
            near = around(self._polygons[number], place, FAR, most=FARTHEST)
            if near is not None:
                np.minimum(found[near.patch], near.away, out=found[near.patch])
        return found

    def lesson(self, sight: Sight) -> Lesson:
        """What a window teaches of the class, where it has data.

        Of what lies deep in a polygon, SAM says what is the thing's: boxes of bent things hold more than them.
        """
        away = self.away(sight.place)
        inside = np.zeros(away.shape, bool)
        for logit, _ in segment_boxes(sight.asked, self.boxes(sight.place)):
            inside |= logit > 0
        return lesson(sight, (away < ON) & inside & sight.valid, (away > OFF) & (away < FAR) & sight.valid)


def all_areas(shapes: Shapes) -> list[Areas]:
    """The polygons of a scene's vectors, class by class."""
    return [Areas(shapes, klass) for klass in np.unique(shapes.label[shapes.width == 0]).tolist()]
