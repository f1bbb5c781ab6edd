"""Label: class labels for a cube, block by block; what stands in the ledger is not labelled again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.progress import Progress, counting
from infra.stopping import check
from infra.store import Store
from tasks.labelers import HALO, Labeler, TruthLabeler
from tasks.params import LabelParams
from tasks.raster import grid as grids
from tasks.raster.classes import IGNORE
from tasks.raster.cube import Cube, cells_of
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.labels import SHARD, are_labels, block_names, create_labels, set_cube, write_labels
from tasks.raster.truth import file_fingerprint, open_truth
from tasks.raster.vectors import read_shapes
from tasks.units import read_entries, replacing_shards, to_do, unit_of, writing_to
from tasks.workspace import LABEL, LABELS, Workspace, forgetting_damage, open_workspace

FILE_OF = {"truth": "truth", "vectors": "prompts", "few-shot": "examples"}
"""The option that names the file which each method starts from."""


@dataclass(frozen=True, slots=True)
class LabelledScene:
    """What a labelling made."""

    labels: str
    shares: dict[str, float]
    """Share of the valid pixels that each class got."""
    labelled: float
    """Share of the valid pixels that got any."""
    units_total: int
    units_run: int


def label(params: LabelParams, store: Store, *, grip: Grip, device: str, progress: Progress) -> LabelledScene:
    """Label a workspace's cube.

    Raises:
        UnusableInput: no cube, a file that cannot be used, an unknown class, or weights that are not there.
        UnwritableOutput: the labels cannot be written.
        WorkspaceBusy: another run has taken the workspace over.
    """
    workspace = open_workspace(store)
    cube = workspace.cube()
    source = getattr(params, FILE_OF[params.method])
    if source is None:
        raise UnusableInput(f"Labelling with {params.method} needs a file; give it with --{FILE_OF[params.method]}.")
    about: dict[str, Any] = {
        "classes": workspace.classes.names,
        "made_by": params.method,
        "sources": [file_fingerprint(source)],
        "from_truth": params.method == "truth" or params.from_truth,
    }
    recipe = {"params": params.model_dump(mode="json"), "about": about, "device": device}
    ledger, place = Ledger(store, LABEL), store.zarr(LABELS)
    blocks = {
        unit_of(window, SHARD): window for window in grids.windows((cube.grid.shape[0], cube.grid.shape[1]), SHARD)
    }
    marks = {unit: _mark(recipe | {"unit": unit}, params, cube, block) for unit, block in blocks.items()}
    # A file that cannot be used must cost no labels: it is opened before anything is removed.
    kept = are_labels(place, cube.grid, **about)
    done = ledger.done() if kept else {}
    labeler = None
    if any(done.get(unit) != mark for unit, mark in marks.items()):
        labeler = _labeler(params, workspace, source, device=device, progress=progress)
    if not kept:
        grip.check()
        ledger.forget_all()
        store.delete_all(LABELS)
        with writing_to(store):
            create_labels(place, cube.grid, **about)
    pending = to_do(ledger, marks, places=(LABELS,))
    set_cube(place, "")
    with counting(progress, "label", total=len(pending), unit="blocks") as bar:
        for unit in pending:
            assert labeler is not None
            with forgetting_damage(store):
                facts, checksum = _label_block(
                    labeler, cube, store, blocks[unit], grip=grip, classes=len(workspace.classes)
                )
            ledger.record(Entry(unit, marks[unit], checksum, short=False, facts=facts))
            bar.advance()
    facts_of_all: list[Any] = [entry.facts for entry in read_entries(ledger, marks).values()]
    counts = np.sum([facts["counts"] for facts in facts_of_all], axis=0)
    if not counts.sum():
        raise UnusableInput(
            f"{source} labels no pixel that has data in the scene; check that both are of the same place."
        )
    set_cube(place, cube.fingerprint)
    share = counts / max(sum(facts["valid"] for facts in facts_of_all), 1)
    shares = dict(zip(workspace.classes.names, (float(s) for s in share), strict=True))
    return LabelledScene(f"{store.url}/{LABELS}", shares, float(share.sum()), len(blocks), len(pending))


def _mark(recipe: dict[str, Any], params: LabelParams, cube: Cube, block: grids.Window) -> str:
    """The recipe and the pixels that a block's labels depend on."""
    if params.method == "truth":
        return fingerprint(recipe, cube.digests[(-1, *cells_of(block))])
    # SAM sees a halo, and every pixel through the stretch of the whole scene's statistics; examples may lie anywhere.
    around = (
        slice(max(block[0].start - HALO, 0), block[0].stop + HALO),
        slice(max(block[1].start - HALO, 0), block[1].stop + HALO),
    )
    seen = (slice(None), *cells_of(around)) if params.method == "vectors" else ()
    statistics = [asdict(s) for s in cube.statistics]
    return fingerprint(recipe | {"statistics": statistics}, cube.digests[seen])


def _label_block(
    labeler: Labeler, cube: Cube, store: Store, block: grids.Window, *, grip: Grip, classes: int
) -> tuple[dict[str, Any], str]:
    """Label one block and write it; what it counted, and the checksum of what was written."""
    shape = tuple(s.stop - s.start for s in block)
    label, confidence = (np.full(shape, IGNORE, np.uint8) for _ in range(2))
    instance = np.zeros(shape, np.uint32)
    valid = cube.read(block, bands=())[1]
    for part in grids.windows((shape[0], shape[1]), labeler.window):
        check()
        data = valid[part]
        if not data.any():
            continue
        rows, cols = (slice(p.start + b.start, p.stop + b.start) for p, b in zip(part, block, strict=True))
        found = labeler((rows, cols))
        kept = np.where(data, found.label, np.uint8(IGNORE))
        label[part] = kept
        instance[part] = np.where(kept == IGNORE, 0, found.instance)
        confidence[part] = np.where(kept == IGNORE, 255, found.confidence)
    with replacing_shards(grip, LABELS, block_names(block)):
        write_labels(store.zarr(LABELS), block, label=label, instance=instance, confidence=confidence)
    counts = np.bincount(label[label != IGNORE], minlength=classes)
    return {"counts": counts.tolist(), "valid": int(valid.sum())}, digest(label, instance, confidence)


def _labeler(params: LabelParams, workspace: Workspace, source: str, *, device: str, progress: Progress) -> Labeler:
    grid, classes = workspace.grid, workspace.classes
    if params.method == "vectors":
        from tasks.sam_labelers import VectorLabeler

        shapes = read_shapes(source, grid, classes, vector_class=params.vector_class, road_width=params.road_width)
        return VectorLabeler(params, workspace.cube(), shapes, device=device, progress=progress)
    truth = open_truth(
        source,
        grid,
        classes,
        names=params.truth_classes,
        vector_class=params.vector_class,
        road_width=params.road_width,
    )
    if params.method == "truth":
        return TruthLabeler(truth)
    from tasks.sam_labelers import FewShotLabeler

    return FewShotLabeler(params, workspace.cube(), truth, device=device, progress=progress)
