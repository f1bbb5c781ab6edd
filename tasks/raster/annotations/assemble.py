"""A scene out of pictures: each lies where it is said to, with what it says of its own nodata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.annotations.picture import Picture
from tasks.raster.gdal import rasterio
from tasks.raster.geotiff import georeference, noticing_a_full_disk
from tasks.raster.grid import Window, same_place, windows
from tasks.raster.scene import Scene, describe_scene, read_scene

TILE, BLOCK = 512, 2048
NEAR = 5
"""Grey values by which JPEG moves what was of one colour."""
SMALLEST = 1000
"""Pixels of an area without data; a bright roof at the edge has fewer."""


def is_whole(pictures: Sequence[Picture], *, fill: int | None) -> bool:
    """Whether the file of the one picture of a scene is that scene as it is."""
    first, *others = pictures
    return (
        not others and fill is None and first.at == (0, 0) and same_place(describe_scene(first.file).grid, first.whole)
    )


def assemble(pictures: Sequence[Picture], path: Path, *, nodata: float | None, fill: int | None) -> None:
    """Write a scene's pictures as one GeoTIFF with a mask; what none of them covers is nodata.

    Args:
        pictures: of one scene.
        path: the GeoTIFF.
        nodata: what all bands of a pixel without data have, in pictures that do not say so.
        fill: what areas at a picture's edge have in all bands, or nearly, where there is no data.

    Raises:
        UnusableInput: a picture cannot be read, lies outside the scene, or has other bands than the first.
    """
    scenes = [describe_scene(picture.file, nodata=nodata) for picture in pictures]
    first, whole = scenes[0], pictures[0].whole
    for picture, scene in zip(pictures, scenes, strict=True):
        _check(picture, scene, pictures[0], first)
    options: dict[str, Any] = {
        "driver": "GTiff", "height": whole.shape[0], "width": whole.shape[1], "count": len(first.bands),
        "dtype": first.dtype, "tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "ZSTD",
        "zstd_level": 1, "bigtiff": "IF_SAFER", "interleave": "pixel", "sparse_ok": True,
    }  # fmt: skip
    with (
        noticing_a_full_disk(path),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **options, **georeference(whole)) as target,
    ):
        target.descriptions = first.bands
        for picture, scene in zip(pictures, scenes, strict=True):
            # Where nothing was taken is known of whole pictures only.
            for window in windows(picture.shape, max(picture.shape) if fill is not None else BLOCK):
                image, valid = read_scene(scene, window, bands=first.bands)
                if fill is not None:
                    valid &= ~filled(image, fill)
                rows, cols = (slice(s.start + at, s.stop + at) for s, at in zip(window, picture.at, strict=True))
                place = rasterio.windows.Window.from_slices(rows, cols)
                target.write(image, window=place)
                target.write_mask(valid.astype(np.uint8) * 255, window=place)


def _check(picture: Picture, scene: Scene, leader: Picture, first: Scene) -> None:
    rows, cols = picture.window
    shape = picture.whole.shape
    if not (rows.start >= 0 and rows.stop <= shape[0] and cols.start >= 0 and cols.stop <= shape[1]):
        raise UnusableInput(
            f"{picture.file} lies at row {rows.start}, column {cols.start}, outside its scene of {shape[0]} rows and "
            f"{shape[1]} columns; export the data set again."
        )
    if not same_place(picture.whole, leader.whole):
        raise UnusableInput(f"{picture.file} and {leader.file} are said to be of one scene, and of two grids.")
    if (scene.bands, scene.dtype) != (first.bands, first.dtype):
        raise UnusableInput(
            f"{picture.file} has the bands {', '.join(scene.bands)} of {scene.dtype} and {leader.file} has "
            f"{', '.join(first.bands)} of {first.dtype}; pictures of one scene have the same."
        )


def filled(image: NDArray[Any], fill: int) -> NDArray[np.bool_]:
    """Where nothing was taken: areas at a picture's edge that have a value, or nearly, in all bands.

    Args:
        image: (band, y, x), a whole picture.
        fill: the value.

    Returns:
        (y, x) True where there is no data.
    """
    from scipy import ndimage

    alike: NDArray[np.bool_] = np.all(np.abs(image.astype(np.int32) - fill) <= NEAR, axis=0)
    areas, count = ndimage.label(alike)
    if not count:
        return alike
    sizes = np.bincount(areas.ravel())
    edge = np.zeros(count + 1, bool)
    for side in (areas[0], areas[-1], areas[:, 0], areas[:, -1]):
        edge[side] = True
    large: NDArray[np.bool_] = (sizes >= SMALLEST) & edge
    large[0] = False
    found: NDArray[np.bool_] = large[areas]
    return found


def scene_window(picture: Picture, block: Window) -> tuple[Window, Window] | None:
    """What a picture shows of a block of its scene: the window in the picture, and in the block; None where nothing."""
    pairs = []
    for own, wanted in zip(picture.window, block, strict=True):
        start, stop = max(own.start, wanted.start), min(own.stop, wanted.stop)
        if start >= stop:
            return None
        pairs.append((slice(start - own.start, stop - own.start), slice(start - wanted.start, stop - wanted.start)))
    (rows, block_rows), (cols, block_cols) = pairs
    return (rows, cols), (block_rows, block_cols)
