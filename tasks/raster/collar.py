"""A collar: the black or white frame that a warped or cut scene has where it has no data, and does not say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.raster.grid import Window
from tasks.raster.places import is_address
from tasks.raster.scene import Scene, open_scene, read_open

DEEP = 8
"""Rows and columns along the scene's edge that are looked at."""
SMALLEST = 256
"""Pixels along the shorter side of an overview that is looked at."""
SHARE = 0.1
"""Of them, what must have the value in all bands."""


@dataclass(frozen=True, slots=True)
class Collar:
    """What a scene's edge is full of."""

    value: float
    share: float
    """Of the pixels along the edge."""


def find_collar(scene: Scene) -> Collar | None:
    """The value that fills much of a scene's edge in all bands, the least or the most of its type; None without such.

    Only a scene that declares no nodata, alpha or mask can have one. Overviews are looked at where there are some.
    Where there are none, columns of a striped file are not, which would cost a pass over all of it, nor is a file on a
    server.

    Raises:
        UnusableInput: these pixels are truncated or corrupt.
    """
    kind = np.dtype(scene.dtype)
    if scene.nodata is not None or scene.alpha is not None or scene.masked or scene.palette:
        return None
    height, width = scene.grid.shape
    candidates = [0.0] if kind.kind == "f" else sorted({0.0, float(np.iinfo(kind).max)})
    full, count = dict.fromkeys(candidates, 0), 0
    with open_scene(scene) as source:
        step = max((o for o in source.overviews(1) if min(height, width) >= SMALLEST * o), default=1)
        if step == 1 and is_address(scene.path):
            return None
        down, across = min(DEEP * step, height), min(DEEP * step, width)
        sides: list[Window] = [
            (slice(0, down), slice(0, width)),
            (slice(height - down, height), slice(0, width)),
        ]
        if step > 1 or source.block_shapes[0][1] < width:
            sides += [(slice(0, height), slice(0, across)), (slice(0, height), slice(width - across, width))]
        for side in sides:
            rows, cols = (-(-(s.stop - s.start) // step) for s in side)
            image, _ = read_open(source, scene, side, bands=scene.bands, shape=(rows, cols))
            count += image[0].size
            for value in candidates:
                full[value] += int(np.count_nonzero((image == value).all(axis=0)))
    value = max(candidates, key=lambda v: full[v])
    return Collar(value, full[value] / count) if full[value] >= SHARE * count else None
