"""Status: what is done in a workspace, and who is at work there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.errors import UnusableInput
from infra.lease import holder
from infra.ledger import Ledger
from infra.store import Store
from tasks.raster import cube as cubes
from tasks.raster import labels
from tasks.raster.zarrays import open_group
from tasks.workspace import CUBE, DOCUMENT, INGEST, LABEL, LABELS, MOSAIC, PREDICT, PROBABILITY, STEPS, VECTORIZE


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far one step is."""

    done: int
    short: int
    """Units that are done but for tiles that failed."""
    total: int | None
    """None where the step has not begun."""


@dataclass(frozen=True, slots=True)
class Status:
    """A workspace as it stands."""

    steps: dict[str, Progressed]
    holder: str | None
    """Who is at work there."""
    strips: int
    """Contributions that wait for a neighbouring block."""

    def lines(self) -> list[str]:
        """The status as a person reads it."""
        rows = [f"{name:<9} {_tell(step)}" for name, step in self.steps.items()]
        return [*rows, f"strips    {self.strips}", f"at work   {self.holder or 'nobody'}"]


def read_status(store: Store) -> Status:
    """Look at a workspace; changes nothing.

    Raises:
        UnusableInput: nothing of a workspace is there.
    """
    ledgers = {step: Ledger(store, step) for step in STEPS}
    units = {step: (ledger.done(), ledger.short()) for step, ledger in ledgers.items()}
    if not any(done or short for done, short in units.values()) and not store.exists(DOCUMENT):
        raise UnusableInput(f"{store.url} is not a workspace; make one with 'geoloom ingest SCENE --out {store.url}'.")
    totals = _totals(store)
    steps = {step: Progressed(len(done), len(short), totals.get(step)) for step, (done, short) in units.items()}
    at_work = holder(store)
    return Status(steps, None if at_work is None else str(at_work), len(store.keys("strips")))


def lost_tiles(store: Store) -> list[str]:
    """The tiles of the prediction that failed: where they have weight is nodata."""
    ledger = Ledger(store, PREDICT)
    entries = [ledger.read(unit, mark) for unit, mark in ledger.short().items()]
    facts: list[Any] = [entry.facts for entry in entries if entry is not None]
    return [f"tile {row}, {col}" for row, col in sorted({tuple(tile) for f in facts for tile in f["lost"]})]


def _totals(store: Store) -> dict[str, int]:
    """Units of every step that has begun, by the grid of the cube."""
    try:
        shape: tuple[int, ...] = open_group(store.zarr(CUBE), made_by="ingest")["valid"].shape  # type: ignore[union-attr]
    except (UnusableInput, KeyError):
        return {}

    def blocks(side: int) -> int:
        return -(-shape[0] // side) * -(-shape[1] // side)

    totals = {INGEST: blocks(cubes.BLOCK)}
    if store.exists(f"{LABELS}/zarr.json"):
        totals[LABEL] = blocks(labels.SHARD)
    if store.exists(f"{PROBABILITY}/zarr.json"):  # the plan says it too, but to read that takes torch, and seconds
        side: Any = open_group(store.zarr(PROBABILITY), made_by="predict").attrs["block"]
        totals[PREDICT] = blocks(side)
        totals[MOSAIC] = max(2, len(Ledger(store, MOSAIC).done()))
        if store.keys("vectors"):
            totals[VECTORIZE] = blocks(side)
    return totals


def _tell(step: Progressed) -> str:
    if step.total is None:
        return "not begun"
    holes = f", {step.short} with holes" if step.short else ""
    return f"{step.done + step.short} of {step.total} units{holes}"
