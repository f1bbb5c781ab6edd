"""The jobs of a labelling: label a block, window by window; then give every object of it its id.

A labeler that numbers what it sees in each window for itself makes pieces. Neighbouring windows see the same pixels on
either side of the line between them, so pieces that agree there are one object (`tasks/raster/pieces.py`). Within a
block that is known at once; across its edges, what its outer windows see is kept in `pieces/` until all blocks are
in.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from threading import BoundedSemaphore, Lock

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.stopping import check
from infra.store import Store
from models.machine import one_thread, one_thread_for_numpy
from tasks.labelers import Dropped, Labeler, Labelled
from tasks.raster.classes import IGNORE
from tasks.raster.cube import Cube
from tasks.raster.digest import digest
from tasks.raster.grid import Window, crop_to, grown, shape_of, windows, within
from tasks.raster.labels import block_names, open_labels, write_labels
from tasks.raster.pieces import Pairs, Sight, matching, renamed, smallest_ids
from tasks.raster.shards import read_shards
from tasks.units import replacing_shards
from tasks.ways import Way, open_labeler
from tasks.workspace import LABEL, LABELS, forgetting_damage, open_workspace

NAMES = "pieces/names.npz"
PIECES = 1 << 13
"""Ids of a window: eight thousand objects in 384² pixels would have less than 20 each."""
MOST_WINDOWS = (1 << 32) // PIECES - 1


@dataclass(frozen=True, slots=True)
class Orders:
    """What all jobs of one labelling have in common. Plain data: it travels to workers."""

    store: Store
    grip: Grip
    ways: tuple[Way, ...]
    recipe: str
    """Fingerprint of everything that the labels depend on but the pixels."""
    device: str
    lanes: int
    """Windows that one process labels at once."""
    cube: str
    """Fingerprint of the cube."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a process keeps open to label with."""

    labeler: Labeler
    cube: Cube
    classes: int
    lanes: BoundedSemaphore
    notes: list[str]
    """What the user should know of the vectors it starts from."""


_OPENING = Lock()
_OPEN: dict[tuple[str, str, str, int], Tools] = {}


def open_tools(orders: Orders) -> Tools:
    """What this process keeps open for a labelling; one at a time.

    Raises:
        UnusableInput: the file that it starts from, or the weights, cannot be used.
    """
    key = (orders.store.url, orders.recipe, orders.cube, orders.lanes)
    with _OPENING:
        if key not in _OPEN:
            _OPEN.clear()
            workspace = open_workspace(orders.store)
            cube = workspace.cube()
            labeler, notes = open_labeler(orders.ways, workspace, cube, device=orders.device)
            if labeler.pieces:
                _require_ids(cube, labeler.window)
            _OPEN[key] = Tools(labeler, cube, len(workspace.classes), BoundedSemaphore(orders.lanes), notes)
        return _OPEN[key]


def close_tools() -> None:
    """Let go of what this process keeps open: SAM's weights, and all vectors of a scene."""
    with _OPENING:
        _OPEN.clear()


def label_block(orders: Orders, block: Window, entry: Entry) -> None:
    """Label one block and write it.

    Raises:
        DamagedCube: the cube's pixels are not those that were ingested.
        WorkspaceBusy: another run has taken the workspace over.
    """
    one_thread(orders.device)
    ledger = Ledger(orders.store, LABEL)
    if ledger.has(entry.unit, entry.fingerprint):
        return
    tools = open_tools(orders)
    shape = shape_of(block)
    label, confidence = (np.full(shape, IGNORE, np.uint8) for _ in range(2))
    instance = np.zeros(shape, np.uint32)
    edges = _Edges(tools)
    dropped: list[Dropped] = []
    with forgetting_damage(orders.store), one_thread_for_numpy():
        valid = tools.cube.read(block, bands=())[1]
        for part in windows(shape, tools.labeler.window):
            check()
            data = valid[part]
            if not data.any():
                continue
            rows, cols = (slice(p.start + b.start, p.stop + b.start) for p, b in zip(part, block, strict=True))
            with tools.lanes:
                found = tools.labeler((rows, cols))
            dropped += found.dropped
            if tools.labeler.pieces:
                found = _numbered(found, (rows, cols), tools)
            own = within((rows, cols), found.seen)
            label[part] = np.where(data, found.label[own], IGNORE)
            instance[part] = np.where(data, found.instance[own], 0)
            confidence[part] = np.where(data, found.confidence[own], 255)
            if tools.labeler.pieces:
                edges.take((rows, cols), found)
    if tools.labeler.pieces:
        orders.grip.check()
        orders.store.write(_key(entry.unit), edges.pack())
    with replacing_shards(orders.grip, LABELS, block_names(block, pieces=tools.labeler.pieces)):
        write_labels(
            orders.store.zarr(LABELS), block, label=label, confidence=confidence,
            **({"piece": instance} if tools.labeler.pieces else {}), instance=instance,
        )  # fmt: skip
    counts = np.bincount(label[label != IGNORE], minlength=tools.classes)
    facts = {"counts": counts.tolist(), "valid": int(valid.sum()), "objects": bool(instance.any()),
             "dropped": [asdict(one) for one in dropped]}  # fmt: skip
    ledger.record(Entry(entry.unit, entry.fingerprint, digest(label, instance, confidence), short=False, facts=facts))


