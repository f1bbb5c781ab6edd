"""How every Zarr array of a workspace is made: sharded, compressed, checksummed, filled with nodata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from odc.geo.geobox import GeoBox
from zarr.abc.store import Store
from zarr.codecs import ZstdCodec
from zarr.errors import BaseZarrError

from infra.errors import UnusableInput

CHUNK = 512
ZSTD = ZstdCodec(level=1, checksum=True)

# Looking whether a chunk is all fill costs as much as compressing it: 11 ns a pixel.
zarr.config.set({"array.write_empty_chunks": True})

Place = Path | Store
"""Where a group lies: a folder, or a Zarr store of any kind."""


def create_group(place: Place, grid: GeoBox, *, attributes: Mapping[str, Any]) -> zarr.Group:
    """Make a group on a grid, with its CF `spatial_ref` and one x and y for every column and row of a straight grid."""
    group = zarr.create_group(place, zarr_format=3, attributes=dict(attributes))
    reference = group.create_array("spatial_ref", shape=(), dtype="int64")
    transform = " ".join(
        repr(float(v))
        for v in (grid.affine.c, grid.affine.a, grid.affine.b, grid.affine.f, grid.affine.d, grid.affine.e)
    )
    reference.attrs.update(
        {"GeoTransform": transform} | ({"crs_wkt": grid.crs.wkt, "spatial_ref": grid.crs.wkt} if grid.crs else {})
    )
    return group


def create_array(
    group: zarr.Group,
    name: str,
    *,
    planes: tuple[str, int] | None,
    shape: tuple[int, int],
    dtype: str,
    fill: float | bool,
    shard: int,
    planes_a_shard: int = 1,
    level: int = 1,
) -> zarr.Array[Any]:
    """Make an array of (y, x), or of (plane, y, x) where `planes` names the first axis and its length.

    Chunks are 512² of one plane, zstd with a checksum: a flipped bit raises instead of passing for data. A shard of
    `shard`² pixels and `planes_a_shard` planes is the unit of safe parallel writing. Imagery hardly compresses: level
    -1 takes half of level 1's time for 6 % more bytes; classes and probabilities are worth level 1.
    """
    lead = () if planes is None else (planes[1],)
    chunks = (*((1,) if planes else ()), CHUNK, CHUNK)
    shards = (*((planes_a_shard,) if planes else ()), shard, shard)
    array = group.create_array(
        name,
        shape=(*lead, *shape),
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=[ZstdCodec(level=level, checksum=True)],
        fill_value=fill,
        dimension_names=(*((planes[0],) if planes else ()), "y", "x"),
    )
    array.attrs["grid_mapping"] = "spatial_ref"
    return array


def open_group(place: Place, *, made_by: str) -> zarr.Group:
    """Open a group for reading.

    Args:
        place: where it lies.
        made_by: the command that makes it, named in the message where it is missing.

    Raises:
        UnusableInput: it is not there, or not a Zarr group.
    """
    try:
        return zarr.open_group(place, mode="r")
    except FileNotFoundError as error:
        raise UnusableInput(f"There is no {place_name(place)}; make it with 'geoloom {made_by}'.") from error
    except (BaseZarrError, ValueError, OSError) as error:
        raise UnusableInput(
            f"{place_name(place)} is not a Zarr group that geoloom wrote; make it again with 'geoloom {made_by}'."
        ) from error


def shard_names(name: str, window: tuple[slice, slice], *, side: int, planes: int = 0) -> list[str]:
    """The stored objects, within the group, that hold a window of whole shards of an array.

    Args:
        name: the array's.
        window: rows and columns; its shards are of `side`² pixels.
        side: pixels a side of a shard.
        planes: shards along the first axis of (plane, y, x); 0 for an array of (y, x).
    """
    places = [
        f"{row}/{col}"
        for row in range(window[0].start // side, (window[0].stop - 1) // side + 1)
        for col in range(window[1].start // side, (window[1].stop - 1) // side + 1)
    ]
    return [f"{name}/c/{lead}{place}" for lead in ([f"{n}/" for n in range(planes)] or [""]) for place in places]


def place_name(place: Place) -> str:
    """A place as a message names it."""
    bucket = getattr(place, "store", None)  # Zarr's ObjectStore wraps obstore's, which knows its prefix
    return str(getattr(bucket, "prefix", None) or place).removeprefix("file://")
