"""The vector products: what blocks have found, put together in reading order and written as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Ledger
from infra.progress import Task
from infra.stopping import check
from tasks.params import VectorizeParams
from tasks.prediction import Prediction
from tasks.raster import found
from tasks.raster.blend import TOP
from tasks.raster.digest import digest
from tasks.raster.grid import Window
from tasks.raster.ground import Ground
from tasks.raster.network import Edge, Network, Node
from tasks.raster.objects import Gathering, Objects
from tasks.raster.square import square_objects
from tasks.raster.vector_files import FeatureWriter, Kind, Table, copy_layer, copy_tiles, writing
from tasks.workspace import VECTORIZE


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was made of a class."""

    features: dict[str, int]
    """Of each layer."""
    files: list[str]
    """In `products/`."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Draws classes of one prediction; every block has been looked at."""

    prediction: Prediction
    ground: Ground
    params: VectorizeParams
    grip: Grip

    def draw_areas(self, file: str, number: int, bar: Task) -> Drawn:
        """Write a class's objects as polygons."""
        kinds = {"id": pa.int64(), "class": pa.string(), f"area_{self.ground.unit}2": pa.float64(),
                 "probability": pa.float64()}  # fmt: skip
        table = self._table(kinds, "Polygon")
        gathering = Gathering(self.prediction.shape[1])
        aspect = self.ground.aspect(self.ground.middle)

        def drawn(joined: Objects) -> Objects:
            if self.params.outlines == "pixels":
                return joined
            return square_objects(joined, aspect=aspect)

        with ExitStack() as stack:
            path = stack.enter_context(self._publishing(f"{file}.parquet"))
            with writing(path, table) as writer:
                for window, data in self._blocks(bar):
                    areas = found.unpack_areas(data, number, window)
                    self._write_areas(writer, number, areas.whole)
                    self._write_areas(writer, number, drawn(gathering.add(areas.pieces)))
                self._write_areas(writer, number, drawn(gathering.end()))
            copy_layer(path, stack.enter_context(self._publishing(f"{file}.gpkg")), table, layer=file)
            tiles = self._tile(stack, file, path, table, writer.count)
            self.grip.check()
        return Drawn({file: writer.count}, [f"{file}.gpkg", f"{file}.parquet", *tiles])

    def draw_lines(self, file: str, number: int, bar: Task) -> Drawn:
        """Write a class's centre lines, and the nodes where they end and meet."""
        unit = self.ground.unit
        integer, real = pa.int64(), pa.float64()
        kinds = {"id": integer, "class": pa.string(), "start": integer, "end": integer, f"length_{unit}": real,
                 f"width_{unit}": real, "probability": real}  # fmt: skip
        edges = self._table(kinds, "LineString")
        nodes = self._table({"id": pa.int64(), "degree": pa.int32()}, "Point")
        pixel = float(self.ground.pixel(self.ground.middle)[0])
        network = Network(self.prediction.shape[1], shortest=self.params.shortest / pixel)
        with ExitStack() as stack:
            path = stack.enter_context(self._publishing(f"{file}.parquet"))
            nodes_path = stack.enter_context(self._publishing(f"{file}_nodes.parquet"))
            with writing(path, edges) as edge_writer, writing(nodes_path, nodes) as node_writer:
                for window, data in self._blocks(bar):
                    whole = network.add(found.unpack_lines(data, number, window))
                    self._write_lines(edge_writer, node_writer, number, *whole)
                self._write_lines(edge_writer, node_writer, number, *network.end())
            target = stack.enter_context(self._publishing(f"{file}.gpkg"))
            copy_layer(path, target, edges, layer=file)
            copy_layer(nodes_path, target, nodes, layer=f"{file}_nodes", append=True)
            tiles = self._tile(stack, file, path, edges, edge_writer.count)
            self.grip.check()
        files = [f"{file}.gpkg", f"{file}.parquet", f"{file}_nodes.parquet", *tiles]
        return Drawn({file: edge_writer.count, f"{file}_nodes": node_writer.count}, files)

    def _publishing(self, name: str) -> AbstractContextManager[Path]:
        return self.prediction.workspace.store.publishing(f"products/{name}")

    def _table(self, columns: dict[str, pa.DataType], kind: Kind) -> Table:
        about = self.prediction.lineage()
        if self.ground.crs is None:
            about["GEOLOOM_COORDINATES"] = "columns and rows of the scene, rows downwards: it has no CRS"
        return Table(columns, kind, self.ground.crs, about)

    def _tile(self, stack: ExitStack, file: str, path: Path, table: Table, count: int) -> list[str]:
        """A PMTiles archive, which lies on the globe and cannot be empty; its name where there is one."""
        name = f"{file}.pmtiles"
        if not (self.ground.on_earth and count):
            self.grip.check()
            self.prediction.workspace.store.delete([f"products/{name}"])
            return []
        target = stack.enter_context(self._publishing(name))
        copy_tiles(path, target, table, layer=file, pixel=float(self.ground.pixel(self.ground.middle)[0]))
        return [name]

    def _blocks(self, bar: Task) -> Iterator[tuple[Window, bytes]]:
        """What each block has found, in reading order, proved by its checksum."""
        store = self.prediction.workspace.store
        ledger = Ledger(store, VECTORIZE)
        marks = ledger.done()
        for unit, window in self.prediction.blocks().items():
            check()
            data, entry = store.read(found.key(unit)), ledger.read(unit, marks.get(unit, "none"))
            if data is None or entry is None or digest(np.frombuffer(data, np.uint8)) != entry.checksum:
                ledger.forget([unit])
                raise UnusableInput(
                    f"{store.url}/{found.key(unit)} is damaged; run 'geoloom vectorize' again: it makes it again."
                )
            yield window, data
            bar.advance()

    def _write_areas(self, writer: FeatureWriter, number: int, objects: Objects) -> None:
        areas = self.ground.areas(objects.outlines)
        large = areas >= self.params.smallest
        objects, areas = objects.chosen(large), areas[large]
        columns = {
            "id": objects.ids,
            "class": [self.prediction.classes.names[number]] * len(objects),
            f"area_{self.ground.unit}2": areas,
            "probability": objects.sums / objects.pixels / TOP,
        }
        writer.add(columns, self._placed(objects.outlines))

    def _write_lines(
        self,
        edge_writer: FeatureWriter,
        node_writer: FeatureWriter,
        number: int,
        edges: list[Edge],
        nodes: list[Node],
    ) -> None:
        lines = np.empty(len(edges), object)
        lines[:] = [edge.line for edge in edges]
        middles = shapely.get_coordinates(shapely.line_interpolate_point(lines, 0.5, normalized=True))
        columns = {
            "id": [edge.id for edge in edges],
            "class": [self.prediction.classes.names[number]] * len(edges),
            "start": [edge.start for edge in edges],
            "end": [edge.end for edge in edges],
            f"length_{self.ground.unit}": self.ground.lengths(lines),
            f"width_{self.ground.unit}": np.array([edge.width for edge in edges]) * self.ground.pixel(middles),
            "probability": [edge.mean for edge in edges],
        }
        edge_writer.add(columns, self._placed(lines))
        points = np.empty(len(nodes), object)
        points[:] = list(shapely.points([node.place for node in nodes])) if nodes else []
        columns = {"id": [node.id for node in nodes], "degree": [node.degree for node in nodes]}
        node_writer.add(columns, self._placed(points))

    def _placed(self, shapes: NDArray[np.object_]) -> NDArray[np.object_]:
        """Shapes in columns and rows, on the ground."""
        placed: NDArray[np.object_] = shapely.transform(shapes, self.ground.place)
        return placed
