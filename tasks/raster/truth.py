"""Truth that exists, as a raster or as vectors, brought onto a grid window by window."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.classes import IGNORE, ClassMap, renumbered
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window, bounds_in, crop, describe_extent, same_place, shape_of
from tasks.raster.opening import open_raster, reading
from tasks.raster.vector_reading import is_vector_file
from tasks.raster.vectors import Footprints, Shapes, read_shapes

TOLERANCE = 1e-5
"""Pixels by which a warped truth may be off: by more, a pixel would be another one in another window."""


class Truth(Protocol):
    """Labels that can be read by window."""

    @property
    def ids(self) -> frozenset[int]:
        """The classes that this truth can tell; every other class of the map is `other` to it."""

    def read(self, window: Window) -> NDArray[np.uint8]:
        """(y, x) uint8 labels of a window of the grid; 255 where the truth is silent."""

    def objects(self, window: Window) -> NDArray[np.uint32]:
        """(y, x) ids of its objects; 0 where it does not tell them apart."""


@dataclass(frozen=True, slots=True)
class RasterTruth:
    """A class raster."""

    path: str
    grid: GeoBox
    table: NDArray[np.uint8]
    """(256,) the map's id for each value of the file."""
    nodata: float | None
    aligned: bool
    """True where the file lies on the grid, pixel by pixel; else it is warped there, nearest."""
    named: int = IGNORE
    """How many ids have a name; of the others only 255 and nodata may occur."""

    @property
    def ids(self) -> frozenset[int]:
        """The classes that its values stand for."""
        return frozenset(int(i) for i in self.table) - {IGNORE}

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Labels of one window.

        Raises:
            UnusableInput: it is damaged there, or holds an id without a name.
        """
        with open_raster(self.path) as source, reading(self.path, window, remedy="get it again"):
            if self.aligned:
                place = rasterio.windows.Window.from_slices(*window)
                values, there = source.read(1, window=place), source.read_masks(1, window=place) > 0
            else:
                values, there = self._warped(source, crop(self.grid, window))
        return self._translate(values, there)

    def _warped(self, source: Any, part: GeoBox) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        with rasterio.vrt.WarpedVRT(
            source,
            crs=str(self.grid.crs),
            transform=part.affine,
            height=part.shape[0],
            width=part.shape[1],
            resampling=rasterio.enums.Resampling.nearest,
            add_alpha=rasterio.enums.ColorInterp.alpha not in source.colorinterp,
            tolerance=TOLERANCE,
        ) as warped:
            return warped.read(1), warped.read_masks(1) > 0

    def objects(self, window: Window) -> NDArray[np.uint32]:
        """None: classes are all that it has."""
        return np.zeros(shape_of(window), np.uint32)

    def _translate(self, values: NDArray[np.uint8], there: NDArray[np.bool_]) -> NDArray[np.uint8]:
        strange = np.arange(256) >= self.named
        strange[IGNORE] = False
        table = self.table.copy()
        if self.nodata is not None:
            strange &= np.arange(256) != self.nodata
            table[np.arange(256) == self.nodata] = IGNORE
        if (there & (values >= self.named)).any() and (found := there & strange[values]).any():
            raise UnusableInput(
                f"{self.path} holds the id {values[found].max()}, and names are known of ids 0 to {self.named - 1}; "
                "name all of them with --truth-classes, 'ignore' for what is no class."
            )
        label = renumbered(values, table)
        np.putmask(label, ~there, IGNORE)
        return label


class VectorTruth:
    """Polygons and lines; what none of them covers is class 0."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._footprints = Footprints(shapes)

    @property
    def ids(self) -> frozenset[int]:
        """The classes of its shapes, and `other`."""
        return frozenset(int(i) for i in self.shapes.label) | {0}

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Labels of one window."""
        return self._footprints.labels(window)

    def objects(self, window: Window) -> NDArray[np.uint32]:
        """Each shape is one, and each part of a multipolygon, numbered as it comes in the file, from 1."""
        return self._footprints.numbers(window).astype(np.uint32)


def open_truth(
    path: str,
    grid: GeoBox,
    classes: ClassMap,
    *,
    names: tuple[str, ...],
    vector_class: str | None,
    road_width: float,
    assume_crs: str | None = None,
) -> Truth:
    """Open truth for a grid.

    Args:
        path: a class raster or a vector file.
        grid: where it is wanted.
        classes: the map's classes.
        names: names of the raster's ids from 0; needed where the file has no tag CLASS_NAMES.
        vector_class: the class of vectors that name none.
        road_width: ground metres (pixels without CRS), for lines without a width.
        assume_crs: the CRS of vectors that name none.

    Raises:
        UnusableInput: unreadable, of another place, or of classes that the map does not have.
    """
    if is_vector_file(path):
        shapes = read_shapes(
            path, grid, classes, vector_class=vector_class, road_width=road_width, assume_crs=assume_crs
        )
        return VectorTruth(shapes.apart((grid.shape[0], grid.shape[1])))
    with open_raster(path) as source:
        if source.dtypes[0] != "uint8":
            raise UnusableInput(f"{path} has pixels of type {source.dtypes[0]}; a class raster is uint8.")
        text = source.tags().get("CLASS_NAMES", "").strip()
        known = names or tuple(n.strip().lower() for n in text.split(","))
        if known == ("",):
            raise UnusableInput(
                f"{path} does not say what its ids mean (no tag CLASS_NAMES); name them from id 0, "
                f"for example --truth-classes {','.join(classes.names)}."
            )
        own = GeoBox((source.height, source.width), source.transform, source.crs.to_wkt() if source.crs else None)
        aligned = same_place(own, grid)
        if not aligned:
            _check_overlap(path, own, grid)
        return RasterTruth(path, grid, classes.translation(known), source.nodata, aligned, len(known))


def as_told(truth: Truth, classes: ClassMap) -> NDArray[np.uint8]:
    """(256,) a map's class ids as a truth can judge them: those it cannot tell are `other`, where it knows that."""
    table = np.arange(256, dtype=np.uint8)
    if 0 in truth.ids:
        table[[i for i in range(len(classes)) if i not in truth.ids]] = 0
    return table


def _check_overlap(path: str, own: GeoBox, grid: GeoBox) -> None:
    if own.crs is None or grid.crs is None:
        raise UnusableInput(
            f"{path} spans {describe_extent(own)} and the scene {describe_extent(grid)}: without a CRS on both they "
            "must be of the same size and place."
        )
    if not shapely.box(*bounds_in(own, grid.crs.wkt)).intersects(shapely.box(*bounds_in(grid, grid.crs.wkt))):
        raise UnusableInput(
            f"{path} does not overlap the scene: it spans {describe_extent(own)}, the scene {describe_extent(grid)}."
        )


def file_fingerprint(path: str) -> str:
    """sha256 of a file's bytes, hexadecimal: what labels remember of the truth they were made from."""
    if not Path(path).is_file():
        raise UnusableInput(f"There is no file {path}; give a class raster or a vector file.")
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
