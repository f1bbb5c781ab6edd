"""What Overture's columns mean: buildings and road segments that can be seen from above.

https://docs.overturemaps.org/schema: themes `buildings` and `transportation`. What a rule says may hold for a part of a
segment only, from one share of its length to another (`between`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import shapely
import shapely.ops
from numpy.typing import NDArray

from tasks.raster.features import Layer, Meaning, are_lines, are_polygons, by_value
from tasks.raster.road_widths import KINDS, WIDEST

BUILDING = ("subtype", "class", "is_underground", "level")
SEGMENT = ("subtype", "class", "subclass", "width_rules", "level_rules", "road_flags")
COLUMNS = tuple(dict.fromkeys((*BUILDING, *SEGMENT, "theme")))
BUILDING_ONLY = frozenset({"has_parts", "is_underground", "roof_shape", "num_floors"})
"""Columns that no other theme of polygons has."""
UNSEEN = frozenset({"is_tunnel", "is_under_construction", "is_abandoned", "is_covered", "is_indoor"})
"""Flags of roads of which no carriageway can be seen."""
OWNERS = "© OpenStreetMap contributors, Overture Maps Foundation (ODbL 1.0)"

Span = tuple[float, float]


def is_overture(layer: Layer) -> bool:
    """Whether a layer's columns are Overture's."""
    return {"subtype", "class"} <= layer.fields


def overture_meaning(layer: Layer) -> Meaning:
    """Buildings (polygons) and drivable roads (lines, without their tunnels)."""
    columns, geometry = layer.columns, layer.geometry.copy()
    lines = are_lines(geometry)
    names, width = np.full(len(geometry), None, object), np.full(len(geometry), np.nan)
    themed = "theme" in columns and bool((columns["theme"] == "buildings").any())
    if themed or not BUILDING_ONLY.isdisjoint(layer.fields) or layer.name.lower() in {"building", "buildings"}:
        below = _each(columns, "is_underground", "true".__eq__) | _each(columns, "level", lambda said: said[:1] == "-")
        names[are_polygons(geometry) & ~below] = "building"
    kinds = by_value(columns["class"], str, object)
    links = _each(columns, "subclass", "link".__eq__)
    drivable = lines & _each(columns, "subtype", "road".__eq__) & np.isin(kinds, list(KINDS))
    for number in np.flatnonzero(drivable & links):
        width[number] = KINDS.get(f"{kinds[number]}_link", np.nan)
    width = np.where(drivable & np.isnan(width), by_value(kinds, lambda said: KINDS.get(said, np.nan), float), width)
    names[drivable] = "road"
    for number in _with_rules(columns, drivable, "width_rules"):
        width[number] = _widest_span(_rules(columns["width_rules"].iloc[number]), otherwise=width[number])
    for number in _with_rules(columns, drivable, "level_rules", "road_flags"):
        levels, flags = (_rules(columns[c].iloc[number]) if c in columns else [] for c in ("level_rules", "road_flags"))
        unseen = [_span(rule) for rule in levels if (rule.get("value") or 0) < 0]
        unseen += [_span(rule) for rule in flags if not UNSEEN.isdisjoint(_list(rule.get("values")))]
        if unseen:
            geometry[number] = without(geometry[number], unseen)
            names[number] = "road" if geometry[number] is not None else None
    return Meaning(geometry, names, width)


def without(line: Any, spans: Iterable[Span]) -> Any:
    """A line without some spans, each from one share of its length to another; None where nothing is left."""
    left, start = [], 0.0
    for low, high in [*sorted(spans), (1.0, 1.0)]:
        if low > start:
            left.append(shapely.ops.substring(line, start, low, normalized=True))
        start = max(start, high)
    return None if not left else left[0] if len(left) == 1 else shapely.MultiLineString(left)


def _each(columns: Any, name: str, rule: Any) -> NDArray[np.bool_]:
    if name not in columns:
        return np.zeros(len(columns), bool)
    return by_value(columns[name], rule, bool)


def _with_rules(columns: Any, among: NDArray[np.bool_], *names: str) -> NDArray[np.intp]:
    some = np.zeros(len(columns), bool)
    for name in names:
        if name in columns:
            some |= columns[name].notna().to_numpy()
    return np.flatnonzero(some & among)


def _rules(value: Any) -> list[dict[str, Any]]:
    """The rules of a feature: a list, or, in formats without lists, its JSON."""
    return [rule for rule in _list(value) if isinstance(rule, dict)]


def _list(value: Any) -> Sequence[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return list(value) if isinstance(value, list | tuple | np.ndarray) else []


def _span(rule: dict[str, Any]) -> Span:
    between = _list(rule.get("between"))
    return (float(between[0] or 0), float(between[1])) if len(between) == len(("from", "to")) else (0.0, 1.0)


def _widest_span(rules: list[dict[str, Any]], *, otherwise: float) -> float:
    """The width that holds for the longest part."""
    said = [(high - low, float(rule["value"])) for rule in rules if rule.get("value") for low, high in [_span(rule)]]
    width = max(said)[1] if said else otherwise
    return width if 0 < width <= WIDEST else otherwise
