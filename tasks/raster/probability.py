"""The stored prediction: `probability` (class, y, x) uint8 on the workspace's grid, and how a block of it is woven.

A block runs the tiles that it owns through the network, adds their integer contributions, hands what reaches past its
edge to the blocks on its right and below as strips on disk, takes the strips that blocks on its left and above left
for it, and writes its whole shards. A block starts after those three; blocks on a diagonal run side by side. So each
tile goes through the network once, and memory depends on the block, not on the scene.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from tasks.raster import grid as grids
from tasks.raster.blend import NODATA, finish, quantise
from tasks.raster.cube import open_cube
from tasks.raster.tiling import Block, Tile, Tiling
from tasks.raster.zarrays import create_array, create_group, open_group

SHARD = 1024

Forward = Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[np.float32]]
"""Image (n, band, y, x) and valid (n, y, x) to probabilities (n, class, y, x)."""


def create_probability(
    path: Path, grid: GeoBox, *, classes: tuple[str, ...], shard: int, attributes: dict[str, Any]
) -> None:
    """Make an empty prediction: nodata everywhere."""
    about = {"grid": grids.to_json(grid), "classes": list(classes)}
    group = create_group(path, grid, attributes=about | attributes)
    create_array(
        group,
        "probability",
        planes=("class", len(classes)),
        shape=(grid.shape[0], grid.shape[1]),
        dtype="uint8",
        fill=NODATA,
        shard=shard,
        planes_a_shard=len(classes),
    )


def open_probability(path: Path) -> zarr.Array[Any]:
    """Open a prediction for reading.

    Raises:
        UnusableInput: there is none.
    """
    return open_group(path, made_by="predict")["probability"]  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Weaving:
    """What every block of one prediction has in common. Plain data: it travels to workers."""

    tiling: Tiling
    cube: Path
    bands: tuple[int, ...]
    """The cube's planes that the network takes, in its order."""
    probability: Path
    strips: Path
    classes: int
    batch: int
    """Tiles that go through the network together; part of the plan, since it changes the network's bits."""


def weave_block(weaving: Weaving, block: Block, forward: Forward) -> int:
    """Predict one block and write it.

    Returns:
        How many tiles went through the network.
    """
    tiling = weaving.tiling
    window = tiling.window(block)
    cube = open_cube(weaving.cube)
    valid = np.asarray(cube.valid[window], dtype=bool)
    total = np.zeros((weaving.classes, *valid.shape), np.int32)

    run = 0
    waiting: list[tuple[Tile, NDArray[Any], NDArray[np.bool_]]] = []
    owned = tiling.owned(block)
    for number, tile in enumerate(owned, 1):
        if np.asarray(cube.valid[tiling.span(tile)]).any():
            waiting.append((tile, *_read_padded(cube, tiling, tile, weaving.bands)))
        if waiting and (len(waiting) == weaving.batch or number == len(owned)):
            result = forward(np.stack([w[1] for w in waiting]), np.stack([w[2] for w in waiting]))
            for (done, _, _), probability in zip(waiting, result, strict=True):
                _hand_out(weaving, block, done, quantise(probability), total)
            run += len(waiting)
            waiting = []

    taken = weaving.strips / _name(block)
    for strip in sorted(taken.glob("*.npy")):
        i, j = strip.stem.split("_")
        _add(tiling, (int(i), int(j)), block, np.load(strip), total)
    group = zarr.open_group(weaving.probability, mode="r+")
    group["probability"][:, *window] = finish(total, valid)  # type: ignore[index]
    shutil.rmtree(taken, ignore_errors=True)
    return run


def _read_padded(
    cube: Any, tiling: Tiling, tile: Tile, bands: tuple[int, ...]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A tile's pixels (band, y, x) and valid (y, x); beyond the scene they are 0 and invalid."""
    axes = (tiling.rows, tiling.cols)
    starts = [axis.starts[k] for axis, k in zip(axes, tile, strict=True)]
    window = tuple(slice(s, min(s + axis.size, axis.length)) for s, axis in zip(starts, axes, strict=True))
    image, valid = cube.read(window, bands=bands)
    pad = [(0, axis.size - n) for axis, n in zip(axes, valid.shape, strict=True)]
    return np.pad(image, [(0, 0), *pad]), np.pad(valid, pad)


def _hand_out(
    weaving: Weaving, block: Block, tile: Tile, probability: NDArray[np.uint8], total: NDArray[np.int32]
) -> None:
    """Give a tile's contribution to its own block, and to the others it reaches as strips."""
    tiling = weaving.tiling
    for other in (block, *tiling.reached(tile)):
        rows, cols = _meeting(tiling, tile, other)
        top, left = tiling.rows.starts[tile[0]], tiling.cols.starts[tile[1]]
        part = probability[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
        if other == block:
            _add(tiling, tile, block, part, total)
        else:
            folder = weaving.strips / _name(other)
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{tile[0]}_{tile[1]}.npy", part)


def _meeting(tiling: Tiling, tile: Tile, block: Block) -> tuple[slice, slice]:
    """The pixels of a block in which a tile has weight."""
    rows, cols = (
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(tiling.span(tile), tiling.window(block), strict=True)
    )
    return rows, cols


def _add(tiling: Tiling, tile: Tile, block: Block, part: NDArray[np.uint8], total: NDArray[np.int32]) -> None:
    """Add weight · probability where tile and block meet; `part` (class, y, x) covers just that."""
    where, span, window = _meeting(tiling, tile, block), tiling.span(tile), tiling.window(block)
    weights = [
        axis.weights(k)[w.start - s.start : w.stop - s.start]
        for axis, k, w, s in zip((tiling.rows, tiling.cols), tile, where, span, strict=True)
    ]
    rows, cols = (slice(w.start - b.start, w.stop - b.start) for w, b in zip(where, window, strict=True))
    total[:, rows, cols] += part * (weights[0][:, None] * weights[1])


def _name(block: Block) -> str:
    return f"{block[0]}_{block[1]}"
