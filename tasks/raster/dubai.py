"""The Dubai data set (Humans in the Loop, CC0): nine parts a scene, masks painted in class colours, no CRS.

    tile4/images/image_part_001.jpg ... 009.jpg    tile4/masks/image_part_001.png ... 009.png

Parts lie row by row and differ by a pixel or two in size; each is cut to the smallest.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image

from infra.errors import UnusableInput
from tasks.raster.classes import DEFAULT_CLASSES, IGNORE
from tasks.raster.gdal import rasterio
from tasks.raster.geotiff import Layout, class_layout, write_geotiff
from tasks.raster.grid import whole
from tasks.raster.ogr import geopandas, pyogrio
from tasks.raster.opening import open_raster
from tasks.raster.skeleton import centre_lines

COLOURS = {
    "building": (60, 16, 152),
    "road": (110, 193, 228),
    "land": (132, 41, 246),
    "vegetation": (254, 221, 58),
    "water": (226, 169, 41),
}
"""The masks' own colours; any other pixel is unlabelled."""
SMALLEST = 100
"""Pixels of a building that a map would hold."""
ATTRIBUTION = "Humans in the Loop, semantic segmentation of aerial imagery (Dubai), CC0"


def stitch(folder: Path, tile: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Join a tile's parts.

    Returns:
        image (3, y, x) uint8, and label (y, x) uint8 in the default class map, 255 where unlabelled.

    Raises:
        UnusableInput: a part is missing.
    """
    images, masks = (
        _parts(folder / f"tile{tile}" / kind, suffix) for kind, suffix in (("images", "jpg"), ("masks", "png"))
    )
    height, width = (min(p.shape[axis] for p in images + masks) for axis in (0, 1))
    image, colour = (_join([p[:height, :width] for p in parts]) for parts in (images, masks))
    label = np.full(colour.shape[:2], IGNORE, np.uint8)
    for name, painted in COLOURS.items():
        label[(colour == painted).all(axis=-1)] = DEFAULT_CLASSES.id(name)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), label


def write_scene(folder: Path, tile: int, out: Path, *, name: str | None = None) -> tuple[Path, Path]:
    """Write a tile as `NAME.tif` and its truth as `NAME_truth.tif`, `dubai_N` by default; returns both paths.

    Raises:
        UnusableInput: a part is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    image, label = stitch(folder, tile)
    grid = GeoBox(label.shape, Affine.identity(), None)
    name = name or f"dubai_{tile}"
    scene, truth = out / f"{name}.tif", out / f"{name}_truth.tif"
    tags = {"TIFFTAG_COPYRIGHT": ATTRIBUTION}
    bands = Layout(grid, ("red", "green", "blue"), None, "AVERAGE", tags=tags)
    for path, layout, pixels in (
        (scene, bands, image),
        (truth, class_layout(grid, DEFAULT_CLASSES, tags=tags), label[None]),
    ):
        write_geotiff(path, layout, [(whole(grid), pixels)], scratch=path.with_suffix(".scratch"))
    return scene, truth


def _parts(folder: Path, suffix: str) -> list[NDArray[np.uint8]]:
    paths = [folder / f"image_part_{i:03d}.{suffix}" for i in range(1, 10)]
    for path in paths:
        if not path.is_file():
            raise UnusableInput(f"There is no {path}; expected the nine parts of a Dubai tile.")
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def _join(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.vstack([np.hstack(parts[row : row + 3]) for row in (0, 3, 6)])


def write_prompts(truth: Path, out: Path) -> Path:
    """Write what a map would hold of a tile's truth, building outlines and road lines, as a GeoPackage without CRS.

    Outlines are the connected areas of the masks, simplified to 2 pixels; those under 100 pixels are left out.
    """
    with open_raster(truth) as source:
        label = source.read(1)
    areas = np.where(label == DEFAULT_CLASSES.id("building"), np.uint8(1), np.uint8(0))
    outlines = [
        shapely.geometry.shape(outline).simplify(2.0)
        for outline, _ in rasterio.features.shapes(areas, mask=areas > 0, transform=Affine.identity())
    ]
    lines, widths = centre_lines(label == DEFAULT_CLASSES.id("road"))
    layers = {
        "buildings": geopandas.GeoDataFrame(geometry=[o for o in outlines if o.area >= SMALLEST]),
        "roads": geopandas.GeoDataFrame({"width": widths}, geometry=lines),
    }
    out.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it has no CRS is meant
        for name, frame in layers.items():
            pyogrio.write_dataframe(frame, out, layer=name, driver="GPKG", append=out.exists())
    return out
