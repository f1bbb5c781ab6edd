"""GeoJSON and GeoPackage: polygons in the coordinates of the scene, with its `class`, `instance` and `confidence`.

What geoloom writes runs along pixel edges and has a feature for each area in each picture; one class is 'ignore'.
Where the scene has no CRS, coordinates are pixels, y down. GeoJSON carries the CRS in the old member `crs`, as GDAL
does. Files of others need a column `class`, and a CRS where pictures have one; lines are for `geoloom label`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.annotations.documents import Pictures, Sidecar, open_picture, read_sidecar
from tasks.raster.annotations.drawn import drawn_set
from tasks.raster.annotations.picture import CERTAIN, About, Annotation, AnnotationSet, Picture, about_classes
from tasks.raster.annotations.regions import Part, Region, Ring, ignored, ring_of, trace
from tasks.raster.classes import IGNORE
from tasks.raster.gdal import rasterio
from tasks.raster.ogr import geopandas, pyogrio

STEM, LAYER = "annotations", "annotations"
COLUMNS = ("class", "instance", "confidence")


def open_vector(folder: Path, *, suffix: str) -> AnnotationSet:
    """Open pictures with vector files of one kind.

    Raises:
        UnusableInput: there is none, a damaged one, or one without classes.
    """
    files = Pictures(folder)
    paths = sorted(folder.glob(f"*{suffix}"))
    if not paths:
        raise UnusableInput(f"{folder} holds no file that ends in {suffix}.")
    ours, places = read_sidecar(folder)
    frames = [_read(path) for path in paths]
    about = ours or about_classes(sorted({str(name) for frame in frames for name in frame["class"]}))
    keys = {file: file.relative_to(folder).as_posix() for file in files.files}
    pictures = [open_picture(files.names[file], file, places.get(key)) for file, key in keys.items()]
    if not pictures:
        raise UnusableInput(f"{folder} holds no picture.")

    def regions(picture: Picture) -> list[Region]:
        own = keys[picture.file] in places
        found = [r for frame in frames for r in _regions(frame, picture, about, own=own)]
        return [r for r in found if r.label != IGNORE] + [r for r in found if r.label == IGNORE]

    return drawn_set(about, pictures, regions, files=lambda _: tuple(paths), left_out=files.left_out)


open_geojson = partial(open_vector, suffix=".geojson")
open_geopackage = partial(open_vector, suffix=".gpkg")


def _read(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a file without CRS
            frame = geopandas.read_file(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        said = str(error).split("\n")[0]
        raise UnusableInput(f"{path} is not a vector file that GDAL can open ({said}).") from error
    if frame.empty:
        return geopandas.GeoDataFrame({"class": []}, geometry=[], crs=getattr(frame, "crs", None))
    if "class" not in frame or frame["class"].isna().any() or "geometry" not in frame:
        raise UnusableInput(
            f"{path} does not say of every shape what it shows (a column 'class'); for shapes of one class alone use "
            "'geoloom label --method truth --vector-class'."
        )
    others = set(frame.geom_type) - {"Polygon", "MultiPolygon", None}
    if others:
        raise UnusableInput(f"{path} has shapes without area ({', '.join(sorted(others))}); expected polygons.")
    return frame


def _regions(frame: Any, picture: Picture, about: About, *, own: bool) -> list[Region]:
    """The regions of the shapes that lie on a picture."""
    grid = picture.grid
    if not own and grid.crs is not None:
        if frame.crs is None:
            raise UnusableInput("The vector file has no CRS and its pictures have one; set it (ogr2ogr -a_srs).")
        there = pyproj.CRS(grid.crs.wkt)
        if frame.crs != there:
            frame = frame.to_crs(there)
    hit = np.sort(frame.sindex.query(shapely.Polygon(grid.extent.geom), predicate="intersects"))
    some = frame.iloc[hit]
    back = ~grid.affine
    moved = shapely.transform(some.geometry.to_numpy(), partial(_moved, by=back))
    labels = [about.id(str(name)) for name in some["class"]]
    numbers, sure = (
        np.where(np.isnan(given), none, given).astype(np.int64).tolist()
        for given, none in ((_column(some, "instance"), hit + 1), (_column(some, "confidence"), CERTAIN))
    )
    return [Region(*one) for one in zip(labels, numbers, sure, _parts(moved), strict=True)]


def _column(frame: Any, name: str) -> NDArray[np.float64]:
    """A column of numbers, NaN where there is none."""
    values = pd.to_numeric(frame[name], errors="coerce") if name in frame else np.full(len(frame), np.nan)
    return np.asarray(values, np.float64)


def _parts(shapes: NDArray[np.object_]) -> list[tuple[Part, ...]]:
    """The parts of each (multi)polygon, in one go: a shapely object a ring costs ten times as much."""
    polygons, of_shape = shapely.get_parts(shapes, return_index=True)
    rings, of_polygon = shapely.get_rings(polygons, return_index=True)
    corners, of_ring = shapely.get_coordinates(rings, return_index=True)
    parts: list[list[Ring]] = [[] for _ in polygons]
    if len(rings):
        for polygon, ring in zip(of_polygon, np.split(corners, np.flatnonzero(np.diff(of_ring)) + 1), strict=True):
            parts[polygon].append(ring_of(ring))
    found: list[list[Part]] = [[] for _ in shapes]
    for shape, part in zip(of_shape, parts, strict=True):
        found[shape].append(tuple(part))
    return [tuple(some) for some in found]


def _moved(corners: Any, by: Any) -> Any:
    x, y = corners.T
    return np.stack([by.a * x + by.b * y + by.c, by.d * x + by.e * y + by.f], axis=1)


Outline = list[list[list[list[float]]]]
"""The coordinates of a multipolygon, as GeoJSON has them."""


def _shapes(picture: Picture, annotation: Annotation, about: About) -> Iterator[tuple[tuple[str, int, int], Outline]]:
    """The columns of each region of a picture, what is ignored among them, and its outline in the scene's CRS."""
    names = {**dict(enumerate(about.classes)), IGNORE: "ignore"}
    place = picture.grid.affine
    for region in [*trace(annotation), *_ignored(annotation)]:
        outline = [[_moved(np.concatenate([r, r[:1]]), place).tolist() for r in part] for part in region.parts]
        yield (names[region.label], region.instance, region.confidence), outline