def _require_ids(cube: Cube, size: int) -> None:
    windows_there = int(np.prod([-(-n // size) for n in cube.grid.shape]))
    if windows_there > MOST_WINDOWS:
        raise UnusableInput(
            f"The scene has {windows_there:,} windows of {size} pixels, and there are ids for {MOST_WINDOWS:,}; "
            "label it in parts, with 'geoloom ingest --bounds'."
        )


def _numbered(found: Labelled, window: Window, tools: Tools) -> Labelled:
    """A window's own pieces with ids that no other window has."""
    size = tools.labeler.window
    columns = -(-tools.cube.grid.shape[1] // size)
    first = (window[0].start // size * columns + window[1].start // size) * PIECES
    there = (found.instance > 0) & (found.instance < PIECES)
    return replace(found, instance=np.where(there, found.instance + np.uint32(first), 0).astype(np.uint32))


class _Edges:
    """What windows see of each other: matched where both are in, kept where the other is another block's."""

    def __init__(self, tools: Tools) -> None:
        self.size, self.halo = tools.labeler.window, tools.labeler.halo
        self.shape = (tools.cube.grid.shape[0], tools.cube.grid.shape[1])
        self.pairs: list[Pairs] = []
        self.waiting: dict[str, Sight] = {}

    def take(self, window: Window, found: Labelled) -> None:
        """Match a window's pieces with its neighbours'."""
        sight = Sight.of(found.instance, found.label)
        for name, side, common in self._common(window):
            _meet(self.waiting, self.pairs, f"{name}.{side}", sight.at(within(common, found.seen)))

    def _common(self, window: Window) -> Iterator[tuple[str, int, Window]]:
        """What it sees together with each neighbour: the edge's name, 0 for who lies before it, and the pixels."""
        for axis in (0, 1):
            for side, step in ((0, self.size), (1, -self.size)):
                start = window[axis].start + step
                if not 0 <= start < self.shape[axis]:
                    continue
                other = list(window)
                other[axis] = slice(start, min(start + self.size, self.shape[axis]))
                first = window if side == 0 else (other[0], other[1])
                mine, theirs = (crop_to(grown((w[0], w[1]), self.halo), self.shape) for w in (window, other))
                rows, cols = (
                    slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(mine, theirs, strict=True)
                )
                yield f"{axis}.{first[0].start}.{first[1].start}", side, (rows, cols)

    def pack(self) -> bytes:
        """As bytes: pairs of pieces that are one, and what waits for other blocks' windows."""
        pairs = np.concatenate([np.zeros((0, 2), np.uint32), *self.pairs])
        sights = {name: np.stack([s.piece, s.label, s.cut]) for name, s in self.waiting.items()}
        return _packed(pairs=pairs, **sights)


def _packed(**arrays: NDArray[np.uint32]) -> bytes:
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)  # type: ignore[arg-type]
    return held.getvalue()


def _meet(waiting: dict[str, Sight], pairs: list[Pairs], name: str, sight: Sight) -> None:
    """Match one side of an edge, EDGE.0 or EDGE.1, with the other where that waits; else let it wait."""
    edge, _, side = name.rpartition(".")
    other = waiting.pop(f"{edge}.{1 - int(side)}", None)
    if other is None:
        waiting[name] = sight
    else:
        pairs.append(matching(sight, other))


def unite(store: Store, units: list[str]) -> None:
    """Write down which pieces become which object, from what all blocks have kept.

    Raises:
        UnusableInput: what a block has kept is gone; that block is to be done again.
    """
    waiting: dict[str, Sight] = {}
    pairs: list[Pairs] = []
    for unit in units:
        kept = store.read(_key(unit))
        try:
            with np.load(io.BytesIO(kept or b"")) as file:
                pairs.append(file["pairs"])
                for name in file.files:
                    if name != "pairs":
                        piece, label, cut = file[name]
                        _meet(waiting, pairs, name, Sight(piece, label.astype(np.uint8), cut > 0))
        except (ValueError, EOFError, OSError, KeyError) as error:
            Ledger(store, LABEL).forget([unit])
            raise UnusableInput(f"{store.url}/{_key(unit)} is damaged or gone; run the same command again.") from error
    ids, become = smallest_ids(pairs)
    store.write(NAMES, _packed(ids=ids, become=become))


def name_objects(orders: Orders, block: Window) -> None:
    """Give the pieces of one block the ids of their objects."""
    check()
    with np.load(io.BytesIO(orders.store.read(NAMES) or b"")) as file:
        ids, become = file["ids"], file["become"]
    group = open_labels(orders.store.zarr(LABELS))
    pieces = read_shards(group["piece"], block)  # type: ignore[arg-type]
    wanted = renamed(pieces, ids, become)
    if not np.array_equal(wanted, read_shards(group["instance"], block)):  # type: ignore[arg-type]
        with replacing_shards(orders.grip, LABELS, block_names(block, only="instance")):
            write_labels(orders.store.zarr(LABELS), block, instance=wanted)


def _key(unit: str) -> str:
    return f"pieces/{unit}.npz"
