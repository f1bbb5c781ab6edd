"""OpenStreetMap's buildings and roads as Overpass asks for them and answers: the question, and what its JSON holds.

https://wiki.openstreetmap.org/wiki/Overpass_API/Overpass_QL; `out geom` gives every way its coordinates, and a relation
those of its members.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import shapely

from tasks.raster.features import Layer
from tasks.raster.grid import Bounds
from tasks.raster.osm import COLUMNS, TAGS
from tasks.raster.road_widths import KINDS

SIDE = 0.05
"""Degrees a side of what is asked for at once, at most: the middle of a big city in some ten megabytes."""
RING = 4
"""Points of the smallest ring, the last being the first."""


def question(box: Bounds, *, seconds: int) -> str:
    """Overpass QL for all buildings and drivable roads that meet a box of degrees (west, south, east, north)."""
    west, south, east, north = box
    place = f"{south:.7f},{west:.7f},{north:.7f},{east:.7f}"
    kinds = "|".join(KINDS)
    wanted = f'way["building"];rel["building"]["type"="multipolygon"];way["highway"~"^({kinds})$"];'
    wanted += f'rel["highway"~"^({kinds})$"]["type"="multipolygon"];'
    return f"[out:json][timeout:{seconds}][bbox:{place}];({wanted});out geom;"


def tiles(box: Bounds) -> list[Bounds]:
    """A box cut into equal ones of at most `SIDE`, row by row."""
    west, south, east, north = box
    columns, rows = (max(1, math.ceil(length / SIDE)) for length in (east - west, north - south))
    x, y = np.linspace(west, east, columns + 1), np.linspace(south, north, rows + 1)
    return [(float(x[c]), float(y[r]), float(x[c + 1]), float(y[r + 1])) for r in range(rows) for c in range(columns)]


def quarters(box: Bounds) -> list[Bounds]:
    """A box cut in four."""
    west, south, east, north = box
    x, y = (west + east) / 2, (south + north) / 2
    return [(west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north)]


def read_answer(answer: dict[str, Any], seen: set[str]) -> tuple[list[str], Layer]:
    """The features of an answer, without those that were seen in another, and their ids (way/123).

    Args:
        answer: Overpass's JSON.
        seen: ids of features that are in already; those that are new are added.
    """
    ids: list[str] = []
    shapes: list[Any] = []
    rows: list[dict[str, str]] = []
    for element in answer.get("elements", []):
        name = f"{element['type']}/{element['id']}"
        if name in seen:
            continue
        tags = element.get("tags", {})
        shape = _way(element, tags) if element["type"] == "way" else _area(element)
        if shape is not None:
            seen.add(name)
            ids.append(name)
            shapes.append(shape)
            rows.append(tags)
    columns = pd.DataFrame({tag: pd.Series([row.get(tag) for row in rows], dtype=object) for tag in TAGS})
    geometry = np.empty(len(shapes), object)
    geometry[:] = shapes
    return ids, Layer("osm", columns, frozenset(COLUMNS), geometry, pyproj.CRS(4326), None)


def _way(element: dict[str, Any], tags: dict[str, str]) -> Any:
    """A polygon of a closed way that is an area, else a line; None where its places are not given."""
    places = _places(element)
    if len(places) < len(("from", "to")):
        return None
    closed = len(places) >= RING and places[0] == places[-1]
    is_area = tags.get("area") == "yes" or ("building" in tags and tags.get("area") != "no")
    return shapely.Polygon(places) if closed and is_area else shapely.LineString(places)


def _area(relation: dict[str, Any]) -> Any:
    """The area that a multipolygon's ways enclose, whatever order they come in, with its holes and the islands in them.

    Roles are not asked: which ring is a hole follows from which lies in which, as OpenStreetMap's own tools see it.
    """
    lines = [shapely.LineString(places) for places in _members(relation) if len(places) > 1]
    area = shapely.build_area(shapely.MultiLineString(lines)) if lines else None
    return None if area is None or area.is_empty else area


def _members(relation: dict[str, Any]) -> Iterator[list[tuple[float, float]]]:
    for member in relation.get("members", []):
        if member["type"] == "way":
            yield _places(member)


def _places(way: dict[str, Any]) -> list[tuple[float, float]]:
    """Longitude and latitude of each node; a node that the server does not know is null."""
    return [(node["lon"], node["lat"]) for node in way.get("geometry", []) if node]
