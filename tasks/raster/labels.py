"""Labels: `label` (y, x) uint8 with 255 = ignore, `instance` (y, x) uint32 with 0 = none, `confidence` (y, x) uint8.

Where objects were put together of what windows saw, `piece` (y, x) uint32 holds the ids before that: a block that is
labelled again is put together anew with the others as they were.

Labels say which classes they tell from everything else, `known`, and what pixels are that they say nothing else of,
`rest`: 'other'; 'unknown', of none of the known classes and ignored; or 'unlabelled', not looked at and ignored. Where
`rest` is 'unknown', a valid pixel of 255 is none of the known classes: a completion may fill in the others.

Confidence uses the scale of stored probabilities: 0...254 = p·254, 255 = none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster import grid as grids
from tasks.raster.classes import IGNORE
from tasks.raster.shards import write_shards
from tasks.raster.zarrays import Place, change_group, consolidate, create_array, create_group, open_group, shard_names

Rest = Literal["other", "unknown", "unlabelled"]
SHARD = 1536
"""Pixels a side of a block of labels, what one worker writes: 16 windows of SAM, half a minute on a CPU."""


def create_labels(
    place: Place,
    grid: GeoBox,
    *,
    classes: tuple[str, ...],
    made_by: str,
    sources: list[str],
    from_truth: bool,
    pieces: bool = False,
    known: Sequence[str] | None = None,
    rest: Rest = "other",
    attribution: str = "",
    seen: Sequence[str] = (),
) -> None:
    """Make empty labels: every pixel ignored.

    Args:
        place: the group's.
        grid: the workspace's.
        classes: names in id order.
        made_by: how they are made, for people.
        sources: sha256 of each file they are made from.
        from_truth: made from the truth that scores will use.
        pieces: objects will be put together.
        known: names of the classes that they tell from everything else; all but the first if None.
        rest: what pixels of none of those are.
        attribution: whose the vectors or data sets are that they were made from, where that is known.
        seen: fingerprints of the scenes that a model has learnt from which made them.
    """
    about = {
        "grid": grids.to_json(grid),
        "classes": list(classes),
        "made_by": made_by,
        "sources": sources,
        "from_truth": from_truth,
        "pieces": pieces,
        "cube": "",
        "known": list(classes[1:] if known is None else known),
        "rest": rest,
    }
    about |= ({"attribution": attribution} if attribution else {}) | ({"seen": list(seen)} if seen else {})
    group = create_group(place, grid, attributes=about)
    shape = (grid.shape[0], grid.shape[1])
    arrays: list[tuple[str, str, int]] = [
        ("label", "uint8", IGNORE), ("instance", "uint32", 0), ("confidence", "uint8", 255),
    ]  # fmt: skip
    for name, dtype, fill in [*arrays, *([("piece", "uint32", 0)] if pieces else [])]:
        create_array(group, name, planes=None, shape=shape, dtype=dtype, fill=fill, shard=SHARD)


def are_labels(place: Place, grid: GeoBox, **about: Any) -> bool:
    """True where labels of just this grid and these attributes stand, finished or not."""
    try:
        attributes = dict(open_group(place, made_by="label").attrs)
    except UnusableInput:
        return False
    wanted = {"grid": grids.to_json(grid)} | about
    same = all(attributes.get(k) == (list(v) if isinstance(v, tuple) else v) for k, v in wanted.items())
    return same and "known" in attributes


def set_cube(place: Place, fingerprint: str) -> None:
    """Record which pixels the labels are for; empty while they are made."""
    change_group(place).attrs["cube"] = fingerprint
    consolidate(place)


def set_looked_at(place: Place, truths: Sequence[str]) -> None:
    """Record the sha256 of truths in whose sight the labels were corrected; seen once `set_cube` is called."""
    if truths:
        change_group(place).attrs["looked_at"] = list(truths)


def are_of(place: Place, fingerprint: str) -> bool:
    """Whether labels are finished, and of the pixels that this fingerprint stands for."""
    return open_group(place, made_by="label").attrs.get("cube") == fingerprint


def block_names(window: grids.Window, *, pieces: bool = False, only: str | None = None) -> list[str]:
    """The stored objects, within the group, that hold a block."""
    names = [only] if only else ["label", "instance", "confidence", *(["piece"] if pieces else [])]
    return [key for name in names for key in shard_names(name, window, side=SHARD)]


def write_labels(place: Place, window: grids.Window, **arrays: NDArray[Any]) -> None:
    """Write one block of labels, (y, x) each, whole shards at once: label, instance, confidence, piece."""
    group = change_group(place)
    for name, pixels in arrays.items():
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
