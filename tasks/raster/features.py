"""What vector files hold, layer by layer, before anybody asks what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import shapely
from numpy.typing import NDArray

from tasks.raster.grid import Bounds

LINES = (shapely.GeometryType.LINESTRING, shapely.GeometryType.MULTILINESTRING)
POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)

Near = Callable[[pyproj.CRS | None], list[Bounds] | None]
"""The boxes, in a file's CRS, outside of which nothing is wanted; None where everything is."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Features of one layer of a file, those that lie near."""

    name: str
    columns: pd.DataFrame
    """Their attributes, of those that were asked for."""
    fields: frozenset[str]
    """The names of all attributes."""
    geometry: NDArray[np.object_]
    """shapely geometries in the layer's CRS, None where there is none."""
    crs: pyproj.CRS | None
    total: int | None
    """Features of the layer, near or not; None where nobody has counted."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """Features with what they show."""

    geometry: NDArray[np.object_]
    names: NDArray[np.object_]
    """The class of each by its name; None where it has none."""
    width: NDArray[np.float64]
    """Ground metres of lines that say so; else NaN."""


def are_polygons(geometry: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which geometries are polygons."""
    found: NDArray[np.bool_] = np.isin(shapely.get_type_id(geometry), POLYGONS)
    return found


def are_lines(geometry: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which geometries are lines."""
    found: NDArray[np.bool_] = np.isin(shapely.get_type_id(geometry), LINES)
    return found


def by_value(column: Any, rule: Callable[[str], Any], kind: type) -> NDArray[Any]:
    """What a rule makes of each value of a column, asked once a different value.

    Args:
        column: values of any type, some missing; or the one value of all rows.
        rule: takes a value as lower-case text, '' where it is missing.
        kind: numpy type of what it gives.
    """
    try:
        codes, values = pd.factorize(column)
    except TypeError:  # lists, which have no hash
        codes, values = pd.factorize(pd.Series(column).astype(str))
    # A missing value has the code -1: the last entry.
    table: NDArray[Any] = np.array([*(rule(str(value).strip().lower()) for value in values), rule("")], kind)
    found: NDArray[Any] = table[codes]
    return found
