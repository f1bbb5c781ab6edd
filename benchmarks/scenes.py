"""The scenes that are measured on: worlds as plain RGB GeoTIFFs, and big ones that repeat a world's blocks."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import geoloom
from tasks.raster.gdal import rasterio

BLOCK = 512
BANDS = ("red", "green", "blue")
WORLD = 8192
"""Pixels a side of the largest world that is painted (1 million pixels a second); larger scenes repeat it."""


def rgb_scene(out: Path, size: int) -> Path:
    """A scene of size x size pixels of red, green and blue: tiled, deflate, every pixel valid; made once.

    Where it is larger than a painted world, the world's blocks are repeated: the pixels stay as hard to compress, and
    a window of them is in memory at a time.
    """
    scene = out / f"scene_{size}.tif"
    if scene.is_file():
        return scene
    world = _world(out, min(size, WORLD))
    partial = scene.with_suffix(".partial")
    with rasterio.open(world) as source:
        place = {"crs": source.crs, "transform": source.transform}
        options = _layout(size) | place | {"zlevel": 1 if size > WORLD else 6, "num_threads": "ALL_CPUS"}
        with rasterio.open(partial, "w", **options) as target:
            _name_bands(target)
            step = min(4 * BLOCK, WORLD)
            for top in range(0, size, step):
                for left in range(0, size, step):
                    height, width = min(step, size - top), min(step, size - left)
                    where = rasterio.windows.Window(left % WORLD, top % WORLD, width, height)
                    pixels = source.read([1, 2, 3], window=where)
                    target.write(pixels, window=rasterio.windows.Window(left, top, width, height))
    partial.replace(scene)
    return scene


def write_rgb(scene: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write (band, y, x) as such a scene, without a CRS."""
    scene.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(scene, "w", **_layout(pixels.shape[1])) as target:
            _name_bands(target)
            target.write(pixels)
    return scene


def _layout(size: int) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "height": size,
        "width": size,
        "count": len(BANDS),
        "dtype": "uint8",
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "DEFLATE",
        "bigtiff": "IF_SAFER",
    }


def _name_bands(target: Any) -> None:
    target.descriptions = BANDS
    target.colorinterp = [rasterio.enums.ColorInterp[name] for name in BANDS]


def _world(out: Path, size: int) -> Path:
    world = out / f"world_{size}.tif"
    if not world.is_file():
        out.mkdir(parents=True, exist_ok=True)
        geoloom(["world", "--size", str(size), "--seed", "1", "--out", str(world)])
    return world


def fresh(folder: Path) -> Path:
    """A folder's path with nothing there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder
