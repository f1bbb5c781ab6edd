"""The cube at a half, a quarter, an eighth of its size, and so on: what viewers of Zarr draw from afar.

Level 2 is the group `levels/2` of the cube, and so on to the first level of at most 512 pixels a side; each has
`image`, `valid`, `x`, `y` and `spatial_ref` as the cube has. The cube's attribute `multiscales` lists them
(https://github.com/zarr-conventions/multiscales).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from tasks.raster.cube import BLOCK, Cube, unlist_levels
from tasks.raster.grid import Window, windows
from tasks.raster.shards import read_shards, write_shards
from tasks.raster.zarrays import CHUNK, Place, change_group, consolidate, create_array, create_group

GROUP = "levels"
CONVENTION = {
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v1/README.md",
    "description": "Multiscale layout of zarr datasets",
}
STEPS = 3
"""Levels that are made of one read of a block."""
HALF = 0.5
"""Share of the pixels there that must be data."""


def level_sources(shape: tuple[int, int]) -> list[int]:
    """Factors of the levels that others are made of, in order: 1, 8, 64, ..."""
    found, factor = [], 1
    while max(shape) > CHUNK * factor:
        found.append(factor)
        factor <<= STEPS
    return found


def levels_of(shape: tuple[int, int], source: int) -> list[int]:
    """Factors of the levels that are made of a source: at most `STEPS`, to the first of at most 512 pixels a side."""
    found: list[int] = []
    for step in range(1, STEPS + 1):
        factor = source << step
        if found and max(shape) <= CHUNK * found[-1]:
            break
        found.append(factor)
    return found


def level_grid(grid: GeoBox, factor: int) -> GeoBox:
    """The grid whose pixels are so many times as large; its last row and column may reach beyond."""
    rows, columns = (-(-n // factor) for n in grid.shape)
    return GeoBox((rows, columns), grid.affine @ Affine.scale(factor), grid.crs)


def create_levels(place: Place, cube: Cube) -> None:
    """Make the empty arrays of all levels."""
    shape = (cube.grid.shape[0], cube.grid.shape[1])
    for source in level_sources(shape):
        for step, factor in enumerate(levels_of(shape, source), 1):
            grid = level_grid(cube.grid, factor)
            group = create_group(place, grid, path=f"{GROUP}/{factor}", attributes={"bands": list(cube.bands)})
            size, side = (grid.shape[0], grid.shape[1]), BLOCK >> step
            planes = ("band", len(cube.bands))
            create_array(group, "image", planes=planes, shape=size, dtype=cube.dtype.name, fill=0, shard=side)
            create_array(group, "valid", planes=None, shape=size, dtype="bool", fill=False, shard=side)


def write_levels(place: Place, cube: Cube, source: int, window: Window) -> None:
    """Write what a block of a source adds to the levels made of it: whole shards, of which each has this one writer."""
    group = change_group(place)
    if source == 1:
        image, valid = cube.read(window)
    else:
        image, valid = (read_shards(_array(group, source, name), window) for name in ("image", "valid"))
    for step, factor in enumerate(levels_of((cube.grid.shape[0], cube.grid.shape[1]), source), 1):
        image, valid = halve(image, valid)
        rows, cols = (slice(s.start >> step, (s.start >> step) + n) for s, n in zip(window, valid.shape, strict=True))
        write_shards(_array(group, factor, "image"), (rows, cols), image)
        write_shards(_array(group, factor, "valid"), (rows, cols), valid)


def finish_levels(place: Place, cube: Cube) -> None:
    """List the levels where readers look for them."""
    shape = (cube.grid.shape[0], cube.grid.shape[1])
    factors = [factor for source in level_sources(shape) for factor in levels_of(shape, source)]
    layout: list[dict[str, Any]] = [{"asset": "."}]
    for before, factor in zip([1, *factors], factors, strict=False):
        made_of = "." if before == 1 else f"{GROUP}/{before}"
        scale = {"scale": [factor / before] * 2, "translation": [0.0, 0.0]}
        layout.append({"asset": f"{GROUP}/{factor}", "derived_from": made_of, "transform": scale})
    group = change_group(place)
    group.attrs.update(
        {
            "zarr_conventions": [CONVENTION],
            "multiscales": {"layout": layout, "resampling_method": "average"},
        }
    )
    consolidate(place)


def forget_levels(place: Place) -> None:
    """Take the list away, before levels go: nobody shall find empty ones."""
    unlist_levels(change_group(place))
    consolidate(place)


def _array(group: zarr.Group, factor: int, name: str) -> zarr.Array[Any]:
    found = group[f"{GROUP}/{factor}/{name}"]
    assert isinstance(found, zarr.Array)
    return found


def halve(image: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The mean of the valid ones of every 2 x 2 pixels, integers rounded half up.

    Args:
        image: (band, y, x).
        valid: (y, x).

    Returns:
        (band, ceil(y / 2), ceil(x / 2)) in the same dtype, 0 where not valid, and which pixels are: those of whose
        pixels, at an odd edge of those that there are, at least half is. NaN where a band has no finite one.
    """
    odd = [(0, n % 2) for n in valid.shape]
    there = np.pad(np.ones(valid.shape, np.uint8), odd)
    data = np.pad(valid, odd)
    counts, full = _fours(data.astype(np.uint8)), _fours(there)
    enough = (counts >= HALF * full) & (counts > 0)
    result = np.zeros((len(image), *enough.shape), image.dtype)
    exact = np.float64 if image.dtype.kind == "f" else np.int64
    for plane, out in zip(image, result, strict=True):
        known = valid & np.isfinite(plane) if exact is np.float64 else valid  # one band alone may have a hole
        share = _fours(np.pad(known, odd).astype(exact))
        total = _fours(np.pad(np.where(known, plane, 0).astype(exact), odd))
        if exact is np.float64:
            mean = np.divide(total, share, out=np.full(total.shape, np.nan), where=share > 0)
        else:
            mean = (2 * total + share) // np.maximum(2 * share, 1)
        out[enough] = mean[enough]
    return result, enough


def _fours(plane: NDArray[Any]) -> NDArray[Any]:
    """Sums of every 2 x 2 of an even number of rows and columns."""
    summed: NDArray[Any] = plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]
    return summed


def level_blocks(cube: Cube) -> Iterator[tuple[int, list[Window]]]:
    """Each source and the windows of its blocks, in the order in which they must be done."""
    for source in level_sources((cube.grid.shape[0], cube.grid.shape[1])):
        rows, columns = level_grid(cube.grid, source).shape
        yield source, list(windows((rows, columns), BLOCK))
