"""How masks say what a picture shows: by brightness, by colour, by colour and object, or as shapes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.annotations.masks import Colour, read_colours
from tasks.raster.annotations.panoptic import read_numbers
from tasks.raster.annotations.picture import CERTAIN, NONE, About, Annotation, Picture, nothing
from tasks.raster.annotations.regions import Drawing, Region, ring_of
from tasks.raster.classes import IGNORE, class_map
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window
from tasks.raster.opening import open_raster
from tasks.raster.vectors import Shapes, read_shapes


def _rest(about: About) -> int:
    """The label of what is not drawn."""
    return 0 if about.rest == "other" else IGNORE


def _certain(label: NDArray[np.uint8], instance: NDArray[np.uint32] | None = None) -> Annotation:
    confidence = np.where(label == IGNORE, np.uint8(NONE), np.uint8(CERTAIN))
    return Annotation(label, np.zeros(label.shape, np.uint32) if instance is None else instance, confidence)


@dataclass(frozen=True, slots=True)
class Bright:
    """One class where the first band is brighter than a threshold: JPEG leaves no mask at 0 and 255 alone."""

    name: str
    above: int = 127

    def read(self, path: Path, picture: Picture, window: Window, *, about: About) -> Annotation:
        """The labels of a window of a picture."""
        with open_raster(path) as source:
            if (source.height, source.width) != picture.shape:
                raise UnusableInput(
                    f"{path} has {source.width} x {source.height} pixels and its picture {picture.shape[1]} x "
                    f"{picture.shape[0]}; get the mask of that picture."
                )
            there = source.read(1, window=rasterio.windows.Window.from_slices(*window)) > self.above
        return _certain(np.where(there, np.uint8(about.id(self.name)), np.uint8(_rest(about))))


@dataclass(frozen=True, slots=True)
class Painted:
    """A class a colour; any other colour is what is not drawn."""

    colours: tuple[tuple[str, Colour], ...]

    def read(self, path: Path, picture: Picture, window: Window, *, about: About) -> Annotation:
        """The labels of a window of a picture."""
        table = [(colour, about.id(name)) for name, colour in self.colours]
        return _certain(read_colours(path, picture.shape, window, table, rest=_rest(about)))


@dataclass(frozen=True, slots=True)
class PaintedObjects:
    """A class a colour, and beside it a PNG whose red, green and blue number the objects."""

    colours: tuple[tuple[str, Colour], ...]
    classes_in: tuple[str, str]
    """What the folder and the end of the stem are called for classes ..."""
    objects_in: tuple[str, str]
    """... and for objects."""

    def read(self, path: Path, picture: Picture, window: Window, *, about: About) -> Annotation:
        """The labels of a window of a picture."""
        label = Painted(self.colours).read(path, picture, window, about=about).label
        other = path.with_name(path.name.replace(self.classes_in[1], self.objects_in[1]))
        beside = Path(*(self.objects_in[0] if part == self.classes_in[0] else part for part in other.parts))
        if beside == path or not beside.is_file():
            return _certain(label)
        numbers = read_numbers(beside, picture.shape, window)
        return _certain(label, np.where(label == _rest(about), 0, numbers).astype(np.uint32))


@dataclass(frozen=True, slots=True)
class Vectors:
    """One class as polygons, an object each, or as lines of a width."""

    name: str
    road_width: float = 8.0
    """Metres, of lines."""

    def read(self, path: Path, picture: Picture, window: Window, *, about: About) -> Annotation:
        """The labels of a window of a picture."""
        rest = _rest(about)
        if _is_empty(path):
            return nothing((window[0].stop - window[0].start, window[1].stop - window[1].start), label=rest)
        shapes = read_shapes(
            str(path), picture.grid, class_map(about.classes), vector_class=self.name, road_width=self.road_width
        )
        return Drawing(_regions(shapes), picture.shape, rest=rest).read(window)


def _regions(shapes: Shapes) -> list[Region]:
    """A region a shape; lines are of a network, and no objects."""
    found = []
    for number, (geometry, label, width) in enumerate(
        zip(shapes.footprints(), shapes.label, shapes.width, strict=True), 1
    ):
        polygons = [g for g in shapely.get_parts(geometry) if g.geom_type == "Polygon" and not g.is_empty]
        parts = tuple(
            tuple(ring_of(shapely.get_coordinates(ring)) for ring in (p.exterior, *p.interiors)) for p in polygons
        )
        found.append(Region(int(label), 0 if width else number, parts=parts))
    return found


def _is_empty(path: Path) -> bool:
    """Whether a GeoJSON has no feature: nothing of the class is in the picture."""
    if path.suffix.lower() not in {".geojson", ".json"}:
        return False
    try:
        return bool(json.loads(path.read_bytes()).get("features") == [])
    except (ValueError, AttributeError) as error:
        raise UnusableInput(f"{path} is no GeoJSON ({error}); it is damaged or truncated: get it again.") from error
