"""How much tiles change a network's mind: the prediction in tiles against one whole pass, measured."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.predictor import Predictor
from tasks.raster import cube as cubes
from tasks.raster import probability as prob
from tasks.raster.blend import NODATA, predicted_class, quantise
from tasks.raster.cube import Cube
from tasks.raster.grid import Window, crop, whole
from tasks.raster.tiling import cut_scene

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
    for part in (32, 16, 8, 5, 4):  # margin as a part of the tile; the ramp is half of it
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
    want = quantise(once[:, : valid.shape[0], : valid.shape[1]])
    want[:, ~valid] = NODATA

    grid = crop(cube.grid, window)
    tiling = cut_scene(
        (valid.shape[0], valid.shape[1]), tile=tile, margin=margin, ramp=ramp, stride=stride, shard=prob.SHARD
    )
    names = tuple(cube.bands[b] for b in bands)
    classes = predictor.card.classes
    with tempfile.TemporaryDirectory(prefix="geoloom-") as folder:
        root = Path(folder)
        cubes.create_cube(root / "cube.zarr", grid, bands=names, dtype=str(cube.dtype), scenes=[])
        cubes.write_block(root / "cube.zarr", whole(grid), image=image, valid=valid)
        prob.create_probability(root / "p.zarr", grid, classes=tuple(classes), shard=tiling.block, attributes={})
        weaving = prob.Weaving(
            tiling, root / "cube.zarr", tuple(range(len(bands))), root / "p.zarr", root / "strips", len(classes), 1
        )
        for block in tiling.blocks():
            prob.weave_block(weaving, block, predictor)
        got = np.asarray(prob.open_probability(root / "p.zarr")[:])
    differ = predicted_class(got) != predicted_class(want)
    return float(differ[valid].mean()) if valid.any() else 0.0
