"""Features into files, batch by batch: GeoParquet 1.1 as they come, and from it GeoPackage and PMTiles.

No file ever needs all features in memory: pyarrow writes row groups, and GDAL reads them back as a stream.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely
from numpy.typing import NDArray

from tasks.raster.ogr import pyogrio

Kind = Literal["Point", "LineString", "Polygon", "Unknown"]
"""Unknown: several in one file."""
BATCH = 8192
"""Features of a row group."""
TILE = 4096
"""Steps along each side of a vector tile (GDAL's default extent)."""
LEVELS = 6
"""Zoom levels of a PMTiles archive beside the finest."""
EQUATOR = 2 * math.pi * 6378137.0
"""Metres around the equator: the side of zoom level 0."""
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class Table:
    """What features look like."""

    columns: Mapping[str, pa.DataType]
    kind: Kind
    crs: pyproj.CRS | None
    about: Mapping[str, str]
    """Tags of where they come from."""

    @property
    def schema(self) -> pa.Schema:
        """Arrow's schema: the columns, the geometry as WKB, and the box around it."""
        box = pa.struct([(corner, pa.float64()) for corner in _CORNERS])
        return pa.schema([*self.columns.items(), ("geometry", pa.binary()), ("bbox", box)])


@dataclass(slots=True)
class FeatureWriter:
    """Takes features; `writing` makes it."""

    table: Table
    _parquet: pq.ParquetWriter
    _waiting: list[pa.RecordBatch] = field(default_factory=list)
    count: int = 0
    _bounds: NDArray[np.float64] = field(default_factory=lambda: np.array([np.inf, np.inf, -np.inf, -np.inf]))

    def add(self, columns: Mapping[str, Any], geometries: NDArray[np.object_]) -> None:
        """Take features: an array of each column, and their geometries in the table's CRS."""
        if not len(geometries):
            return
        bounds = shapely.bounds(geometries)
        self._bounds[:2] = np.minimum(self._bounds[:2], bounds[:, :2].min(axis=0))
        self._bounds[2:] = np.maximum(self._bounds[2:], bounds[:, 2:].max(axis=0))
        schema = self.table.schema
        arrays = [pa.array(columns[name], kind) for name, kind in self.table.columns.items()]
        arrays.append(pa.array(shapely.to_wkb(geometries), pa.binary()))
        arrays.append(
            pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], fields=list(schema.field("bbox").type))
        )
        self._waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        self.count += len(geometries)
        if sum(batch.num_rows for batch in self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._parquet.write_table(pa.Table.from_batches(self._waiting), row_group_size=BATCH)
            self._waiting.clear()

    def metadata(self) -> dict[str, str]:
        """GeoParquet's own (https://geoparquet.org/releases/v1.1.0), and the tags."""
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": [self.table.kind] if self.count and self.table.kind != "Unknown" else [],
            "crs": self.table.crs.to_json_dict() if self.table.crs else None,
            "covering": {"bbox": {corner: ["bbox", corner] for corner in _CORNERS}},
        }
        if self.count:
            column["bbox"] = self._bounds.tolist()
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        return {"geo": json.dumps(geo), **self.table.about}


@contextmanager
def writing(path: Path, table: Table) -> Iterator[FeatureWriter]:
    """A GeoParquet file that is whole when the block ends well."""
    with pq.ParquetWriter(path, table.schema, compression="zstd") as parquet:
        writer = FeatureWriter(table, parquet)
        yield writer
        writer.flush()
        parquet.add_key_value_metadata(writer.metadata())


def copy_layer(source: Path, target: Path, table: Table, *, layer: str, append: bool = False) -> None:
    """A GeoParquet file as a layer of a GeoPackage.

    Args:
        source: what `writing` made.
        target: NAME.gpkg.
        table: of the source.
        layer: its name.
        append: the GeoPackage is there, with other layers.
    """
    if append:  # GDAL then takes no options of the file
        options: dict[str, Any] = {"append": True}
    else:
        options = {"dataset_options": {"VERSION": "1.3"}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # a scene without CRS has none to give
        pyogrio.write_arrow(
        _stream(source), target, driver="GPKG", layer=layer, geometry_name="geometry", geometry_type=table.kind,
        crs=table.crs.to_wkt() if table.crs else None, layer_options={"SPATIAL_INDEX": "YES", "GEOMETRY_NAME": "geom"},
        layer_metadata=dict(table.about), **options,
    )  # fmt: skip


def copy_tiles(source: Path, target: Path, table: Table, *, layer: str, pixel: float) -> None:
    """A GeoParquet file as a PMTiles archive of vector tiles.

    Args:
        source: what `writing` made; it has a CRS, and features.
        target: NAME.pmtiles.
        table: of the source.
        layer: its name.
        pixel: metres that the finest zoom level must tell apart.
    """
    assert table.crs is not None
    finest = min(max(math.ceil(math.log2(EQUATOR / TILE / pixel)), 0), 22)
    owner = table.about.get("TIFFTAG_COPYRIGHT")
    about = {"DESCRIPTION": owner} if owner else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one tile exceeded")  # from afar a country is drawn more coarsely
        pyogrio.write_arrow(
        _stream(source, table.crs), target, driver="PMTiles", layer=layer, geometry_name="geometry",
        geometry_type=table.kind, crs="EPSG:4326",
        dataset_options={"MINZOOM": str(max(finest - LEVELS, 0)), "MAXZOOM": str(finest), "NAME": layer, **about},
    )  # fmt: skip


def _stream(source: Path, crs: pyproj.CRS | None = None) -> pa.RecordBatchReader:
    """The features of a GeoParquet file without their boxes, batch by batch; in degrees where a CRS is given."""
    parquet = pq.ParquetFile(source)
    names = [name for name in parquet.schema_arrow.names if name != "bbox"]
    fields = [parquet.schema_arrow.field(name) for name in names]
    degrees = None if crs is None else pyproj.Transformer.from_crs(crs, 4326, always_xy=True)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in parquet.iter_batches(BATCH, columns=names):
            if degrees is None:
                yield batch
                continue
            shapes = shapely.from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False))
            there = shapely.transform(shapes, lambda xy: np.stack(degrees.transform(*xy.T), axis=1))
            arrays = [*batch.columns[:-1], pa.array(shapely.to_wkb(there), pa.binary())]
            yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))

    return pa.RecordBatchReader.from_batches(pa.schema(fields), batches())
