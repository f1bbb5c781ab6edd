"""What OpenStreetMap's tags mean: which features are buildings or roads that can be seen from above.

https://wiki.openstreetmap.org/wiki/Key:building, Key:highway, Key:tunnel, Key:layer, Key:location, Key:covered. Water
and vegetation are not taken: their areas lie over and under roads and buildings alike, and labels have no such order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.raster.features import Layer, Meaning, are_lines, are_polygons, by_value
from tasks.raster.road_widths import KINDS, lanes_metres, metres

TAGS = ("building", "highway", "width", "lanes", "tunnel", "layer", "location", "covered")
COLUMNS = (*TAGS, "fclass", "other_tags")
"""Geofabrik's shapefiles have `fclass` in place of keys; GDAL puts keys without a column into `other_tags`."""
IDS = ("osm_id", "osm_way_id", "osmid", "@id", "full_id", "other_tags")
OWNERS = "© OpenStreetMap contributors, ODbL 1.0"

NOT_THERE = frozenset(
    {"", "no", "proposed", "planned", "construction", "ruins", "collapsed", "demolished", "destroyed", "razed"}
)
"""Values of `building` that are not a building as seen from above; a roof on posts (`roof`) is one."""
NO = frozenset({"", "no", "f", "false", "0", "0.0"})


def is_osm(layer: Layer) -> bool:
    """Whether a layer's columns are OpenStreetMap's keys."""
    keys = {"building", "highway", "fclass"} & layer.fields
    return bool(keys) and ("class" not in layer.fields or not layer.fields.isdisjoint(IDS))


def osm_meaning(layer: Layer) -> Meaning:
    """Buildings (polygons) and drivable roads (lines, and polygons where they are drawn as areas)."""
    polygons, lines = are_polygons(layer.geometry), are_lines(layer.geometry)

    def tag(key: str, rule: Callable[[str], Any], kind: type = bool) -> NDArray[Any]:
        return by_value(_values(layer.columns, key), rule, kind)

    below = tag("layer", _is_below) | tag("location", "underground".__eq__)
    covered = tag("tunnel", _is_yes) | tag("covered", _is_yes)
    building = tag("building", lambda said: said not in NOT_THERE) | tag("fclass", "building".__eq__)
    # Geofabrik's land use has kinds of the same names as roads, but in polygons.
    road = tag("highway", KINDS.__contains__) | (tag("fclass", KINDS.__contains__) & lines)
    names = np.full(len(polygons), None, object)
    names[road & (lines | polygons) & ~below & ~covered] = "road"
    names[building & polygons & ~below] = "building"
    by_kind = np.fmax(tag("highway", _kind_metres, float), tag("fclass", _kind_metres, float))
    width = tag("width", metres, float)
    for other in (tag("lanes", lanes_metres, float), by_kind):
        width = np.where(np.isnan(width), other, width)
    return Meaning(layer.geometry, names, np.where(lines, width, np.nan))


def _values(columns: pd.DataFrame, key: str) -> Any:
    if key in columns:
        return columns[key]
    if "other_tags" in columns:  # "key"=>"value","key"=>"value"
        return columns["other_tags"].astype("string").str.extract(rf'"{key}"=>"([^"]*)"', expand=False)
    return np.full(len(columns), None, object)


def _is_yes(said: str) -> bool:
    return said not in NO


def _is_below(said: str) -> bool:
    return re.fullmatch(r"-\d+(\.\d+)?", said) is not None and float(said) < 0


def _kind_metres(said: str) -> float:
    return KINDS.get(said, np.nan)
