"""The finished prediction of a workspace, as the steps after it read it: complete, and proved block by block."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.ledger import Entry, Ledger
from infra.store import Store
from tasks.raster.classes import ClassMap, MapClass
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.grid import Window, to_json
from tasks.raster.probability import open_probability, state_of
from tasks.raster.shards import read_shards
from tasks.raster.zarrays import open_group
from tasks.units import blocks_of, unit_of
from tasks.workspace import PREDICT, PROBABILITY, Workspace, open_workspace


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction that is done."""

    workspace: Workspace
    array: zarr.Array[Any]
    """(class, y, x) uint8."""
    about: dict[str, Any]
    """What it is of, as `predict` recorded it."""
    entries: dict[str, Entry]
    """The ledger's entry of every block."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.shape[1], self.array.shape[2]

    @property
    def side(self) -> int:
        """Pixels a side of a block."""
        return int(self.about["block"])

    @property
    def classes(self) -> ClassMap:
        """Names and colours, in id order."""
        pairs = zip(self.about["classes"], self.about["colours"], strict=True)
        return ClassMap(tuple(MapClass(name, tuple(colour)) for name, colour in pairs))

    @property
    def checksums(self) -> dict[str, str]:
        """Of every block's pixels, by its unit."""
        return {unit: entry.checksum for unit, entry in self.entries.items()}

    @property
    def valid(self) -> int:
        """Pixels that have data."""
        return sum(int(entry.facts["valid"]) for entry in self.entries.values())

    @property
    def id(self) -> str:
        """What stands for these probabilities, and where they come from and lie."""
        control = self.workspace.control
        where = {"grid": to_json(self.workspace.grid), "control": asdict(control) if control else None}
        return fingerprint(where | {"tags": self.lineage(), "colours": self.about["colours"], "blocks": self.checksums})

    def blocks(self) -> dict[str, Window]:
        """Every block by its unit, in reading order."""
        return blocks_of(self.shape, self.side)

    def lineage(self) -> dict[str, str]:
        """What products say of where they come from."""
        tags = {
            "GEOLOOM_VERSION": version("geoloom"),
            "GEOLOOM_SCENES": self.workspace.scene_names,
            "GEOLOOM_CUBE": str(self.about["cube"]),
            "GEOLOOM_MODEL_SHA256": str(self.about["model"]),
            "GEOLOOM_PARAMETERS": str(self.about["parameters"]),
            "GEOLOOM_TRAINED_HERE": "yes" if self.about["trained_here"] else "no",
        }
        owners = self.workspace.owners
        return tags | ({"TIFFTAG_COPYRIGHT": owners} if owners else {})

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Probabilities of a block, (class, y, x), proved by their checksum.

        Raises:
            UnusableInput: they are not what was predicted; 'predict' then has that block to do again.
        """
        unit = unit_of(window, self.side)
        planes = _whole(self.array, window)
        if planes is None or digest(planes) != self.entries[unit].checksum:
            raise damaged(self.workspace.store, window, unit)
        return planes


def _whole(array: zarr.Array[Any], window: Window) -> NDArray[np.uint8] | None:
    try:
        return read_shards(array, window)
    except (ValueError, RuntimeError, OSError):
        return None


def damaged(store: Store, window: Window, unit: str) -> UnusableInput:
    """The error of a block that is not what was predicted; 'predict' then has it to do again."""
    Ledger(store, PREDICT).forget([unit])
    rows, cols = window
    return UnusableInput(
        f"{store.url}/{PROBABILITY} is damaged in rows {rows.start} to {rows.stop}, columns {cols.start} to "
        f"{cols.stop}; run 'geoloom predict' again: it makes that block again."
    )


def open_prediction(store: Store) -> Prediction:
    """Open a workspace's prediction.

    Raises:
        UnusableInput: there is none, not all of it, or it is of other pixels than the cube's.
    """
    workspace = open_workspace(store)
    place = store.zarr(PROBABILITY)
    ledger = Ledger(store, PREDICT)
    found = Prediction(
        workspace,
        open_probability(place),
        dict(open_group(place, made_by="predict").attrs),
        {entry.unit: entry for entry in ledger.entries()},
    )
    total = len(found.blocks())
    units = {unit: entry.fingerprint for unit, entry in found.entries.items()}
    if len(units) < total or found.about.get("units") != state_of(units):
        ledger.forget((ledger.done() | ledger.short()).keys() - units.keys())  # damaged: nothing proves their blocks
        raise UnusableInput(
            f"The prediction in {store.url} is not complete ({len(units)} of {total} blocks are done); "
            "run 'geoloom predict' again: it does what is left."
        )
    if found.about["cube"] != workspace.cube().fingerprint:
        raise UnusableInput(
            f"The prediction in {store.url} is of other pixels than its cube's; run 'geoloom predict' again."
        )
    return found
