"""Units of work that a step has done before, and those that it has to do: the same for every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.store import Store
from tasks.raster.grid import Window, windows


def unit_of(window: Window, side: int) -> str:
    """The name of the block of so many pixels a side that begins where a window does."""
    return f"{window[0].start // side}_{window[1].start // side}"


def blocks_of(shape: tuple[int, int], side: int) -> dict[str, Window]:
    """The blocks of so many pixels a side that cover a shape, by unit, in reading order."""
    return {unit_of(window, side): window for window in windows(shape, side)}


def to_do(ledger: Ledger, wanted: Mapping[str, str], *, places: Sequence[str]) -> list[str]:
    """The units whose fingerprint is not in the ledger, in order; what the ledger says of them is forgotten first.

    Forgetting comes before their results are overwritten: an entry must never stand for pixels that are half new.
    What workers that were killed have left unfinished is removed.

    Args:
        ledger: a step's, whose workspace is held.
        wanted: unit to fingerprint of all units that the step's result is made of.
        places: where in the workspace this step alone writes, beside its ledger.
    """
    for place in (f"ledger/{ledger.step}", *places):
        ledger.store.sweep(place)
    done = ledger.done()
    pending = [unit for unit, mark in wanted.items() if done.get(unit) != mark]
    strangers = (set(done) | set(ledger.short())) - set(wanted)
    ledger.forget({*pending, *strangers})
    return pending


def read_entries(ledger: Ledger, wanted: Mapping[str, str]) -> dict[str, Entry]:
    """The entries of all units of a step that is done, by unit.

    Args:
        ledger: a step's.
        wanted: as `to_do` takes it.

    Raises:
        UnusableInput: one is damaged; it is forgotten, so that the same command does that unit again.
    """
    found = {entry.unit: entry for entry in ledger.entries() if wanted.get(entry.unit) == entry.fingerprint}
    damaged = sorted(set(wanted) - set(found))
    if damaged:
        ledger.forget(damaged)
        raise UnusableInput(
            f"The ledger of '{ledger.step}' in {ledger.store.url} was damaged ({damaged[0]}) and that entry is "
            "removed; run the same command again."
        )
    return found


@contextmanager
def replacing_shards(grip: Grip, group: str, names: Sequence[str]) -> Iterator[None]:
    """Around the writing of a unit's shards: what stood there goes first, what was written is made durable.

    Args:
        grip: of the run that writes; looked at before, and after, when the ledger's entry is next.
        group: the Zarr group's key.
        names: of the shards within it.

    Raises:
        WorkspaceBusy: another run has taken the workspace over.
    """
    keys = [f"{group}/{name}" for name in names]
    grip.check()
    grip.store.delete(keys)
    with writing_to(grip.store):
        yield
    grip.store.settle(keys)
    grip.check()


@contextmanager
def writing_to(store: Store) -> Iterator[None]:
    """Around what a library writes into a store: a full disk becomes one clear sentence.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    with store.explaining():
        yield
