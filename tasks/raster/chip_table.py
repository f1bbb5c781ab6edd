"""`chips.parquet`: a row a chip, GeoParquet. What is written, and what is needed of it to look for leaks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.classes import ClassMap
from tasks.raster.vector_files import Table, writing

TABLE = "chips.parquet"
VERSION = "1"
"""Of the table, under the key `geoloom_chips`."""
_COLUMNS = {
    "name": pa.string(),
    "split": pa.string(),
    "workspace": pa.string(),
    "place": pa.int64(),
    "image": pa.string(),
    "label": pa.string(),
    "row": pa.int64(),
    "column": pa.int64(),
    "size": pa.int64(),
    "valid": pa.float64(),
    "labelled": pa.float64(),
    "confidence": pa.float64(),
    "scene": pa.string(),
    "digest": pa.string(),
    "look": pa.string(),
}
"""Beside a column of pixels a class, and the footprint:

row, column, size: the window in the workspace's cube; place: scenes of the same place share it; valid, labelled: shares
of the chip's pixels; confidence: mean over labelled pixels that have one, 0 to 1; scene: the fingerprint of the cube's
pixels; digest: of the chip's pixels; look: the hash that recompression hardly changes, '' of what shows nothing.
"""


def write_table(
    path: Path, rows: dict[str, Any], outlines: NDArray[np.object_], *, crs: pyproj.CRS | None, classes: ClassMap
) -> None:
    """Write the table.

    Args:
        path: of the file.
        rows: (chip,) of each column but the footprint; `pixels` is (chip, class).
        outlines: (chip,) in the CRS, or in columns and rows of their scene where that is None.
        crs: of the outlines.
        classes: whose names the columns of pixels have.
    """
    pixels = {f"pixels_{slug}": np.asarray(rows["pixels"])[:, n] for n, slug in enumerate(classes.slugs)}
    columns = _COLUMNS | dict.fromkeys(pixels, pa.int64())
    table = Table(columns, "Polygon", crs, {"geoloom_chips": VERSION})
    with writing(path, table) as writer:
        values = {name: rows[name] for name in _COLUMNS} | pixels
        # A missing mean is null, and not a number that is none.
        values["confidence"] = pa.array(values["confidence"], pa.float64(), from_pandas=True)
        writer.add(values, outlines)


@dataclass(frozen=True, slots=True)
class ChipTable:
    """What a leakage check needs of the table; arrays are (chip,)."""

    names: list[str]
    splits: list[str]
    images: list[str]
    """Relative to the table's folder."""
    scenes: list[str]
    windows: NDArray[np.float64]
    """(chip, 4): first column, first row, last column, last row in the scene."""
    outlines: NDArray[np.object_]
    crs: pyproj.CRS | None
    digests: list[str]
    looks: list[bytes]


def read_table(path: Path) -> ChipTable:
    """Read a table that `write_table` wrote.

    Raises:
        UnusableInput: it is missing, damaged or another file.
    """
    if not path.is_file():
        raise UnusableInput(f"There is no file {path}; give the folder of a data set, or its chips.parquet.")
    try:
        with pq.ParquetFile(path) as file:
            about, table = file.metadata.metadata or {}, file.read()
        if about.get(b"geoloom_chips") != VERSION.encode():
            raise UnusableInput(
                f"{path} is no table of chips of version {VERSION}; give one that 'geoloom dataset chips' wrote."
            )
        crs = json.loads(about[b"geo"])["columns"]["geometry"]["crs"]
        column = {name: table[name].to_pylist() for name in ("name", "split", "image", "scene", "digest", "look")}
        row, col, size = (np.asarray(table[name].to_numpy(), np.float64) for name in ("row", "column", "size"))
        return ChipTable(
            column["name"],
            column["split"],
            column["image"],
            column["scene"],
            np.stack([col, row, col + size, row + size], axis=1),
            shapely.from_wkb(table["geometry"].to_numpy()),
            None if crs is None else pyproj.CRS.from_json_dict(crs),
            column["digest"],
            [bytes.fromhex(text) for text in column["look"]],
        )
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
        if isinstance(error, UnusableInput):
            raise
        raise UnusableInput(
            f"{path} is damaged ({str(error).partition(chr(10))[0].rstrip('.')}); make the data set again."
        ) from error
