"""The workspace: the folder or bucket prefix that holds one map's everything, and the document that describes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from infra.ledger import Ledger
from infra.store import Store, write_json
from tasks.raster import grid as grids
from tasks.raster.classes import DEFAULT_CLASSES, ClassMap, MapClass
from tasks.raster.cube import BLOCK, Cube, DamagedCube, open_cube
from tasks.raster.zarrays import CHUNK

FORMAT_VERSION = 4
DOCUMENT = "workspace.json"
SCENE = "products/scene.tif"
"""The cube as `export --cog` writes it."""
CUBE, LABELS, PROBABILITY = "cube.zarr", "labels.zarr", "probability.zarr"
INGEST, LABEL, PREDICT, MOSAIC, VECTORIZE = STEPS = ("ingest", "label", "predict", "mosaic", "vectorize")
"""Steps that keep a ledger, by the names that they have there."""
DRAW = "draw"
"""The ledger of the files that vectorize makes of its blocks."""


@dataclass(frozen=True, slots=True)
class Source:
    """A scene that went into the cube."""

    path: str
    fingerprint: str
    """Hash of its pixels on the grid, hexadecimal."""
    attribution: str
    date: str = ""
    """When it was taken, RFC 3339; '' where it does not say."""
    extent: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Its first row and column on the grid, and those after its last."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """An open workspace: its document, and the store of what it holds."""

    store: Store
    grid: GeoBox
    classes: ClassMap
    sources: tuple[Source, ...]
    control: grids.Control | None = None
    """Ground control points of the grid, where it has no CRS of its own."""

    @property
    def scene_names(self) -> str:
        """The scenes' file names, as products carry them."""
        return "; ".join(source.path.rpartition("/")[2] for source in self.sources)

    @property
    def owners(self) -> str:
        """Whose the scenes are, as products carry it; '' where none says so."""
        return "; ".join(sorted({source.attribution for source in self.sources if source.attribution}))

    def cube(self) -> Cube:
        """Open the cube.

        Raises:
            UnusableInput: there is none, or an ingest was interrupted between the cube and `workspace.json`.
        """
        cube = open_cube(self.store.zarr(CUBE))
        if not grids.same_place(cube.grid, self.grid):
            raise UnusableInput(f"An ingest into {self.store.url} was interrupted; ingest the scenes again.")
        return cube

    def save(self) -> None:
        """Write `workspace.json`."""
        document = {
            "format_version": FORMAT_VERSION,
            "grid": grids.to_json(self.grid),
            "control": asdict(self.control) if self.control else None,
            "classes": [
                {"id": i, "name": c.name, "colour": list(c.colour)} for i, c in enumerate(self.classes.classes)
            ],
            "sources": [asdict(source) for source in self.sources],
        }
        write_json(self.store, DOCUMENT, document)


@contextmanager
def forgetting_damage(store: Store) -> Iterator[None]:
    """Around what reads a cube: where its pixels turn out to be damaged, the ingest has that block to do again."""
    try:
        yield
    except DamagedCube as error:
        row, col = (c * CHUNK // BLOCK for c in error.cell)
        Ledger(store, INGEST).forget([f"{row}_{col}"])
        raise


def open_workspace(store: Store) -> Workspace:
    """Open a workspace.

    Raises:
        UnusableInput: there is none, it is of another version, or its document is damaged.
    """
    found = store.read(DOCUMENT)
    if found is None:
        raise UnusableInput(
            f"{store.url} is not a workspace (it has no {DOCUMENT}); "
            f"make one with 'geoloom ingest SCENE --out {store.url}'."
        )
    try:
        document: dict[str, Any] = json.loads(found)
        version = document["format_version"]
        if version != FORMAT_VERSION:
            raise UnusableInput(
                f"{store.url} is a workspace of version {version} and this geoloom reads version {FORMAT_VERSION}; "
                "choose another folder, or delete it and ingest the scenes again."
            )
        return Workspace(
            store,
            grids.from_json(document["grid"]),
            ClassMap(tuple(MapClass(c["name"], tuple(c["colour"])) for c in document["classes"])),
            tuple(Source(**(s | {"extent": tuple(s["extent"])})) for s in document["sources"]),
            _control(document["control"]),
        )
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UnusableInput(
            f"{store.url}/{DOCUMENT} is damaged ({type(error).__name__}: {error}); "
            "delete it and ingest the scenes again."
        ) from error


def _control(document: dict[str, Any] | None) -> grids.Control | None:
    if document is None:
        return None
    return grids.Control(document["crs"], tuple(tuple(point) for point in document["points"]))


def new_workspace(
    store: Store,
    *,
    grid: GeoBox,
    classes: ClassMap = DEFAULT_CLASSES,
    sources: tuple[Source, ...] = (),
    control: grids.Control | None = None,
) -> Workspace:
    """A workspace not yet saved.

    Raises:
        UnusableInput: a workspace of another version stands there.
    """
    if store.exists(DOCUMENT):
        open_workspace(store)
    return Workspace(store, grid, classes, sources, control)