def _ignored(annotation: Annotation) -> list[Region]:
    """What is ignored, as regions."""
    pixels = ignored(annotation)
    if not pixels.size:
        return []
    mask = (annotation.label == IGNORE).astype(np.uint8)
    parts = tuple(
        tuple(np.asarray(ring, np.float64)[:-1] for ring in outline["coordinates"])
        for outline, _ in rasterio.features.shapes(mask, mask=mask > 0, connectivity=4)
    )
    return [Region(IGNORE, parts=parts)]


class GeoJsonWriter:
    """Writes features as they come."""

    def __init__(self, folder: Path, about: About) -> None:
        """Begin; the head waits for the first picture, which knows the CRS."""
        self.about, self.sidecar, self.folder = about, Sidecar(folder, about), folder
        self.file = (folder / f"{STEM}.geojson").open("w", encoding="utf-8")
        self.begun = self.first = False

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write one picture's features."""
        if not self.begun:
            self.file.write(f'{{"type": "FeatureCollection", {_crs_member(picture)}"features": [')
            self.begun, self.first = True, True
        for values, outline in _shapes(picture, annotation, self.about):
            feature = {
                "type": "Feature",
                "properties": dict(zip(COLUMNS, values, strict=True)),
                "geometry": {"type": "MultiPolygon", "coordinates": outline},
            }
            self.file.write(("\n" if self.first else ",\n") + json.dumps(feature))
            self.first = False
        self.sidecar.add(picture.file.relative_to(self.folder).as_posix(), picture.to_json())

    def close(self) -> None:
        """End the document."""
        self.file.write("\n]}\n")
        self.file.close()
        self.sidecar.close()


def _crs_member(picture: Picture) -> str:
    crs = picture.whole.crs
    if crs is None or not crs.epsg:
        return ""
    return f'"crs": {{"type": "name", "properties": {{"name": "urn:ogc:def:crs:EPSG::{crs.epsg}"}}}}, '


class GeoPackageWriter:
    """Appends a picture's features to the layer."""

    def __init__(self, folder: Path, about: About) -> None:
        """Begin."""
        self.about, self.sidecar, self.folder = about, Sidecar(folder, about), folder
        self.path = folder / f"{STEM}.gpkg"

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write one picture's features."""
        crs = picture.whole.crs
        shapes = list(_shapes(picture, annotation, self.about))
        frame = geopandas.GeoDataFrame(
            [values for values, _ in shapes],
            columns=list(COLUMNS),
            geometry=[shapely.MultiPolygon([(part[0], part[1:]) for part in outline]) for _, outline in shapes],
            crs=None if crs is None else crs.wkt,
        )
        frame = frame.astype({"class": object, "instance": np.int64, "confidence": np.int32})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it has no CRS is meant
            pyogrio.write_dataframe(
                frame, self.path, layer=LAYER, driver="GPKG", append=self.path.exists(), geometry_type="MultiPolygon"
            )
        self.sidecar.add(picture.file.relative_to(self.folder).as_posix(), picture.to_json())

    def close(self) -> None:
        """End the sidecar."""
        self.sidecar.close()
