"""A QGIS project that opens a map's products as a cartographer would lay them: what lies above what, and how drawn.

QGIS need not be installed to write it: a project is XML (read by QGIS 3.22 and newer), its paths relative to itself, so
that the folder can be moved or zipped. Where products lie nowhere, QGIS counts a raster's rows upwards from minus their
number, and vectors, whose rows go downwards, are shown through a virtual layer that turns them over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote
from xml.etree import ElementTree as ET

from tasks.raster.classes import Colour

Box = tuple[float, float, float, float]
_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION = "3.22.0"
_WKB = {"Polygon": "3", "LineString": "2", "Point": "1"}
_SYMBOL = {"Polygon": "fill", "LineString": "line", "Point": "marker"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One layer of a project, and how it is drawn."""

    name: str
    """As the list of layers shows it."""
    source: str
    """The file beside the project, for vectors with `|layername=`."""
    kind: Literal["classes", "share", "colours", "Polygon", "LineString", "Point"]
    colours: tuple[tuple[str, Colour], ...] = ()
    """classes: name and colour by id; else one."""
    band: int = 1
    """share: the band shown."""
    bands: tuple[int, ...] = ()
    """colours: those shown as red, green and blue."""
    stretch: tuple[tuple[float, float], ...] = ()
    """colours: the least and the most of each that is told apart."""
    width: str = ""
    """LineString: QGIS's expression of widths, in metres, or in units of a map without CRS; '' draws all alike."""
    opacity: float = 1.0
    shown: bool = True


def project(title: str, layers: tuple[Drawn, ...], *, crs: str | None, extent: Box, turned: bool) -> str:
    """A project document.

    Args:
        title: of the project.
        layers: the topmost first.
        crs: WKT; None where products lie nowhere.
        extent: left, bottom, right and top of what is shown at first, in that CRS.
        turned: vectors are in columns and rows, which QGIS shows upside down beside rasters without a transform.
    """
    root = ET.Element("qgis", projectname=title, version=_VERSION)
    ET.SubElement(root, "title").text = title
    _reference(ET.SubElement(root, "projectCrs"), crs)
    tree, documents, order = ET.Element("layer-tree-group"), ET.Element("projectlayers"), ET.Element("layerorder")
    for number, layer in enumerate(layers):
        key = f"geoloom_layer_{number}"  # QGIS takes no shorter ones
        if turned and layer.kind in _WKB:
            _list(tree, f"{key}_file", f"{layer.name} (rows downwards)", layer, "ogr", shown=False)
            _vector(documents, f"{key}_file", layer, crs, source=f"./{layer.source}", provider="ogr")
            _list(tree, key, layer.name, layer, "virtual", shown=layer.shown)
            _vector(documents, key, layer, crs, source=_turned(f"{key}_file", layer), provider="virtual")
        elif layer.kind in _WKB:
            _list(tree, key, layer.name, layer, "ogr", shown=layer.shown)
            _vector(documents, key, layer, crs, source=f"./{layer.source}", provider="ogr")
        else:
            _list(tree, key, layer.name, layer, "gdal", shown=layer.shown)
            _raster(documents, key, layer, crs)
        ET.SubElement(order, "layer", id=key)
    sides = {name: repr(float(v)) for name, v in zip(("xmin", "ymin", "xmax", "ymax"), extent, strict=True)}
    view = ET.Element("ProjectViewSettings", UseProjectScales="0")
    _reference(ET.SubElement(view, "DefaultViewExtent", sides), crs)
    canvas = ET.Element("mapcanvas", name="theMapCanvas", annotationsVisible="1")
    ET.SubElement(canvas, "units").text = "unknown" if crs is None else "meters"
    box = ET.SubElement(canvas, "extent")
    for name, value in sides.items():
        ET.SubElement(box, name).text = value
    _reference(ET.SubElement(canvas, "destinationsrs"), crs)
    root.extend((tree, canvas, documents, order, view))
    properties = ET.SubElement(root, "properties")
    ET.SubElement(ET.SubElement(properties, "Paths"), "Absolute", type="bool").text = "false"
    projections = ET.SubElement(ET.SubElement(properties, "SpatialRefSys"), "ProjectionsEnabled", type="int")
    projections.text = "0" if crs is None else "1"
    ET.indent(root)
    return _HEAD + ET.tostring(root, encoding="unicode") + "\n"


