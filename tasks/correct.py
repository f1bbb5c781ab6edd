"""Correct: what a person changed in a review goes back into the labels; nothing else changes.

The edits are kept in `review/edits.npz`. Labels that are made anew, from other prompts, with another method or by an
import, get them again: what a person said is not lost to a better network. Their objects then have new ids, since the
old ones are other objects' by then.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Ledger
from infra.progress import Progress
from infra.stopping import check
from infra.store import Store
from tasks.made_labels import GIVEN_OUT, open_made_labels, truths_looked_at
from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE
from tasks.raster.cube import Cube
from tasks.raster.digest import digest
from tasks.raster.edits import Edits, differences, nothing, read_objects
from tasks.raster.grid import Window
from tasks.raster.labels import block_names, open_labels, set_cube, set_looked_at, write_labels
from tasks.raster.outline_bytes import pack_outlines, unpack_outlines
from tasks.units import replacing_shards
from tasks.workspace import LABEL, LABELS, Workspace

EDITS = "review/edits.npz"


@dataclass(frozen=True, slots=True)
class Corrections:
    """All that a person said of a workspace's labels."""

    edits: Edits
    highest: int
    """The highest object id that the labels had: none is given twice, even where its object was removed."""
    truths: tuple[str, ...] = ()
    """sha256 of each truth that was in sight."""


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
    kept = corrections_of(store)
    highest = _checked(max(kept.highest, *(int(made.read(b, "instance").max()) for b in blocks.values())))
    changes = differences(before, after, next_id=highest + 1)
    edits = changes.edits
    if not len(edits):
        progress.note(f"{path} says what the labels say already")
        return []
    touched = {unit: block for unit, block in blocks.items() if edits.touches(block)}
    cube = workspace.cube()
    highest = max(highest, int(edits.instance.max()))
    truths = tuple(sorted({*kept.truths, *truths_looked_at(store)}))
    _keep(store, Corrections(kept.edits.then(edits), highest, truths), grip)
    set_looked_at(store.zarr(LABELS), truths)
    set_cube(store.zarr(LABELS), "")
    _burn(store, cube, edits, touched, grip=grip)
    with store.publishing(GIVEN_OUT) as temporary:
        after.frame.assign(id=changes.ids).to_parquet(temporary)  # from now on, what was edited is what was given out
    grip.check()
    set_cube(store.zarr(LABELS), cube.fingerprint)
    progress.note(
        f"{changes.objects:,} objects were changed by hand, in {len(touched)} of {len(blocks)} blocks"
        + (f"; {after.mended} invalid outlines were mended" if after.mended else "")
    )
    return list(touched)


def correct_again(store: Store, cube: Cube, blocks: dict[str, Window], *, grip: Grip, progress: Progress) -> None:
    """Take edits that a person made before into blocks that have been labelled anew."""
    kept = corrections_of(store)
    edits = kept.edits
    touched = {unit: block for unit, block in blocks.items() if len(edits) and edits.touches(block)}
    if touched:
        # Pixels that an interrupted call has drawn already lie under the edits: the ids are the same after it.
        group = open_labels(store.zarr(LABELS))
        others = (np.array(group["instance"][b])[~edits.covers(b)] for b in blocks.values())  # type: ignore[index]
        highest = _checked(max(int(ids.max(initial=0)) for ids in others))
        edits = edits.numbered_from(highest + 1)
        _keep(store, Corrections(edits, max(highest, int(edits.instance.max())), kept.truths), grip)
        set_looked_at(store.zarr(LABELS), kept.truths)
        _burn(store, cube, edits, touched, grip=grip)
        progress.note("corrections that were made by hand before were made again")


def corrections_of(store: Store) -> Corrections:
    """All corrections that a workspace's labels have had."""
    data = store.read(EDITS)
    if data is None:
        return Corrections(nothing(), 0)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        edits = Edits(unpack_outlines(arrays["lengths"], arrays["wkb"]), arrays["label"], arrays["instance"])
        if "highest" not in arrays:
            return Corrections(edits, int(edits.instance.max(initial=0)))
        return Corrections(edits, int(arrays["highest"]), tuple(arrays["truths"].tolist()))


def _keep(store: Store, kept: Corrections, grip: Grip) -> None:
    edits = kept.edits
    lengths, wkb = pack_outlines(edits.outline)
    held = io.BytesIO()
    np.savez_compressed(
        held, allow_pickle=False, lengths=lengths, wkb=wkb, label=edits.label, instance=edits.instance,
        highest=np.int64(kept.highest), truths=np.array(kept.truths, "U64"),
    )  # fmt: skip
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


def _checked(highest: int) -> int:
    if highest > np.iinfo(np.uint32).max - (1 << 16):
        raise UnusableInput("The labels have used nearly all of 4 billion object ids; label the scene in parts.")
    return highest
