"""How QGIS shows a review: the styles that a GeoPackage carries with it, and that QGIS takes up by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

from tasks.raster.classes import ClassMap, Colour
from tasks.raster.project import outline_symbol

WHY: dict[str, tuple[str, Colour]] = {
    "unsure": ("the label is likely wrong", (243, 156, 18)),
    "overlooked": ("something may be there", (142, 68, 173)),
    "missing": ("only the reference has it", (214, 40, 40)),
    "extra": ("only the labels have it", (32, 110, 200)),
    "dropped": ("a vector that the picture does not show", (90, 90, 90)),
}
"""Reasons to look at a place: what each means, and its colour."""

_STYLES = """CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT,
styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""
"""The table that QGIS itself makes and reads."""


def objects_style(classes: ClassMap) -> str:
    """A QML document: outlines in the colours of their classes."""
    return _by_value("class", [(one.name, one.name, one.colour) for one in classes.classes], filled=False)


def places_style() -> str:
    """A QML document: places in the colours of why they are to be looked at."""
    return _by_value("why", [(why, f"{why}: {text}", colour) for why, (text, colour) in WHY.items()], filled=True)


def _by_value(column: str, kinds: Sequence[tuple[str, str, Colour]], *, filled: bool) -> str:
    root = ET.Element("qgis", version="3.22.0", styleCategories="Symbology")
    renderer = ET.SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=column, symbollevels="0", forceraster="0"
    )
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    for number, (value, label, colour) in enumerate(kinds):
        ET.SubElement(categories, "category", symbol=str(number), value=value, label=label, render="true")
        symbols.append(outline_symbol(str(number), colour, fill=60 if filled else 0, width=0.5))
    ET.SubElement(root, "blendMode").text = "0"
    ET.indent(root)
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + ET.tostring(root, encoding="unicode")


def store_styles(path: Path, styles: dict[str, str]) -> None:
    """Put styles into a GeoPackage, by layer, as those that QGIS opens it with."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_STYLES)
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles')"
        )
        database.executemany(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, useAsDefault) VALUES ('', '', ?, 'geom', ?, ?, 1)",
            [(layer, layer, qml) for layer, qml in styles.items()],
        )
