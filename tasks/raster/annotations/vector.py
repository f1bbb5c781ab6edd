"""GeoJSON and GeoPackage: polygons in the coordinates of the scene, with its `class`, `instance` and `confidence`.

What geoloom writes runs along pixel edges and has a feature for each area in each picture; one class is 'ignore'.
Where the scene has no CRS, coordinates are pixels, y down. GeoJSON carries the CRS in the old member `crs`, as GDAL
does. Files of others need a column `class`, and a CRS where pictures have one; lines are for `geoloom label`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from infra.errors import UnusableInput
from tasks.raster.annotations.documents import Pictures, Sidecar, open_picture, read_sidecar
from tasks.raster.annotations.drawn import drawn_set
from tasks.raster.annotations.picture import CERTAIN, About, Annotation, AnnotationSet, Picture, about_classes
from tasks.raster.annotations.regions import Region, ignored, ring_of, trace
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

    return drawn_set(about, pictures, regions, files=lambda _: tuple(paths))


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
    found = []
    numbers, columns = hit + 1, [some.get(name) for name in COLUMNS]
    for place, geometry in enumerate(some.geometry):
        name, instance, confidence = (None if c is None else c.iloc[place] for c in columns)
        parts = tuple(
            tuple(ring_of(_moved(shapely.get_coordinates(r), back)) for r in (polygon.exterior, *polygon.interiors))
            for polygon in shapely.get_parts(geometry)
        )
        number = numbers[place] if instance is None or instance != instance else instance  # noqa: PLR0124 - not a number
        sure = CERTAIN if confidence is None or confidence != confidence else confidence  # noqa: PLR0124
        found.append(Region(about.id(str(name)), int(number), int(sure), parts=parts))
    return found


def _moved(corners: Any, by: Any) -> Any:
    x, y = corners.T
    return np.stack([by.a * x + by.b * y + by.c, by.d * x + by.e * y + by.f], axis=1)


class _Shapes:
    """The regions of a picture as polygons in its scene's coordinates, what is ignored among them."""

    def __init__(self, picture: Picture, annotation: Annotation, about: About) -> None:
        names = {**dict(enumerate(about.classes)), IGNORE: "ignore"}
        regions = [*trace(annotation), *_ignored(annotation)]
        self.properties = [(names[r.label], r.instance, r.confidence) for r in regions]
        self.polygons = [
            shapely.MultiPolygon(
                [(_closed(part[0], picture), [_closed(ring, picture) for ring in part[1:]]) for part in region.parts]
            )
            for region in regions
        ]


def _closed(ring: Any, picture: Picture) -> Any:
    return _moved(np.concatenate([ring, ring[:1]]), picture.grid.affine)


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
        shapes = _Shapes(picture, annotation, self.about)
        for polygon, values in zip(shapes.polygons, shapes.properties, strict=True):
            feature = {
                "type": "Feature",
                "properties": dict(zip(COLUMNS, values, strict=True)),
                "geometry": shapely.geometry.mapping(polygon),
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
        shapes = _Shapes(picture, annotation, self.about)
        crs = picture.whole.crs
        columns: dict[str, Sequence[Any]] = dict(zip(COLUMNS, zip(*shapes.properties, strict=True), strict=False))
        frame = geopandas.GeoDataFrame(
            {name: list(columns.get(name, [])) for name in COLUMNS},
            geometry=shapes.polygons,
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
