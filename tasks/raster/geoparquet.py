"""GeoParquet, read as far as it lies near: row groups elsewhere are passed over by the statistics of their boxes.

https://geoparquet.org/releases/v1.1.0; the GDAL in pyogrio's wheel has no driver for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pyproj
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput, first_line
from tasks.raster.features import Layer, Near
from tasks.raster.grid import Bounds

BATCH = 1 << 16
"""Rows that are looked at at once."""
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_parquet(
    source: Any, shown: str, name: str, *, near: Near, assumed: pyproj.CRS | None, columns: frozenset[str]
) -> Layer:
    """The features near some boxes.

    Args:
        source: a path, or an open file that can seek.
        shown: the source as messages name it.
        name: of the layer.
        near: boxes in the file's CRS.
        assumed: the CRS where the file names none.
        columns: that are wanted, where they are there.

    Raises:
        UnusableInput: not GeoParquet, or damaged.
    """
    try:
        disk = pa.fs.LocalFileSystem() if isinstance(source, str) else None
        fragment = ds.ParquetFileFormat().make_fragment(source, disk)
        schema, total = fragment.physical_schema, fragment.metadata.num_rows
        geometry, crs, cover = _described(schema, fragment.metadata.metadata, shown)
        crs = crs or assumed
        boxes = near(crs)
        wanted = sorted(columns & set(schema.names))
        scanner = fragment.scanner(
            schema, columns=[*wanted, geometry], filter=_filter(cover, boxes), batch_size=BATCH, batch_readahead=2
        )
        tables, shapes = [schema.empty_table().select(wanted)], [np.zeros(0, object)]
        for batch in scanner.to_batches():
            found = shapely.from_wkb(batch[geometry].to_numpy(zero_copy_only=False), on_invalid="ignore")
            if cover is None:
                here = _meeting(found, boxes)
                batch, found = batch.filter(pa.array(here)), found[here]  # noqa: PLW2901
            tables.append(pa.Table.from_batches([batch.select(wanted)]))
            shapes.append(found)
        table = pa.concat_tables(tables)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UnusableInput):
            raise
        raise UnusableInput(f"{shown} cannot be read as GeoParquet ({first_line(error)}).") from error
    return Layer(name, table.to_pandas(), frozenset(schema.names), np.concatenate(shapes), crs, total)


def _described(
    schema: pa.Schema, about_file: dict[bytes, bytes] | None, shown: str
) -> tuple[str, pyproj.CRS | None, Iterable[tuple[str, ...]] | None]:
    """The geometry's column, its CRS, and the fields that hold xmin, ymin, xmax, ymax of each row, if any."""
    if b"geo" not in (about_file or {}):
        raise UnusableInput(f"{shown} is Parquet without a description of its geometry; expected GeoParquet.")
    geo = json.loads((about_file or {})[b"geo"])
    name = geo["primary_column"]
    about = geo["columns"][name]
    if about["encoding"] != "WKB":
        raise UnusableInput(f"{shown} holds geometry as {about['encoding']}; write it as WKB and try again.")
    said = about.get("crs", "OGC:CRS84")  # a missing entry means degrees, null that nobody knows
    covering = about.get("covering", {}).get("bbox")
    cover = None
    if covering is not None:
        cover = [tuple(covering[corner]) for corner in CORNERS]
    elif "bbox" in schema.names and pa.types.is_struct(schema.field("bbox").type):
        cover = [("bbox", corner) for corner in CORNERS]  # Overture's before GeoParquet 1.1
    return name, None if said is None else pyproj.CRS.from_user_input(said), cover


def _filter(cover: Iterable[tuple[str, ...]] | None, boxes: list[Bounds] | None) -> pc.Expression | None:
    if cover is None or boxes is None:
        return None
    xmin, ymin, xmax, ymax = (pc.field(*path) for path in cover)
    wanted = None
    for left, bottom, right, top in boxes:
        here = (xmin <= right) & (xmax >= left) & (ymin <= top) & (ymax >= bottom)
        wanted = here if wanted is None else wanted | here
    return wanted


def _meeting(shapes: NDArray[np.object_], boxes: list[Bounds] | None) -> NDArray[np.bool_]:
    if boxes is None:
        return np.ones(len(shapes), bool)
    low_x, low_y, high_x, high_y = shapely.bounds(shapes).T
    here = np.zeros(len(shapes), bool)
    for left, bottom, right, top in boxes:
        here |= (low_x <= right) & (high_x >= left) & (low_y <= top) & (high_y >= bottom)
    return here