def _turned(file: str, layer: Drawn) -> str:
    """A virtual layer of another, rows upwards."""
    query = f"SELECT *, ScaleCoords(geometry, 1, -1) AS turned FROM {file}"  # noqa: S608 - a name of ours
    return f"?layer_ref={file}&query={quote(query)}&geometry=turned:{_WKB[layer.kind]}:0"


def _list(tree: ET.Element, key: str, name: str, layer: Drawn, provider: str, *, shown: bool) -> None:
    state = "Qt::Checked" if shown else "Qt::Unchecked"
    source = f"./{layer.source}" if provider != "virtual" else ""
    ET.SubElement(
        tree, "layer-tree-layer", id=key, name=name, source=source, providerKey=provider, checked=state, expanded="0"
    )


def _reference(parent: ET.Element, crs: str | None) -> None:
    system = ET.SubElement(parent, "spatialrefsys")
    if crs is not None:
        ET.SubElement(system, "wkt").text = crs


def _layer(documents: ET.Element, key: str, name: str, source: str, crs: str | None, **kind: str) -> ET.Element:
    document = ET.SubElement(documents, "maplayer", {"styleCategories": "AllStyleCategories", **kind})
    for tag, text in (("id", key), ("datasource", source), ("layername", name)):
        ET.SubElement(document, tag).text = text
    _reference(ET.SubElement(document, "srs"), crs)
    return document


