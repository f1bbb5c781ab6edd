"""How much tiles change a network's mind: the prediction in tiles against one whole pass, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from zarr.storage import MemoryStore

from models.ensemble import Answers
from tasks.raster import cube as cubes
from tasks.raster.blend import predicted_class
from tasks.raster.cube import Cube
from tasks.raster.grid import Window, crop, whole
from tasks.raster.probability import SHARD
from tasks.raster.tiling import cut_scene
from tasks.raster.weave import weave_whole
from tasks.raster.zarrays import CHUNK

ACCEPTED = 0.005
"""Share of pixels that may differ."""
CHOSEN = ACCEPTED / 2
"""Share that a choice may have where it was measured: other scenes move more pixels, and a choice is for all."""
OVERLAPS = (1 / 8, 1 / 4, 3 / 8, 1 / 2)
"""Of a tile: two margins and a ramp as wide as both. The network passes over 1.3, 1.8, 2.6 or 4 times the pixels."""
SIDE = 1536
"""Pixels a side of the windows that are measured on."""


@dataclass(frozen=True, slots=True)
class Seams:
    """A tile, margin and ramp, and what they cost."""

    tile: int
    margin: int
    ramp: int
    disagreement: float
    """Share of valid pixels whose class differs from that of one whole pass."""


def choose_seams(predictor: Answers, cubes: Sequence[Cube], *, tile: int) -> Seams:
    """The tile, margin and ramp that keep most pixels of a pass, of those whose disagreement is safely accepted.

    A tile of twice the side has twice the margin at the same cost, and is tried beside each. Where none will do, it is
    the one that differs least. Measured in the middle of each cube, whose bands are the network's in its order.

    Args:
        predictor: the trained network.
        cubes: the scenes to measure on; those it was trained on will do, for it is tiles against one pass.
        tile: pixels a side, the least that may be chosen.
    """
    bands = tuple(range(len(predictor.card.bands)))
    samples = [_take(predictor, cube, middle(cube, SIDE), bands=bands) for cube in cubes]
    seen = min(side for sample in samples for side in sample.valid.shape)
    tried: list[Seams] = []
    for overlap in OVERLAPS:
        for side in (tile, 2 * tile):
            margin = round(side * overlap) // 4
            ramp = 2 * margin
            if side - 2 * margin - ramp < predictor.card.stride or (side > tile and 3 * side > 2 * seen):
                continue  # such a tile would keep nothing, or too few of them meet to tell
            found = _share(predictor, samples, tile=side, margin=margin, ramp=ramp)
            tried.append(Seams(side, margin, ramp, found))
            if tried[-1].disagreement <= CHOSEN:
                return tried[-1]
    assert tried
    return min(tried, key=lambda s: s.disagreement)


def measure(
    predictor: Answers, cube: Cube, window: Window, *, bands: tuple[int, ...], tile: int, margin: int, ramp: int
) -> float:
    """The share of valid pixels whose class is another in tiles than in one whole pass, of a scene like the window.

    Args:
        predictor: the network.
        cube: where to measure.
        window: several tiles wide, and small enough for one pass.
        bands: the cube's planes that the network takes, in its order.
        tile: pixels a side.
        margin: pixels thrown away at each inner side.
        ramp: pixels faded there.
    """
    return _share(predictor, [_take(predictor, cube, window, bands=bands)], tile=tile, margin=margin, ramp=ramp)


def middle(cube: Cube, side: int) -> Window:
    """So many pixels a side around the middle of a cube's data."""
    rows, cols = (_middle(cells, side, n) for cells, n in zip(np.nonzero(cube.counts), cube.grid.shape, strict=True))
    return rows, cols


def _middle(cells: NDArray[np.int_], side: int, length: int) -> slice:
    centre = int(np.median(cells)) * CHUNK + CHUNK // 2 if len(cells) else length // 2
    start = max(min(centre - side // 2, length - side), 0)
    return slice(start, min(start + side, length))


@dataclass(frozen=True, slots=True)
class _Sample:
    """A window in memory, with what one pass makes of it."""

    cube: Cube
    """Of the window alone, with the network's bands in its order."""
    valid: NDArray[np.bool_]
    """(y, x)."""
    classes: NDArray[np.uint8]
    """(y, x), of all pixels in one pass."""


def _take(predictor: Answers, cube: Cube, window: Window, *, bands: tuple[int, ...]) -> _Sample:
    image, valid = cube.read(window, bands=bands)
    pad = [(0, -n % predictor.card.stride) for n in valid.shape]
    once = predictor(np.pad(image, [(0, 0), *pad])[None], np.pad(valid, pad)[None])[0]
    classes = predicted_class(once[:, : valid.shape[0], : valid.shape[1]])

    grid, place = crop(cube.grid, window), MemoryStore()
    names = tuple(cube.bands[b] for b in bands)
    cubes.create_cube(place, grid, bands=names, dtype=str(cube.dtype), scenes=[])
    cubes.write_block(place, whole(grid), image=image, valid=valid)
    statistics = tuple(cube.statistics[b] for b in bands)
    cubes.finish_cube(place, statistics=statistics, blocks=[(whole(grid), cubes.count_cells(image, valid))])
    return _Sample(cubes.open_cube(place), valid, classes)


def _share(predictor: Answers, samples: Sequence[_Sample], *, tile: int, margin: int, ramp: int) -> float:
    """The share of the samples' valid pixels that would have another class in tiles.

    What differs does so where tiles meet. A small window has fewer such edges than as many pixels of a large scene:
    what was counted is multiplied accordingly.
    """
    differ, count = 0.0, 0
    for sample in samples:
        shape = (sample.valid.shape[0], sample.valid.shape[1])
        tiling = cut_scene(shape, tile=tile, margin=margin, ramp=ramp, stride=predictor.card.stride, shard=SHARD)
        got = weave_whole(
            sample.cube,
            tiling,
            bands=tuple(range(len(sample.cube.bands))),
            classes=len(predictor.card.classes),
            batch=1,
            forward=predictor,
        )
        apart = int(np.count_nonzero((predicted_class(got) != sample.classes)[sample.valid]))
        axes, step = (tiling.rows, tiling.cols), tile - 2 * margin - ramp
        here, elsewhere = sum(len(a.starts) - 1 for a in axes), sum(a.length / step for a in axes)
        differ += apart * elsewhere / max(here, 1)
        count += int(np.count_nonzero(sample.valid))
    return differ / max(count, 1)
