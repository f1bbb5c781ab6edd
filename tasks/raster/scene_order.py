"""Which scene lies over which: by when it was taken, or by how much data it has."""

from __future__ import annotations

import numpy as np

from infra.errors import UnusableInput
from tasks.raster.grid import whole
from tasks.raster.scene import Scene, open_scene, read_open

LOOK = 1024
"""Pixels along the longer side at which data are counted: every n-th of a file without overviews."""


def by_date(scenes: tuple[Scene, ...]) -> tuple[Scene, ...]:
    """Scenes in the order in which they were taken; those of one moment as they were given.

    Raises:
        UnusableInput: one does not say when it was taken.
    """
    for scene in scenes:
        if not scene.date:
            raise UnusableInput(
                f"{scene.name} does not say when it was taken (ACQUISITIONDATETIME or TIFFTAG_DATETIME); order the "
                "scenes by name, the newest last, and leave out --order."
            )
    return tuple(sorted(scenes, key=lambda scene: scene.date))


def by_data(scenes: tuple[Scene, ...]) -> tuple[Scene, ...]:
    """Scenes by the share of their pixels that is data, the fullest last; equal ones as they were given.

    Raises:
        UnusableInput: one is truncated or corrupt.
    """
    shares = [valid_share(scene) for scene in scenes]
    return tuple(scenes[n] for n in sorted(range(len(scenes)), key=lambda n: shares[n]))


def valid_share(scene: Scene) -> float:
    """About which share of a scene's pixels is data, in 0..1, from at most 1,024 pixels a side."""
    shape = tuple(scene.grid.shape)
    step = max(-(-max(shape) // LOOK), 1)
    with open_scene(scene) as source:
        look = (-(-shape[0] // step), -(-shape[1] // step))
        _, valid = read_open(source, scene, whole(scene.grid), bands=scene.bands, shape=look)
    return float(np.count_nonzero(valid) / valid.size)
