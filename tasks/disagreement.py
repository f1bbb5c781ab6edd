"""How much tiles change a network's mind: the prediction in tiles against one whole pass, measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from zarr.storage import MemoryStore

from models.predictor import Predictor
from tasks.raster import cube as cubes
from tasks.raster.blend import predicted_class
from tasks.raster.cube import Cube
from tasks.raster.grid import Window, crop, whole
from tasks.raster.probability import SHARD
from tasks.raster.tiling import cut_scene
from tasks.raster.weave import weave_whole

ACCEPTED = 0.005
"""Share of pixels that may differ."""


@dataclass(frozen=True, slots=True)
class Seams:
    """A margin and ramp, and what they cost."""

    margin: int
    ramp: int
    disagreement: float
    """Share of valid pixels whose class differs from that of one whole pass."""


def choose_seams(predictor: Predictor, cube: Cube, window: Window, *, bands: tuple[int, ...], tile: int) -> Seams:
    """The smallest margin whose disagreement is accepted; the best one where none is.

    Args:
        predictor: the trained network.
        cube: where to measure.
        window: the pixels to measure on, several tiles wide and small enough for one pass.
        bands: the cube's planes that the network takes.
        tile: pixels a side.
    """
    tried: list[Seams] = []
    for part in (32, 16, 8, 5):  # margin as a part of the tile; the ramp is half of it, their sum half a tile at most
        margin, ramp = tile // part, tile // part // 2
        if tile - 2 * margin - ramp < predictor.card.stride:
            break  # such a tile would keep nothing
        found = Seams(margin, ramp, measure(predictor, cube, window, bands=bands, tile=tile, margin=margin, ramp=ramp))
        tried.append(found)
        if found.disagreement <= ACCEPTED:
            return found
    assert tried
    return min(tried, key=lambda s: s.disagreement)


def measure(
    predictor: Predictor, cube: Cube, window: Window, *, bands: tuple[int, ...], tile: int, margin: int, ramp: int
) -> float:
    """The share of valid pixels of a window whose class is another in tiles than in one whole pass."""
    image, valid = cube.read(window, bands=bands)
    stride = predictor.card.stride
    pad = [(0, -n % stride) for n in valid.shape]
    once = predictor(np.pad(image, [(0, 0), *pad])[None], np.pad(valid, pad)[None])[0]
    want = once[:, : valid.shape[0], : valid.shape[1]]

    grid = crop(cube.grid, window)
    tiling = cut_scene(
        (valid.shape[0], valid.shape[1]), tile=tile, margin=margin, ramp=ramp, stride=stride, shard=SHARD
    )
    names = tuple(cube.bands[b] for b in bands)
    place = MemoryStore()
    cubes.create_cube(place, grid, bands=names, dtype=str(cube.dtype), scenes=[])
    cubes.write_block(place, whole(grid), image=image, valid=valid)
    statistics = tuple(cube.statistics[b] for b in bands)
    cubes.finish_cube(place, statistics=statistics, blocks=[(whole(grid), cubes.count_cells(image, valid))])
    got = weave_whole(
        cubes.open_cube(place),
        tiling,
        bands=tuple(range(len(bands))),
        classes=len(predictor.card.classes),
        batch=1,
        forward=predictor,
    )
    differ = predicted_class(got) != predicted_class(want)
    return float(differ[valid].mean()) if valid.any() else 0.0
