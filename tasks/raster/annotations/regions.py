"""Regions: areas drawn in a picture, traced from labels along pixel edges, and painted so that they give the same back.

A region is polygons, or pixels, of one class and one object. Pixels are painted where their centre lies in a polygon,
so what was traced along pixel edges comes back pixel by pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.annotations.picture import CERTAIN, NONE, Annotation
from tasks.raster.annotations.runs import Indexes
from tasks.raster.classes import IGNORE
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window, shape_of

Ring = NDArray[np.float64]
"""(corner, 2): x = column and y = row of each, the picture's first corner at (0, 0); the last is not the first."""
Part = tuple[Ring, ...]
"""Rings of one polygon: what an odd number of them holds is inside."""
ON_EDGE = 1e-3
"""Pixels within which a corner lies on the corner of pixels: decimals and transforms round."""
FEWEST = 3
"""Corners of a ring."""


@dataclass(frozen=True, slots=True)
class Region:
    """An area of one class and one object."""

    label: int
    instance: int = 0
    """0 = none."""
    confidence: int = CERTAIN
    parts: tuple[Part, ...] = ()
    pixels: Indexes = field(default_factory=lambda: np.zeros(0, np.int64))
    """Flat indexes in the picture, row by row, of what is given as pixels."""

    @property
    def size(self) -> float:
        """Its pixels, by the polygons' first rings."""
        return len(self.pixels) + sum(abs(area(part[0])) for part in self.parts)

    @property
    def has_holes(self) -> bool:
        """Whether any of its polygons has a hole."""
        return any(len(part) > 1 for part in self.parts)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """X and y, lowest and highest, of its polygons."""
        corners = np.concatenate([part[0] for part in self.parts])
        return (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())


def area(ring: Ring) -> float:
    """The area in a ring, negative where it runs the other way."""
    x, y = ring[:, 0], ring[:, 1]
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]) / 2


def ring_of(corners: Sequence[float] | NDArray[np.float64]) -> Ring:
    """A ring from x, y, x, y, ... or from pairs; corners near pixels' own lie there, and the last is not the first.

    Raises:
        UnusableInput: fewer than three corners, or not finite.
    """
    try:
        ring = np.asarray(corners, np.float64).reshape(-1, 2)
    except (ValueError, TypeError) as error:
        raise UnusableInput("An outline has corners that are no pairs of numbers.") from error
    if len(ring) and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < FEWEST or not np.isfinite(ring).all():
        raise UnusableInput(f"An outline has {len(ring)} corners; expected three or more, all of them numbers.")
    near = np.round(ring)
    return np.where(np.abs(ring - near) < ON_EDGE, near, ring)


def box_ring(left: float, top: float, right: float, bottom: float) -> Ring:
    """The ring around a box."""
    return ring_of([left, top, right, top, right, bottom, left, bottom])


def one_ring(parts: Sequence[Part]) -> Ring:
    """All rings as one, for formats that know no holes: from the first ring's first corner to each other and back.

    The way there and back encloses nothing, so what lies inside an odd number of rings stays as it was.
    """
    first, *others = [ring for part in parts for ring in part]
    pieces = [first, *([first[:1]] if others else [])]
    for ring in others:
        pieces += [ring, ring[:1], first[:1]]
    return np.concatenate(pieces[:-1] if others else pieces)


def trace(annotation: Annotation) -> list[Region]:
    """The regions of a window of labels: an object each, or a connected area where there are no objects.

    What is ignored, and what is 'other' and no object, is no region.
    """
    key = annotation.label.astype(np.uint64) << np.uint64(32) | annotation.instance
    values, flat = np.unique(key, return_inverse=True)
    codes = flat.reshape(key.shape).astype(np.int32)
    labels, instances = (values >> np.uint64(32)).astype(np.int64), (values & np.uint64(0xFFFFFFFF)).astype(np.int64)
    drawn = (labels != IGNORE) & (values != 0)
    if not drawn.any():
        return []
    counts = np.bincount(codes.ravel(), minlength=len(values))
    mean = np.bincount(codes.ravel(), annotation.confidence.ravel(), len(values)) / np.maximum(counts, 1)
    confidence = np.round(mean).astype(np.int64).clip(0, CERTAIN)
    parts: dict[int, list[Part]] = {}
    for outline, value in rasterio.features.shapes(codes, mask=drawn[codes], connectivity=4):
        rings = tuple(np.asarray(ring, np.float64)[:-1] for ring in outline["coordinates"])
        parts.setdefault(int(value), []).append(rings)
    found = []
    for code, polygons in parts.items():
        about = int(labels[code]), int(instances[code]), int(confidence[code])
        groups = [tuple(polygons)] if about[1] else [(polygon,) for polygon in polygons]
        found += [Region(*about, parts=group) for group in groups]
    return found


