"""The stored prediction: `probability` (class, y, x) uint8 on the workspace's grid, 255 = nodata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster import grid as grids
from tasks.raster.blend import NODATA, TOP
from tasks.raster.fingerprint import fingerprint
from tasks.raster.grid import Window
from tasks.raster.shards import write_shards
from tasks.raster.zarrays import Place, change_group, consolidate, create_array, create_group, open_group, shard_names

SHARD = 1024
"""Pixels a side of the smallest block."""
COMPRESSED = 0.5
"""Share of its size that a stored prediction takes at worst: measured 0.1 to 0.4 on real networks."""


def room_for_products(pixels: int, planes: int) -> int:
    """Bytes that GeoTIFFs of so many planes take while they are written: the old one, the parts, and the new one."""
    return round(3 * COMPRESSED * pixels * planes)


def create_probability(
    place: Place, grid: GeoBox, *, classes: tuple[str, ...], shard: int, attributes: dict[str, Any]
) -> None:
    """Make an empty prediction: nodata everywhere."""
    about = {"grid": grids.to_json(grid), "classes": list(classes), "block": shard}
    group = create_group(place, grid, attributes=about | attributes)
    array = create_array(
        group,
        "probability",
        planes=("class", len(classes)),
        shape=(grid.shape[0], grid.shape[1]),
        dtype="uint8",
        fill=NODATA,
        shard=shard,
        planes_a_shard=len(classes),
    )
    array.attrs.update({"_FillValue": NODATA, "scale_factor": 1 / TOP})  # as CF says it: xarray gives shares and nan


def open_probability(place: Place) -> zarr.Array[Any]:
    """Open a prediction for reading.

    Raises:
        UnusableInput: there is none.
    """
    return open_group(place, made_by="predict")["probability"]  # type: ignore[return-value]


def is_probability(place: Place, grid: GeoBox, *, classes: tuple[str, ...], shard: int) -> bool:
    """True where a prediction of just this grid, these classes and this block stands, finished or not."""
    try:
        group = open_group(place, made_by="predict")
        return bool(
            grids.from_json(group.attrs["grid"]) == grid  # type: ignore[arg-type]
            and tuple(group.attrs["classes"]) == classes  # type: ignore[arg-type]
            and group["probability"].shards == (len(classes), shard, shard)  # type: ignore[union-attr]
        )
    except (UnusableInput, KeyError):
        return False


def block_names(window: Window, *, side: int) -> list[str]:
    """The stored objects, within the group, that hold a block."""
    return shard_names("probability", window, side=side, planes=1)


def write_probability(place: Place, window: Window, probability: NDArray[np.uint8]) -> None:
    """Write one block, (class, y, x) uint8, its shard at once."""
    write_shards(change_group(place)["probability"], window, probability)  # type: ignore[arg-type]


def update_attributes(place: Place, about: dict[str, Any]) -> None:
    """Record what a finished prediction is of."""
    change_group(place).attrs.update(about)
    consolidate(place)


def state_of(units: Mapping[str, str]) -> str:
    """One short name for which blocks are done under which fingerprints."""
    return fingerprint(dict(units))
