"""How every Zarr array of a workspace is made: sharded, compressed, checksummed, filled with nodata."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from zarr.abc.store import Store
from zarr.codecs import ZstdCodec
from zarr.errors import BaseZarrError

from infra.errors import UnusableInput

CHUNK = 512
_DEGREES = {"x": ("longitude", "degrees_east"), "y": ("latitude", "degrees_north")}
ZSTD = ZstdCodec(level=1, checksum=True)

# Looking whether a chunk is all fill costs as much as compressing it: 11 ns a pixel.
zarr.config.set({"array.write_empty_chunks": True})

Place = Path | Store
"""Where a group lies: a folder, or a Zarr store of any kind."""


def create_group(place: Place, grid: GeoBox, *, attributes: Mapping[str, Any], path: str = "") -> zarr.Group:
    """Make a group on a grid, as CF and GeoZarr readers (xarray, rioxarray) know one.

    `spatial_ref` says the CRS and the transform; `x` and `y` are where pixel centres lie, if the grid is straight.
    """
    group = zarr.create_group(place, path=path, zarr_format=3, attributes=dict(attributes))
    reference = group.create_array("spatial_ref", shape=(), dtype="int64")
    transform = " ".join(
        repr(float(v))
        for v in (grid.affine.c, grid.affine.a, grid.affine.b, grid.affine.f, grid.affine.d, grid.affine.e)
    )
    reference.attrs.update(
        {"GeoTransform": transform} | ({"crs_wkt": grid.crs.wkt, "spatial_ref": grid.crs.wkt} if grid.crs else {})
    )
    rows, columns = grid.shape
    along = grid.affine
    if along.b == along.d == 0:
        _create_axis(group, "x", along.c + along.a * (np.arange(columns) + 0.5), grid)
        _create_axis(group, "y", along.f + along.e * (np.arange(rows) + 0.5), grid)
    return group


def _create_axis(group: zarr.Group, name: str, places: NDArray[np.floating[Any]], grid: GeoBox) -> None:
    axis = group.create_array(name, data=places, chunks=(len(places),), compressors=[ZSTD], dimension_names=(name,))
    about = {"axis": name.upper()}
    if grid.crs is not None and grid.crs.geographic:
        about |= dict(zip(("standard_name", "units"), _DEGREES[name], strict=True))
    elif grid.crs is not None and grid.crs.projected:
        about |= {"standard_name": f"projection_{name}_coordinate", "units": grid.crs.units[0]}
    axis.attrs.update(about)


def consolidate(place: Place) -> None:
    """Put the metadata of all arrays into the group's own, so that a reader of a bucket asks once.

    Zarr 3 has no words for that yet (zarr-python warns); xarray and zarr-python read it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(place, zarr_format=3)


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

    Chunks are 512² of one plane (a shard's, where that is smaller), zstd with a checksum: a flipped bit raises instead
    of passing for data. A shard of `shard`² pixels and `planes_a_shard` planes is the unit of safe parallel writing.
    Imagery hardly compresses: level -1 takes half of level 1's time for 6 % more bytes; classes and probabilities are
    worth level 1.
    """
    lead = () if planes is None else (planes[1],)
    side = min(CHUNK, shard)
    chunks = (*((1,) if planes else ()), side, side)
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
    array.attrs.update({"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"})
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
        return zarr.open_group(place, mode="r", use_consolidated=False)
    except FileNotFoundError as error:
        raise UnusableInput(f"There is no {place_name(place)}; make it with 'geoloom {made_by}'.") from error
    except (BaseZarrError, ValueError, OSError) as error:
        raise UnusableInput(
            f"{place_name(place)} is not a Zarr group that geoloom wrote; make it again with 'geoloom {made_by}'."
        ) from error


def change_group(place: Place) -> zarr.Group:
    """Open a group to change it: as it is, whatever its consolidated metadata say, which `consolidate` renews."""
    return zarr.open_group(place, mode="r+", use_consolidated=False)


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