class Drawing:
    """The regions of one picture, to be painted window by window; a later one lies over an earlier one."""

    def __init__(self, regions: Iterable[Region], shape: tuple[int, int], *, rest: int = 0) -> None:
        """Take the regions of a picture of so many rows and columns; `rest` is the label where none is."""
        self.regions, self.shape = list(regions), shape
        columns = {"label": rest, "instance": 0, "confidence": NONE if rest == IGNORE else CERTAIN}
        self.columns = {
            name: np.array([none, *(getattr(r, name) for r in self.regions)], np.int64)
            for name, none in columns.items()
        }
        self.parts = [(rank, part) for rank, region in enumerate(self.regions, 1) for part in region.parts]
        boxes = [(*part[0].min(axis=0), *part[0].max(axis=0)) for _, part in self.parts]
        self.boxes = np.array(boxes, np.float64).reshape(-1, 4)
        """x and y, lowest and highest, of each part."""
        self.masks = [(rank, region.pixels) for rank, region in enumerate(self.regions, 1) if region.pixels.size]

    def read(self, window: Window) -> Annotation:
        """Paint one window."""
        ranks = self._ranks(window)
        label, instance, confidence = (self.columns[name][ranks] for name in ("label", "instance", "confidence"))
        confidence[label == IGNORE] = NONE
        instance[label == IGNORE] = 0
        return Annotation(label.astype(np.uint8), instance.astype(np.uint32), confidence.astype(np.uint8))

    def _ranks(self, window: Window) -> NDArray[np.int32]:
        """(y, x): the number, from 1, of the region that lies on top."""
        rows, cols = window
        ranks = np.zeros(shape_of(window), np.int32)
        x0, y0, x1, y1 = self.boxes.T
        there = (x0 < cols.stop) & (x1 > cols.start) & (y0 < rows.stop) & (y1 > rows.start)
        shapes = [
            ({"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()] for ring in part]}, rank)
            for rank, part in (self.parts[i] for i in np.flatnonzero(there))
        ]
        if shapes:
            corner = rasterio.Affine.translation(cols.start, rows.start)
            rasterio.features.rasterize(shapes, out=ranks, transform=corner)
        for rank, pixels in self.masks:
            y, x = np.divmod(pixels, self.shape[1])
            inside = (y >= rows.start) & (y < rows.stop) & (x >= cols.start) & (x < cols.stop)
            place = y[inside] - rows.start, x[inside] - cols.start
            ranks[place] = np.maximum(ranks[place], rank)
        return ranks


def pixels_of(region: Region, shape: tuple[int, int]) -> Indexes:
    """The flat indexes, row by row and sorted, of a region's pixels in a picture of a shape."""
    if not region.parts:
        return region.pixels
    left, top, right, bottom = region.box
    rows = slice(max(math.floor(top), 0), min(math.ceil(bottom), shape[0]))
    cols = slice(max(math.floor(left), 0), min(math.ceil(right), shape[1]))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return region.pixels
    there = Drawing([region], shape)._ranks((rows, cols)) > 0  # noqa: SLF001 - its own file
    y, x = np.nonzero(there)
    return (y + rows.start) * shape[1] + x + cols.start


def large_first(regions: Iterable[Region]) -> list[Region]:
    """Regions in the order to paint them where the format knows none: a small one lies over a large one."""
    return sorted(regions, key=lambda region: -region.size)


def ignored(annotation: Annotation) -> Indexes:
    """The flat indexes, row by row, of the pixels that are ignored."""
    return np.flatnonzero(annotation.label == IGNORE)
