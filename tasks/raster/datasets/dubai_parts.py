"""The Dubai data set as it was unpacked: each tile a scene of nine parts, put together where they are read."""

from __future__ import annotations

import re
from pathlib import Path

from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.annotations.documents import natural, require_folder
from tasks.raster.annotations.picture import About, Annotation, AnnotationSet, Picture
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.datasets.masks import Painted
from tasks.raster.dubai import ATTRIBUTION, COLOURS
from tasks.raster.grid import Window
from tasks.raster.opening import open_raster

SIDE = 3
"""Parts a side of a tile."""
ABOUT = About(DEFAULT_CLASSES.names, tuple(COLOURS), ATTRIBUTION, "unlabelled")
MASK = Painted(tuple(COLOURS.items()))


def open_dubai(folder: Path) -> AnnotationSet:
    """Open the folder that holds `tile1`, or `Tile 1`, and so on, with `images` and `masks` in each.

    Raises:
        UnusableInput: there is no such tile.
    """
    require_folder(folder)
    pictures: list[Picture] = []
    left_out: list[str] = []
    for images in natural(folder.glob("**/images")):
        tile = images.parent
        number = re.fullmatch(r"tile\s*(\d+)", tile.name.lower())
        if number is None:
            continue
        parts = [images / f"image_part_{n:03d}.jpg" for n in range(1, SIDE**2 + 1)]
        missing = [path for part in parts for path in (part, _mask(part)) if not path.is_file()]
        if missing:
            left_out.append(f"The tile {tile} has no {missing[0]}; expected nine parts and their masks.")
            continue
        pictures += _scene(f"dubai_{number[1]}", parts)
    if not pictures and not left_out:
        raise UnusableInput(f"{folder} holds no tile: looked for tileN/images/image_part_001.jpg ... 009.jpg.")

    def read(picture: Picture, window: Window) -> Annotation:
        return MASK.read(_mask(picture.file), picture, window, about=ABOUT)

    return AnnotationSet(ABOUT, tuple(pictures), read, lambda p: (_mask(p.file),), tuple(left_out))


def _mask(part: Path) -> Path:
    return part.parent.parent / "masks" / f"{part.stem}.png"


def _scene(name: str, parts: list[Path]) -> list[Picture]:
    """Parts lie row by row, and differ by a pixel or two in size: each is cut to the smallest."""
    sizes = []
    for path in (*parts, *map(_mask, parts)):
        with open_raster(path) as source:
            sizes.append((source.height, source.width))
    height, width = (min(size[axis] for size in sizes) for axis in (0, 1))
    whole = GeoBox((SIDE * height, SIDE * width), Affine.identity(), None)
    return [
        Picture(f"{name}_{n + 1}", part, (height, width), name, whole, (n // SIDE * height, n % SIDE * width))
        for n, part in enumerate(parts)
    ]
