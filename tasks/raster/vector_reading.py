"""Layers of vector files: GeoParquet through Arrow, everything else through GDAL; of each only what lies near."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster import osm
from tasks.raster.features import Layer, Near
from tasks.raster.geoparquet import read_parquet
from tasks.raster.ogr import pyogrio
from tasks.raster.schemas import COLUMNS

PARQUET = (".parquet", ".geoparquet", ".pq")
EXTRACTS = (".osm.pbf", ".pbf", ".osm")
SUFFIXES = (".gpkg", ".geojson", ".json", ".geojson.gz", ".json.gz", ".shp", ".fgb", *PARQUET, *EXTRACTS)
"""How vector files' names end."""

OSM_CONFIGURATION = f"""
closed_ways_are_polygons=building
attribute_name_laundering=no
[lines]
osm_id=yes
attributes={",".join(osm.TAGS)}
other_tags=no
[multipolygons]
osm_id=yes
attributes={",".join(osm.TAGS)}
other_tags=no
"""
"""What GDAL makes of OpenStreetMap's objects: closed ways are polygons that are buildings or have area=yes; tags that
nobody asks for are not kept (https://gdal.org/en/stable/drivers/vector/osm.html)."""


def is_vector_file(path: str) -> bool:
    """Whether a name ends as vector files' names do."""
    return path.lower().endswith(SUFFIXES)


def read_layers(path: str, *, near: Near, assumed: pyproj.CRS | None = None) -> Iterator[Layer]:
    """The layers of a file that hold shapes.

    Args:
        path: of a vector file.
        near: where features are wanted.
        assumed: the CRS of layers that name none.

    Raises:
        UnusableInput: no file, no vector file, a damaged one, or one without shapes.
    """
    if not Path(path).is_file():
        raise UnusableInput(f"There is no file {path}; give a vector file.")
    if path.lower().endswith(PARQUET):
        yield read_parquet(path, path, Path(path).stem, near=near, assumed=assumed, columns=COLUMNS)
        return
    try:
        if path.lower().endswith(EXTRACTS):
            yield from _read_extract(path, near)
        else:
            yield from _read_gdal(path, near, assumed)
    except (*_UNREADABLE, OSError) as error:
        raise UnusableInput(
            f"{path} is not a vector file that GDAL can open; expected GeoPackage, GeoJSON, GeoParquet or the like."
        ) from error


_UNREADABLE = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError)


def _read_gdal(path: str, near: Near, assumed: pyproj.CRS | None) -> Iterator[Layer]:
    inside = f"/vsigzip/{Path(path).resolve()}" if path.lower().endswith(".gz") else path
    layers = [str(name) for name, kind in pyogrio.list_layers(inside) if kind is not None]
    if not layers:
        raise UnusableInput(f"{path} has no layer with shapes; expected polygons or lines.")
    for name in layers:
        about = pyogrio.read_info(inside, layer=name)
        fields = frozenset(str(field) for field in about["fields"])
        crs = pyproj.CRS(about["crs"]) if about["crs"] else assumed
        columns, geometry = _read(inside, near, crs, layer=name, columns=sorted(COLUMNS & fields))
        count = int(about["features"])
        yield Layer(name, columns, fields, geometry, crs, count if count >= 0 else None)


def _read_extract(path: str, near: Near) -> Iterator[Layer]:
    """OpenStreetMap's own files: GDAL puts ways and relations together.

    A plain read of one layer would pile up the others'; a SELECT names the one that is wanted (GDAL looks at its text).
    """
    crs = pyproj.CRS(4326)
    with tempfile.TemporaryDirectory(prefix="geoloom-") as folder:
        configuration = Path(folder) / "osmconf.ini"
        configuration.write_text(OSM_CONFIGURATION)
        old = pyogrio.get_gdal_config_option("CPL_TMPDIR")
        pyogrio.set_gdal_config_options({"CPL_TMPDIR": folder})  # beyond 100 MB its index of nodes goes to the disk
        try:
            for name, wanted in (("lines", "highway"), ("multipolygons", "building")):
                kept = f"{wanted} IS NOT NULL" + (" OR highway IS NOT NULL" if wanted == "building" else "")
                tags = ", ".join(f'"{tag}"' for tag in osm.TAGS)
                query = f"SELECT {tags} FROM {name} WHERE {kept}"  # noqa: S608 - constants
                columns, geometry = _read(path, near, crs, sql=query, CONFIG_FILE=str(configuration))
                yield Layer(name, columns, frozenset(osm.COLUMNS), geometry, crs, None)
        finally:
            pyogrio.set_gdal_config_options({"CPL_TMPDIR": old})


def _read(path: str, near: Near, crs: pyproj.CRS | None, **options: Any) -> tuple[pd.DataFrame, NDArray[np.object_]]:
    """Columns and geometries of the features near.

    Not through Arrow, which takes a seventh of the time: GDAL's streams end at damage as if the file did (measured).
    """
    boxes = near(crs)
    columns, shapes = [], []
    for box in boxes if boxes is not None else [None]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of shapes that are invalid: they are mended, and counted
            about, _, geometry, values = pyogrio.raw.read(path, bbox=box, **options)
        columns.append(pd.DataFrame(dict(zip(about["fields"], values, strict=True)), index=range(len(geometry))))
        shapes.append(shapely.from_wkb(geometry, on_invalid="ignore"))
    return pd.concat(columns, ignore_index=True), np.concatenate(shapes)
