"""The workspace: the folder that holds one map's everything, and the one document that describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from infra.storage import make_folder, write_json
from tasks.raster import grid as grids
from tasks.raster.classes import DEFAULT_CLASSES, ClassMap, MapClass
from tasks.raster.cube import Cube, open_cube

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A scene that went into the cube."""

    path: str
    fingerprint: str
    """Hash of its pixels on the grid, hexadecimal."""
    attribution: str


@dataclass(frozen=True, slots=True)
class Workspace:
    """An open workspace: its document, and the places of what it holds."""

    root: Path
    grid: GeoBox
    classes: ClassMap
    sources: tuple[Source, ...]

    @property
    def cube_path(self) -> Path:
        """The Zarr group of the scenes' pixels."""
        return self.root / "cube.zarr"

    @property
    def labels_path(self) -> Path:
        """The Zarr group of labels."""
        return self.root / "labels.zarr"

    @property
    def probability_path(self) -> Path:
        """The Zarr group of predictions."""
        return self.root / "probability.zarr"

    @property
    def products(self) -> Path:
        """The folder of what users take away."""
        return self.root / "products"

    def cube(self) -> Cube:
        """Open the cube.

        Raises:
            UnusableInput: there is none, or an ingest was interrupted between the cube and `workspace.json`.
        """
        cube = open_cube(self.cube_path)
        if not grids.same_place(cube.grid, self.grid):
            raise UnusableInput(f"An ingest into {self.root} was interrupted; ingest the scenes again.")
        return cube

    def save(self) -> None:
        """Write `workspace.json`."""
        document = {
            "format_version": FORMAT_VERSION,
            "grid": grids.to_json(self.grid),
            "classes": [
                {"id": i, "name": c.name, "colour": list(c.colour)} for i, c in enumerate(self.classes.classes)
            ],
            "sources": [
                {"path": s.path, "fingerprint": s.fingerprint, "attribution": s.attribution} for s in self.sources
            ],
        }
        write_json(self.root / "workspace.json", document)


def open_workspace(root: Path) -> Workspace:
    """Open a workspace.

    Raises:
        UnusableInput: there is none, it is of another version, or its document is damaged.
    """
    path = root / "workspace.json"
    if not path.is_file():
        raise UnusableInput(
            f"{root} is not a workspace (it has no workspace.json); make one with 'geoloom ingest SCENE --out {root}'."
        )
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = document["format_version"]
        if version != FORMAT_VERSION:
            raise UnusableInput(
                f"{root} is a workspace of version {version} and this geoloom reads version {FORMAT_VERSION}; "
                "choose another folder, or delete it and ingest the scenes again."
            )
        return Workspace(
            root,
            grids.from_json(document["grid"]),
            ClassMap(tuple(MapClass(c["name"], tuple(c["colour"])) for c in document["classes"])),
            tuple(Source(**s) for s in document["sources"]),
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UnusableInput(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it and ingest the scenes again."
        ) from error


def new_workspace(
    root: Path, *, grid: GeoBox, classes: ClassMap = DEFAULT_CLASSES, sources: tuple[Source, ...] = ()
) -> Workspace:
    """A workspace not yet saved; its folder is made and checked.

    Raises:
        UnusableInput: a workspace of another version stands there.
        UnwritableOutput: the folder cannot be written.
    """
    if (root / "workspace.json").exists():
        open_workspace(root)
    make_folder(root)
    return Workspace(root, grid, classes, sources)
