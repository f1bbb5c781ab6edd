"""The published data sets by name.

Pixels that a set says nothing of are 255: a pixel that is no road in Massachusetts may be a building, and is 'other' in
no map that has buildings. A set with a class map of its own, as DOTA's, says of every pixel what it is in that map.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tasks.raster.annotations.dota import open_dota
from tasks.raster.annotations.picture import About, AnnotationSet
from tasks.raster.datasets.dubai_parts import open_dubai
from tasks.raster.datasets.masks import Bright, PaintedObjects, Vectors
from tasks.raster.datasets.recipe import Layout, Recipe, open_recipe

MASSACHUSETTS_ROADS = Recipe(
    layouts=(
        Layout("**/sat/*.tif*", ("../map/{name}.tif", "../map/{name}.tiff")),
        Layout("**/input/*.tif*", ("../output/{name}.tif", "../output/{name}.tiff")),
        Layout("**/t*/*.tif*", ("../{folder}_labels/{name}.tif",)),
        Layout("**/val/*.tif*", ("../{folder}_labels/{name}.tif",)),
        Layout("*.jpg", ("{name}_label.jpg",), stem=r"(?P<name>\d+_\d+)"),
    ),
    mask=Bright("road"),
    known=("road",),
    rest="unknown",
    attribution="Massachusetts Roads Dataset, V. Mnih 2013, imagery MassGIS; no formal licence",
    metres=1.0,
    fill=255,
)

INRIA = Recipe(
    layouts=(
        Layout("**/images/*.tif", ("../gt/{name}.tif",)),
        Layout("*_images.png", ("{name}_labels.png",), stem="(?P<name>.+)_images"),
    ),
    mask=Bright("building"),
    known=("building",),
    rest="unknown",
    attribution="Inria Aerial Image Labeling Dataset, E. Maggiori and others 2017; licence not stated",
    metres=0.3,
)

SPACENET_ATTRIBUTION = "SpaceNet Dataset, SpaceNet Partners, imagery Maxar; CC BY-SA 4.0"

SPACENET_BUILDINGS = Recipe(
    layouts=(
        Layout(
            "**/PS-RGB/*.tif",
            ("../geojson_buildings/{head}geojson_buildings_{tail}.geojson",),
            stem="(?P<head>.*)PS-RGB_(?P<tail>.+)",
        ),
        Layout(
            "**/RGB-PanSharpen/*.tif",
            ("../geojson/buildings/buildings_{tail}.geojson",),
            stem="RGB-PanSharpen_(?P<tail>.+)",
        ),
        Layout(
            "**/3band/*.tif",
            ("../vectordata/geojson/Geo_{tail}.geojson", "../geojson/Geo_{tail}.geojson"),
            stem="3band_(?P<tail>.+)",
        ),
        Layout("*.tif", ("geotiff_labels.geojson",), stem="sample_geotiff"),
    ),
    mask=Vectors("building"),
    known=("building",),
    rest="unknown",
    attribution=SPACENET_ATTRIBUTION,
    nodata=0,
)

SPACENET_ROADS = Recipe(
    layouts=(
        Layout(
            "**/PS-RGB/*.tif",
            ("../geojson_roads/{head}geojson_roads_{tail}.geojson",),
            stem="(?P<head>.*)PS-RGB_(?P<tail>.+)",
        ),
        Layout(
            "**/RGB-PanSharpen/*.tif",
            ("../geojson/spacenetroads/spacenetroads_{tail}.geojson",),
            stem="RGB-PanSharpen_(?P<tail>.+)",
        ),
        Layout("RGB-PanSharpen_*.tif", ("{tail}.geojson",), stem="RGB-PanSharpen_(?P<tail>.+)"),
        Layout("*.tif", ("sample_roads_for_masking.geojson",), stem="road_mask_input"),
    ),
    mask=Vectors("road"),
    known=("road",),
    rest="unknown",
    attribution=SPACENET_ATTRIBUTION,
    nodata=0,
)

ISAID_COLOURS = (
    ("other", (0, 0, 0)),
    ("ship", (0, 0, 63)),
    ("storage-tank", (0, 63, 63)),
    ("baseball-diamond", (0, 63, 0)),
    ("tennis-court", (0, 63, 127)),
    ("basketball-court", (0, 63, 191)),
    ("ground-track-field", (0, 63, 255)),
    ("bridge", (0, 127, 63)),
    ("large-vehicle", (0, 127, 127)),
    ("small-vehicle", (0, 0, 127)),
    ("helicopter", (0, 0, 191)),
    ("swimming-pool", (0, 0, 255)),
    ("roundabout", (0, 191, 127)),
    ("soccer-ball-field", (0, 127, 191)),
    ("plane", (0, 127, 255)),
    ("harbor", (0, 100, 155)),
)
"""The colours of iSAID's semantic masks, in the order of its class ids, as mmsegmentation has them; some readers swap
storage tanks and roundabouts. Not checked against the masks themselves."""
ISAID_CLASSES = tuple(name for name, _ in ISAID_COLOURS)
DOTA_CLASSES = (*ISAID_CLASSES, "container-crane", "airport", "helipad")
"""iSAID's, which annotates the same pictures, and those that DOTA 1.5 and 2.0 have added."""
CLASSES_IN, OBJECTS_IN = ("Semantic_masks", "_instance_color_RGB"), ("Instance_masks", "_instance_id_RGB")

ISAID = Recipe(
    layouts=(
        Layout(
            "**/images/P*.png",
            tuple(
                f"{up}{CLASSES_IN[0]}/{folder}{{name}}{CLASSES_IN[1]}.png"
                for up in ("../", "../../")
                for folder in ("images/", "")
            ),
            stem=r"(?P<name>P\d+)",
        ),
        Layout("P*.png", (f"{{name}}{CLASSES_IN[1]}.png",), stem=r"(?P<name>P\d+)"),
    ),
    mask=PaintedObjects(ISAID_COLOURS, CLASSES_IN, OBJECTS_IN),
    known=ISAID_CLASSES[1:],
    rest="other",
    attribution="iSAID, S. Waqas Zamir and others 2019, on pictures of DOTA; academic use only",
    classes=ISAID_CLASSES,
)

DOTA_ABOUT = About(
    DOTA_CLASSES,
    DOTA_CLASSES[1:],
    "DOTA, G.-S. Xia and others 2018, imagery Google Earth, GF-2, JL-1 and CycloMedia; academic use only",
)

DATASETS: dict[str, Callable[[Path], AnnotationSet]] = {
    "dubai": open_dubai,
    "dota": partial(open_dota, about=DOTA_ABOUT),
    "inria": partial(open_recipe, INRIA),
    "isaid": partial(open_recipe, ISAID),
    "massachusetts-roads": partial(open_recipe, MASSACHUSETTS_ROADS),
    "spacenet-buildings": partial(open_recipe, SPACENET_BUILDINGS),
    "spacenet-roads": partial(open_recipe, SPACENET_ROADS),
}
