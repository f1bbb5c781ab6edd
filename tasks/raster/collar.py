"""A collar: the black or white frame that a warped or cut scene has where it has no data, and does not say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.raster.grid import Window
from tasks.raster.places import is_address
from tasks.raster.scene import Scene, open_scene, read_open

DEEP = 8
"""Rows and columns along the scene's edge that are looked at."""
SMALLEST = 256
"""Pixels along the shorter side of an overview that is looked at."""
SHARE = 0.1
"""Of them, what must have the value in all bands."""
PROBES = 5
"""Places along a side, corners included, that are looked at before all of it is."""


_FLOATS = (0.0, 1.0, -9999.0, -32768.0)
_FILLS = {"int16": (0.0, 32767.0, -9999.0, -32768.0), "float32": _FLOATS, "float64": _FLOATS}
"""What those who declare no nodata write where there is none; of other types 0 and the most that they can hold."""


@dataclass(frozen=True, slots=True)
class Collar:
    """What a scene's edge is full of."""

    value: float
    share: float
    """Of the pixels along the edge."""


def find_collar(scene: Scene) -> Collar | None:
    """The value that fills much of a scene's edge in all bands, of those that stand for no data; None without such.

    Only a scene that declares no nodata, alpha or mask can have one. Overviews are looked at where there are some.
    Where there are none, a few places along the sides come first, and all of them only where one is full of the value:
    what covers a quarter of a side is found. Columns of a striped file are not looked at then, which would cost a pass
    over all of it, nor is a file on a server.

    Raises:
        UnusableInput: these pixels are truncated or corrupt.
    """
    kind = np.dtype(scene.dtype)
    if scene.nodata is not None or scene.alpha is not None or scene.masked or scene.palette:
        return None
    height, width = scene.grid.shape
    candidates = _FILLS[kind.name] if kind.name in _FILLS else (0.0, float(np.iinfo(kind).max))
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

        def shares(*parts: Window) -> NDArray[np.float64]:
            """Of the pixels of parts, how many have each candidate's value."""
            found, total = np.zeros(len(candidates)), 0
            for part in parts:
                rows, cols = (-(-(s.stop - s.start) // step) for s in part)
                image, _ = read_open(source, scene, part, bands=scene.bands, shape=(rows, cols))
                found += [np.count_nonzero((image == value).all(axis=0)) for value in candidates]
                total += rows * cols
            return found / total

        if step == 1 and not any((shares(probe) >= SHARE).any() for side in sides for probe in _probes(side)):
            return None
        share, value = max(zip(shares(*sides), candidates, strict=True))
    return Collar(value, float(share)) if share >= SHARE else None


def _probes(side: Window) -> list[Window]:
    """A few squares of a side, evenly spaced from corner to corner."""
    rows, cols = side
    deep = min(rows.stop - rows.start, cols.stop - cols.start)
    down, across = (np.linspace(s.start, s.stop - deep, PROBES).astype(int) for s in side)
    return [(slice(r, r + deep), slice(c, c + deep)) for r, c in zip(down, across, strict=True)]
