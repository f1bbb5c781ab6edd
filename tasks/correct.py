"""Correct: what a person changed in a review goes back into the labels; nothing else changes.

The edits are kept in `review/edits.npz`. Labels that are made anew, from other prompts or with another method, get them
again: what a person said is not lost to a better network.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Ledger
from infra.progress import Progress
from infra.stopping import check
from infra.store import Store
from tasks.made_labels import GIVEN_OUT, MadeLabels, open_made_labels
from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE
from tasks.raster.cube import Cube
from tasks.raster.digest import digest
from tasks.raster.edits import Edits, differences, nothing, read_objects
from tasks.raster.grid import Window
from tasks.raster.labels import block_names, open_labels, set_cube, write_labels
from tasks.raster.outline_bytes import pack_outlines, unpack_outlines
from tasks.units import replacing_shards
from tasks.workspace import LABEL, LABELS, Workspace

EDITS = "review/edits.npz"


def correct(path: str, workspace: Workspace, blocks: dict[str, Window], *, grip: Grip, progress: Progress) -> list[str]:
    """Take an edited review into the labels.

    Args:
        path: products/review.gpkg as it came back, anywhere.
        workspace: whose labels were reviewed.
        blocks: of the labels, by unit.
        grip: on the workspace.
        progress: told what was changed.

    Returns:
        Units of the blocks that were changed.

    Raises:
        UnusableInput: the labels have not been reviewed, or the file is not that review, edited.
    """
    store = workspace.store
    made = open_made_labels(workspace)
    if not store.exists(GIVEN_OUT):
        raise UnusableInput(
            f"The labels in {store.url} have not been reviewed, so nothing tells what was edited in {path}; "
            "run 'geoloom review' and edit products/review.gpkg."
        )
    if not Path(path).is_file():
        raise UnusableInput(f"There is no file {path}; give the review.gpkg that was edited.")
    after = read_objects(Path(path), workspace.grid, made.classes)
    with store.fetched(GIVEN_OUT) as given:
        before = read_objects(Path(given), workspace.grid, made.classes)
    edits = differences(before, after, next_id=_highest_id(made, blocks) + 1)
    if not len(edits):
        progress.note(f"{path} says what the labels say already")
        return []
    touched = {unit: block for unit, block in blocks.items() if edits.touches(block)}
    cube = workspace.cube()
    _keep(store, edits_of(store).then(edits), grip)
    set_cube(store.zarr(LABELS), "")
    _burn(store, cube, edits, touched, grip=grip)
    with store.publishing(GIVEN_OUT) as temporary:
        after.frame.to_parquet(temporary)  # from now on, what was edited is what was given out
    grip.check()
    set_cube(store.zarr(LABELS), cube.fingerprint)
    progress.note(
        f"{len(edits):,} outlines were changed by hand, in {len(touched)} of {len(blocks)} blocks"
        + (f"; {after.mended} invalid ones were mended" if after.mended else "")
    )
    return list(touched)


def correct_again(store: Store, cube: Cube, blocks: dict[str, Window], *, grip: Grip, progress: Progress) -> None:
    """Take edits that a person made before into blocks that have been labelled anew."""
    edits = edits_of(store)
    touched = {unit: block for unit, block in blocks.items() if len(edits) and edits.touches(block)}
    if touched:
        _burn(store, cube, edits, touched, grip=grip)
        progress.note(f"{len(edits):,} corrections by hand were kept")


def edits_of(store: Store) -> Edits:
    """All edits that a workspace's labels have had."""
    data = store.read(EDITS)
    if data is None:
        return nothing()
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return Edits(unpack_outlines(arrays["lengths"], arrays["wkb"]), arrays["label"], arrays["instance"])


def _keep(store: Store, edits: Edits, grip: Grip) -> None:
    lengths, wkb = pack_outlines(edits.outline)
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, lengths=lengths, wkb=wkb, label=edits.label, instance=edits.instance)
    grip.check()
    store.write(EDITS, held.getvalue())


def _burn(store: Store, cube: Cube, edits: Edits, touched: dict[str, Window], *, grip: Grip) -> None:
    group = open_labels(store.zarr(LABELS))
    ledger = Ledger(store, LABEL)
    entries = {entry.unit: entry for entry in ledger.entries() if entry.unit in touched}
    ledger.forget(touched)  # a block that is half new must not count as done
    for unit, block in touched.items():
        check()
        valid = cube.read(block, bands=())[1]
        label, instance, confidence = (np.array(group[name][block]) for name in ("label", "instance", "confidence"))  # type: ignore[index]
        edits.burn(block, valid=valid, label=label, instance=instance, confidence=confidence, sure=TOP)
        with replacing_shards(grip, LABELS, block_names(block)):
            write_labels(store.zarr(LABELS), block, label=label, instance=instance, confidence=confidence)
        entry = entries.get(unit)
        if entry is not None:
            known: Any = entry.facts
            counts = np.bincount(label[label != IGNORE], minlength=len(known["counts"])).tolist()
            ledger.record(
                replace(entry, checksum=digest(label, instance, confidence), facts=known | {"counts": counts})
            )


def _highest_id(made: MadeLabels, blocks: dict[str, Window]) -> int:
    highest = max(int(made.read(block, "instance").max()) for block in blocks.values())
    if highest > np.iinfo(np.uint32).max - (1 << 16):
        raise UnusableInput("The labels have used nearly all of 4 billion object ids; label the scene in parts.")
    return highest
