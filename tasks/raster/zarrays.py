"""How every Zarr array of a workspace is made: sharded, compressed, checksummed, filled with nodata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec
from zarr.errors import BaseZarrError

from infra.errors import UnusableInput

CHUNK = 512


def create_group(path: Path, grid: GeoBox, *, attributes: Mapping[str, Any]) -> zarr.Group:
    """Make a group on a grid, with its CF `spatial_ref` and one x and y for every column and row of a straight grid."""
    group = zarr.create_group(path, zarr_format=3, attributes=dict(attributes))
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
) -> zarr.Array[Any]:
    """Make an array of (y, x), or of (plane, y, x) where `planes` names the first axis and its length.

    Chunks are 512² of one plane, zstd with a checksum: a flipped bit raises instead of passing for data. A shard of
    `shard`² pixels and `planes_a_shard` planes is the unit of safe parallel writing.
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
        compressors=[ZstdCodec(level=1, checksum=True)],
        fill_value=fill,
        dimension_names=(*((planes[0],) if planes else ()), "y", "x"),
    )
    array.attrs["grid_mapping"] = "spatial_ref"
    return array


def open_group(path: Path, *, made_by: str) -> zarr.Group:
    """Open a group for reading.

    Args:
        path: the group's folder.
        made_by: the command that makes it, named in the message where it is missing.

    Raises:
        UnusableInput: it is not there, or not a Zarr group.
    """
    if not path.is_dir():
        raise UnusableInput(f"There is no {path.name} in {path.parent}; make it with 'geoloom {made_by}'.")
    try:
        return zarr.open_group(path, mode="r")
    except (BaseZarrError, ValueError, OSError) as error:
        raise UnusableInput(
            f"{path} is not a Zarr group that geoloom wrote; make it again with 'geoloom {made_by}'."
        ) from error
