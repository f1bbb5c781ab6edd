"""Vector files as classed shapes in pixel coordinates of a grid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.classes import ClassMap
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window, bounds_in, ground_resolution, whole
from tasks.raster.ogr import geopandas as gpd
from tasks.raster.ogr import pyogrio

LAYER_CLASSES = {"buildings": "building", "roads": "road", "building": "building", "road": "road"}
"""Layers whose name says their class."""
LINES = ("LineString", "MultiLineString")
POLYGONS = ("Polygon", "MultiPolygon")


@dataclass(frozen=True, slots=True)
class Shapes:
    """Classed shapes on a grid, in file order."""

    geometry: NDArray[np.object_]
    """shapely geometries in pixel coordinates: x = column, y = row, the first pixel's corner at (0, 0)."""
    label: NDArray[np.uint8]
    """Class id of each."""
    width: NDArray[np.float64]
    """Width of each line in pixels; 0 for polygons."""

    def __len__(self) -> int:
        return len(self.geometry)

    def footprints(self) -> NDArray[np.object_]:
        """Areas: polygons as they are, lines as wide as they say."""
        lines = self.width > 0
        areas = self.geometry.copy()
        areas[lines] = shapely.buffer(self.geometry[lines], self.width[lines] / 2, cap_style="flat")
        return areas


def read_shapes(path: str, grid: GeoBox, classes: ClassMap, *, vector_class: str | None, road_width: float) -> Shapes:
    """Read polygons and lines onto a grid.

    A feature's class is its `class` column, else its layer's name (buildings, roads), else `vector_class`. A line's
    width is its `width` column, else `road_width`, both in ground metres (pixels where the grid has no CRS).

    Raises:
        UnusableInput: not a vector file, no CRS where the grid has one, no class to be had, or nothing on the grid.
    """
    frames = [_read_layer(path, layer) for layer in _layers(path)]
    parts = [
        _on_grid(frame, path, name, grid, classes, vector_class=vector_class, road_width=road_width)
        for name, frame in frames
    ]
    geometry = np.concatenate([p[0] for p in parts])
    label, width = np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts])
    rows, cols = whole(grid)
    there = shapely.intersects(geometry, shapely.box(0, 0, cols.stop, rows.stop))
    if not there.any():
        raise UnusableInput(f"None of the shapes of {path} lies on the scene; check that both are of the same place.")
    return Shapes(geometry[there], label[there], width[there])


def burn(shapes: Shapes, window: Window, *, background: int) -> NDArray[np.uint8]:
    """Burn shapes into a window: roads first, then polygons over them, each by pixel centres.

    Returns:
        (y, x) uint8 labels; `background` where there is no shape.
    """
    rows, cols = window
    out = np.full((rows.stop - rows.start, cols.stop - cols.start), background, np.uint8)
    areas = shapes.footprints()
    hit = np.flatnonzero(shapely.intersects(areas, shapely.box(cols.start, rows.start, cols.stop, rows.stop)))
    order = hit[np.argsort(shapes.width[hit] == 0, kind="stable")]
    if order.size:
        moved = rasterio.Affine.translation(cols.start, rows.start)
        pairs = [(areas[i], int(shapes.label[i])) for i in order]
        rasterio.features.rasterize(pairs, out=out, transform=moved)
    return out


def _layers(path: str) -> list[str | None]:
    if not Path(path).is_file():
        raise UnusableInput(f"There is no file {path}; give a vector file.")
    try:
        found = pyogrio.list_layers(path)
    except pyogrio.errors.DataSourceError as error:
        raise UnusableInput(
            f"{path} is not a vector file that GDAL can open; expected GeoPackage, GeoJSON or the like."
        ) from error
    layers = [name for name, kind in found if kind is not None]
    if not layers:
        raise UnusableInput(f"{path} has no layer with shapes; expected polygons or lines.")
    return layers


def _read_layer(path: str, layer: str | None) -> tuple[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a layer without geometry columns of its own
        return str(layer), gpd.read_file(path, layer=layer)


def _on_grid(
    frame: Any, path: str, layer: str, grid: GeoBox, classes: ClassMap, *, vector_class: str | None, road_width: float
) -> tuple[NDArray[np.object_], NDArray[np.uint8], NDArray[np.float64]]:
    frame = frame[frame.geom_type.isin([*LINES, *POLYGONS]) & ~frame.geometry.is_empty]
    if grid.crs is not None:
        if frame.crs is None:
            raise UnusableInput(f"{path} has no CRS and the scene has one; set it (ogr2ogr -a_srs) and try again.")
        left, bottom, right, top = bounds_in(grid, frame.crs)
        if left < right:  # else the scene lies across the antimeridian
            # A projection folds the far side of the world onto the scene: what is not near it is left out before.
            frame = frame[shapely.intersects(frame.geometry.to_numpy(), shapely.box(left, bottom, right, top))]
        frame = frame.to_crs(pyproj.CRS(grid.crs.wkt))
    names = _class_names(frame, path, layer, vector_class)
    label = np.array([classes.id(n) for n in names], np.uint8)
    inverse = ~grid.affine
    geometry = np.array(
        frame.geometry.force_2d().affine_transform([inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f]),
        object,
    )
    geometry = shapely.make_valid(geometry)
    # OpenStreetMap's widths are text, empty for most.
    given = pd.to_numeric(frame["width"], errors="coerce").to_numpy(float) if "width" in frame else np.array([np.nan])
    metres = np.where(np.isfinite(given) & (given > 0), given, road_width)
    width = np.where(frame.geom_type.isin(LINES), metres / (ground_resolution(grid) or 1.0), 0.0)
    return geometry, label, width


def _class_names(frame: Any, path: str, layer: str, vector_class: str | None) -> Sequence[str]:
    fallback = LAYER_CLASSES.get(layer.lower(), vector_class)
    given = frame["class"] if "class" in frame else [None] * len(frame)
    names = []
    for entry in given:
        name = entry.strip().lower() if isinstance(entry, str) and entry.strip() else fallback
        if name is None:
            raise UnusableInput(
                f"The layer '{layer}' of {path} does not say what it shows (no 'class' column, or none for a feature); "
                "name it with --vector-class."
            )
        names.append(name)
    return names
