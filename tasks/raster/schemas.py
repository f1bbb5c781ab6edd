"""What the features of a layer show, by whose columns they have: Overture's, OpenStreetMap's, or one named `class`."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.raster import osm, overture
from tasks.raster.features import Layer, Meaning, by_value
from tasks.raster.road_widths import metres

LAYER_CLASSES = {"buildings": "building", "roads": "road", "building": "building", "road": "road"}
"""Layers whose name says their class."""
COLUMNS = frozenset({"class", "width", *osm.COLUMNS, *overture.COLUMNS})
"""All columns that anything is read from."""


def is_mapped(layer: Layer) -> bool:
    """Whether a layer is OpenStreetMap's or Overture's, whose columns are keys of theirs and say no class of ours."""
    return overture.is_overture(layer) or osm.is_osm(layer)


def meaning_of(layer: Layer, vector_class: str | None) -> Meaning:
    """What each feature shows, and how wide its line is.

    Overture has a column `class`, too, and some of OpenStreetMap's files have one: theirs are told apart first.

    Args:
        layer: of any file.
        vector_class: the class of features that name none, in files that are neither Overture's nor OpenStreetMap's.
    """
    if overture.is_overture(layer):
        return overture.overture_meaning(layer)
    if osm.is_osm(layer):
        return osm.osm_meaning(layer)
    fallback = LAYER_CLASSES.get(layer.name.lower(), vector_class)
    names: NDArray[np.object_] = np.full(len(layer.geometry), fallback, object)
    width = np.full(len(layer.geometry), np.nan)
    if "class" in layer.columns and not pd.api.types.is_numeric_dtype(layer.columns["class"]):
        names = by_value(layer.columns["class"], lambda said: said or fallback, object)
    if "width" in layer.columns:
        width = by_value(layer.columns["width"], metres, float)
    return Meaning(layer.geometry, names, width)