def _vector(documents: ET.Element, key: str, layer: Drawn, crs: str | None, *, source: str, provider: str) -> None:
    document = _layer(documents, key, layer.name, source, crs, type="vector", geometry=layer.kind)
    ET.SubElement(document, "provider", encoding="UTF-8").text = provider
    renderer = ET.SubElement(document, "renderer-v2", type="singleSymbol", symbollevels="0", forceraster="0")
    symbol = ET.SubElement(
        ET.SubElement(renderer, "symbols"),
        "symbol",
        {"type": _SYMBOL[layer.kind], "name": "0", "alpha": str(layer.opacity), "clip_to_extent": "1"},
    )
    colour = layer.colours[0][1]
    dark = tuple(value * 6 // 10 for value in colour)
    pens: dict[str, tuple[str, dict[str, str]]] = {
        "Polygon": (
            "SimpleFill",
            {"color": _rgba(colour, 110), "outline_color": _rgba(dark, 255), "outline_width": "0.26", "style": "solid",
             "outline_style": "solid", "outline_width_unit": "MM"},
        ),
        "LineString": (
            "SimpleLine",
            {"line_color": _rgba(colour, 255), "line_width": "0.6", "line_width_unit": "MM", "capstyle": "round",
             "joinstyle": "round", "line_style": "solid"},
        ),
        "Point": (
            "SimpleMarker",
            {"name": "circle", "color": "255,255,255,255", "outline_color": _rgba(dark, 255), "size": "1.2",
             "size_unit": "MM"},
        ),
    }  # fmt: skip
    pen, options = pens[layer.kind]
    if layer.width:
        options |= {"line_width_unit": "RenderMetersInMapUnits" if crs else "MapUnit"}
    drawn = ET.SubElement(symbol, "layer", {"class": pen, "enabled": "1", "locked": "0", "pass": "0"})
    _options(drawn, options)
    if layer.width:
        _by_expression(drawn, "outlineWidth", layer.width)
    ET.SubElement(document, "blendMode").text = "0"


def outline_symbol(name: str, colour: Colour, *, fill: int, width: float) -> ET.Element:
    """QGIS's symbol of polygons: an outline of so many millimetres, filled as strongly as `fill` says, of 255."""
    symbol = ET.Element("symbol", type="fill", name=name, alpha="1", clip_to_extent="1")
    drawn = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    _options(
        drawn,
        {"color": _rgba(colour, fill), "outline_color": _rgba(colour, 255), "outline_width": str(width),
         "style": "solid" if fill else "no", "outline_style": "solid", "outline_width_unit": "MM"},
    )  # fmt: skip
    return symbol


def _options(parent: ET.Element, options: Mapping[str, str]) -> None:
    group = ET.SubElement(parent, "Option", type="Map")
    for name, value in options.items():
        ET.SubElement(group, "Option", type="QString", name=name, value=value)


def _by_expression(parent: ET.Element, what: str, expression: str) -> None:
    """Let each feature decide a property."""
    group = ET.SubElement(ET.SubElement(parent, "data_defined_properties"), "Option", type="Map")
    ET.SubElement(group, "Option", type="QString", name="name", value="")
    one = ET.SubElement(ET.SubElement(group, "Option", name="properties", type="Map"), "Option", name=what, type="Map")
    for kind, name, value in (("bool", "active", "true"), ("QString", "expression", expression), ("int", "type", "3")):
        ET.SubElement(one, "Option", type=kind, name=name, value=value)
    ET.SubElement(group, "Option", type="QString", name="type", value="collection")


def _raster(documents: ET.Element, key: str, layer: Drawn, crs: str | None) -> None:
    document = _layer(documents, key, layer.name, f"./{layer.source}", crs, type="raster")
    ET.SubElement(document, "provider").text = "gdal"
    pipe = ET.SubElement(document, "pipe")
    opacity = str(layer.opacity)
    if layer.kind == "classes":
        pipe.append(paletted(layer.colours, opacity=opacity))
    elif layer.kind == "share":
        _share(pipe, layer)
    else:
        bands = dict(zip(("redBand", "greenBand", "blueBand"), map(str, layer.bands), strict=True))
        shown = ET.SubElement(
            pipe, "rasterrenderer", {"type": "multibandcolor", "opacity": opacity, "alphaBand": "-1", **bands}
        )
        ET.SubElement(shown, "rasterTransparency")
        for name, (low, high) in zip(("red", "green", "blue"), layer.stretch, strict=True):
            contrast = ET.SubElement(shown, f"{name}ContrastEnhancement")
            for tag, text in (
                ("minValue", str(low)),
                ("maxValue", str(high)),
                ("algorithm", "StretchToMinimumMaximum"),
            ):
                ET.SubElement(contrast, tag).text = text
    ET.SubElement(document, "blendMode").text = "0"


def paletted(colours: tuple[tuple[str, Colour], ...], *, opacity: str = "1") -> ET.Element:
    """QGIS's renderer of classes by their id; the first is clear, so that what lies below is seen."""
    renderer = ET.Element("rasterrenderer", type="paletted", band="1", opacity=opacity, alphaBand="-1")
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for number, (name, colour) in enumerate(colours):
        code = "#{:02x}{:02x}{:02x}".format(*colour)
        alpha = "255" if number else "0"
        ET.SubElement(palette, "paletteEntry", value=str(number), color=code, alpha=alpha, label=name)
    return renderer


def _share(pipe: ET.Element, layer: Drawn) -> None:
    """A share from clear to the colour, over stored values 0..254."""
    shown = ET.SubElement(
        pipe,
        "rasterrenderer",
        {"type": "singlebandpseudocolor", "band": str(layer.band), "opacity": str(layer.opacity), "alphaBand": "-1",
         "classificationMin": "0", "classificationMax": "1"},
    )  # fmt: skip
    ET.SubElement(shown, "rasterTransparency")
    shader = ET.SubElement(
        ET.SubElement(shown, "rastershader"),
        "colorrampshader",
        {"colorRampType": "INTERPOLATED", "clip": "0", "classificationMode": "1", "minimumValue": "0",
         "maximumValue": "1"},
    )  # fmt: skip
    code = "#{:02x}{:02x}{:02x}".format(*layer.colours[0][1])
    for value, alpha in (("0", "0"), ("0.5", "110"), ("1", "255")):
        ET.SubElement(shader, "item", value=value, label=value, color=code, alpha=alpha)


def _rgba(colour: tuple[int, ...], alpha: int) -> str:
    return ",".join(str(value) for value in (*colour, alpha))
