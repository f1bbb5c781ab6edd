"""How QGIS shows a class map: the style that it takes up by itself, because it lies beside the raster by its name."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tasks.raster.classes import ClassMap
from tasks.raster.project import paletted

_COLUMNS = (("Value", "0", "5"), ("Class", "2", "2"), ("Red", "0", "6"), ("Green", "0", "7"), ("Blue", "0", "8"))
"""Of the table: name, GDAL's type (0 integer, 2 text) and GDAL's use (5 value, 2 name, 6 to 8 colours)."""
_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def class_style(classes: ClassMap) -> str:
    """A QML document: each class in its colour and by its name, `other` clear, so that what lies below is seen."""
    root = ET.Element("qgis", version="3.22.0", styleCategories="AllStyleCategories")
    ET.SubElement(root, "pipe").append(paletted(tuple((one.name, one.colour) for one in classes.classes)))
    ET.SubElement(root, "blendMode").text = "0"
    ET.indent(root)
    return _HEAD + ET.tostring(root, encoding="unicode") + "\n"


def class_table(classes: ClassMap) -> str:
    """GDAL's own notes beside a raster (NAME.tif.aux.xml): the classes' names, and a table of names and colours.

    The elements are those that GDAL writes (https://gdal.org/en/stable/user/raster_data_model.html#raster-attribute-table).
    """
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    names = ET.SubElement(band, "CategoryNames")
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = ET.SubElement(table, "FieldDefn", index=str(index))
        for tag, text in (("Name", name), ("Type", kind), ("Usage", usage)):
            ET.SubElement(column, tag).text = text
    for number, one in enumerate(classes.classes):
        ET.SubElement(names, "Category").text = one.name
        row = ET.SubElement(table, "Row", index=str(number))
        for value in (number, one.name, *one.colour):
            ET.SubElement(row, "F").text = str(value)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
