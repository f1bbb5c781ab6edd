"""Labels: `label` (y, x) uint8 with 255 = ignore, `instance` (y, x) uint32 with 0 = none, `confidence` (y, x) uint8.

Confidence uses the scale of stored probabilities: 0...254 = p·254, 255 = none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster import grid as grids
from tasks.raster.classes import IGNORE
from tasks.raster.shards import write_shards
from tasks.raster.zarrays import Place, change_group, consolidate, create_array, create_group, open_group, shard_names

SHARD = 1024
"""Pixels a side of a block of labels: what one worker writes."""


def create_labels(
    place: Place,
    grid: GeoBox,
    *,
    classes: tuple[str, ...],
    made_by: str,
    sources: list[str],
    from_truth: bool,
) -> None:
    """Make empty labels: every pixel ignored.

    Args:
        place: the group's.
        grid: the workspace's.
        classes: names in id order.
        made_by: how they are made, for people.
        sources: sha256 of each file they are made from.
        from_truth: made from the truth that scores will use.
    """
    about = {
        "grid": grids.to_json(grid),
        "classes": list(classes),
        "made_by": made_by,
        "sources": sources,
        "from_truth": from_truth,
        "cube": "",
    }
    group = create_group(place, grid, attributes=about)
    shape = (grid.shape[0], grid.shape[1])
    for name, dtype, fill in (("label", "uint8", IGNORE), ("instance", "uint32", 0), ("confidence", "uint8", 255)):
        create_array(group, name, planes=None, shape=shape, dtype=dtype, fill=fill, shard=SHARD)


def are_labels(place: Place, grid: GeoBox, **about: Any) -> bool:
    """True where labels of just this grid and these attributes stand, finished or not."""
    try:
        attributes = dict(open_group(place, made_by="label").attrs)
    except UnusableInput:
        return False
    wanted = {"grid": grids.to_json(grid)} | about
    return all(attributes.get(k) == (list(v) if isinstance(v, tuple) else v) for k, v in wanted.items())


def set_cube(place: Place, fingerprint: str) -> None:
    """Record which pixels the labels are for; empty while they are made."""
    change_group(place).attrs["cube"] = fingerprint
    consolidate(place)


def block_names(window: grids.Window) -> list[str]:
    """The stored objects, within the group, that hold a block."""
    return [key for name in ("label", "instance", "confidence") for key in shard_names(name, window, side=SHARD)]


def write_labels(
    place: Place,
    window: grids.Window,
    *,
    label: NDArray[np.uint8],
    instance: NDArray[np.uint32],
    confidence: NDArray[np.uint8],
) -> None:
    """Write one block of labels, (y, x) each, whole shards at once."""
    group = change_group(place)
    for name, pixels in (("label", label), ("instance", instance), ("confidence", confidence)):
        write_shards(group[name], window, pixels)  # type: ignore[arg-type]


def open_labels(place: Place) -> zarr.Group:
    """Open labels for reading.

    Raises:
        UnusableInput: there are none.
    """
    return open_group(place, made_by="label")


def open_label(place: Place) -> zarr.Array[Any]:
    """The class labels, (y, x) uint8.

    Raises:
        UnusableInput: there are none.
    """
    return open_labels(place)["label"]  # type: ignore[return-value]
