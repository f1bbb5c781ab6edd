"""Labels: `label` (y, x) uint8 with 255 = ignore, `instance` (y, x) uint32 with 0 = none, `confidence` (y, x) uint8.

Confidence uses the scale of stored probabilities: 0...254 = p·254, 255 = none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr
from odc.geo.geobox import GeoBox

from tasks.raster import grid as grids
from tasks.raster.classes import IGNORE
from tasks.raster.cube import BLOCK
from tasks.raster.zarrays import create_array, create_group, open_group


def create_labels(
    path: Path,
    grid: GeoBox,
    *,
    classes: tuple[str, ...],
    made_by: str,
    sources: list[str],
    from_truth: bool,
    cube: str,
) -> zarr.Group:
    """Make empty labels: every pixel ignored.

    Args:
        path: the group's folder.
        grid: the workspace's.
        classes: names in id order.
        made_by: how they are made, for people.
        sources: sha256 of each file they are made from.
        from_truth: made from the truth that scores will use.
        cube: fingerprint of the pixels that they are for.
    """
    about = {
        "grid": grids.to_json(grid),
        "classes": list(classes),
        "made_by": made_by,
        "sources": sources,
        "from_truth": from_truth,
        "cube": cube,
    }
    group = create_group(path, grid, attributes=about)
    shape = (grid.shape[0], grid.shape[1])
    for name, dtype, fill in (("label", "uint8", IGNORE), ("instance", "uint32", 0), ("confidence", "uint8", 255)):
        create_array(group, name, planes=None, shape=shape, dtype=dtype, fill=fill, shard=BLOCK)
    return group


def open_labels(path: Path) -> zarr.Group:
    """Open labels for reading.

    Raises:
        UnusableInput: there are none.
    """
    return open_group(path, made_by="label")


def open_label(path: Path) -> zarr.Array[Any]:
    """The class labels, (y, x) uint8.

    Raises:
        UnusableInput: there are none.
    """
    return open_labels(path)["label"]  # type: ignore[return-value]
