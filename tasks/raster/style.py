"""How QGIS shows a class map: the style that it takes up by itself, because it lies beside the raster by its name."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tasks.raster.classes import ClassMap

_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def class_style(classes: ClassMap) -> str:
    """A QML document: each class in its colour and by its name, `other` clear, so that what lies below is seen."""
    root = ET.Element("qgis", version="3.22.0", styleCategories="AllStyleCategories")
    renderer = ET.SubElement(
        ET.SubElement(root, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
    )
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for number, one in enumerate(classes.classes):
        colour = "#{:02x}{:02x}{:02x}".format(*one.colour)
        alpha = "255" if number else "0"
        ET.SubElement(palette, "paletteEntry", value=str(number), color=colour, alpha=alpha, label=one.name)
    ET.SubElement(root, "blendMode").text = "0"
    ET.indent(root)
    return _HEAD + ET.tostring(root, encoding="unicode") + "\n"
