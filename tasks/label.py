"""Label: class labels for a cube, block by block; what stands in the ledger is not labelled again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from infra.cluster import Cluster, Job
from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.progress import Progress, counting
from infra.store import Store
from tasks.fetch_model import fetch_model
from tasks.fetch_prompts import fetch_prompts, is_origin, opened_prompts
from tasks.label_block import Orders, blocks, label_block, name_objects, open_tools, source_truth, unite
from tasks.labelers import HALO
from tasks.params import LabelParams
from tasks.raster import grid as grids
from tasks.raster.cube import Cube, cells_of
from tasks.raster.fingerprint import fingerprint
from tasks.raster.labels import are_labels, are_of, create_labels, set_cube
from tasks.raster.truth import file_fingerprint
from tasks.units import read_entries, to_do, writing_to
from tasks.workspace import LABEL, LABELS, Workspace, open_workspace

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


def label(
    params: LabelParams, store: Store, *, grip: Grip, cluster: Cluster, device: str, progress: Progress
) -> LabelledScene:
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
    owners = ""
    if params.method == "vectors" and is_origin(source):
        owners = fetch_prompts(source, workspace, grip=grip, progress=progress)
    with opened_prompts(store, source) as path:
        content = file_fingerprint(path)
    about: dict[str, Any] = {
        "classes": workspace.classes.names,
        "made_by": params.method,
        "sources": [content],
        "from_truth": params.method == "truth" or params.from_truth,
        "pieces": params.method == "few-shot",
    } | ({"attribution": owners} if owners else {})
    recipe = {"params": params.model_dump(mode="json"), "about": about, "device": device}
    ledger, place = Ledger(store, LABEL), store.zarr(LABELS)
    wanted = blocks((cube.grid.shape[0], cube.grid.shape[1]))
    marks = {unit: _mark(recipe | {"unit": unit}, params, cube, block) for unit, block in wanted.items()}
    orders = Orders(store, grip, params, source, fingerprint(recipe), device, cluster.lanes, cube.fingerprint)
    # A file that cannot be used must cost no labels: it is opened before anything is removed.
    kept = are_labels(place, cube.grid, **about)
    done = ledger.done() if kept else {}
    if any(done.get(unit) != mark for unit, mark in marks.items()):
        orders = _prepared(orders, workspace, cube, progress=progress)
        if note := open_tools(orders).note:
            progress.note(note)
    if not kept:
        grip.check()
        ledger.forget_all()
        store.delete_all(LABELS)
        store.delete_all("pieces")
        with writing_to(store):
            create_labels(place, cube.grid, **about)
    pending = to_do(ledger, marks, places=(LABELS, "pieces"))
    if pending:
        set_cube(place, "")
        jobs = [
            Job(f"label-{unit}", label_block, (orders, wanted[unit], Entry(unit, marks[unit], ""))) for unit in pending
        ]
        _run(jobs, "label", cluster=cluster, progress=progress)
    if about["pieces"] and not are_of(place, cube.fingerprint):
        unite(store, list(wanted))
        jobs = [Job(f"name-{unit}", name_objects, (orders, block)) for unit, block in wanted.items()]
        _run(jobs, "objects", cluster=cluster, progress=progress)
    facts_of_all: list[Any] = [entry.facts for entry in read_entries(ledger, marks).values()]
    counts = np.sum([facts["counts"] for facts in facts_of_all], axis=0)
    if not counts.sum():
        raise UnusableInput(
            f"{source} labels no pixel that has data in the scene; check that both are of the same place."
        )
    grip.check()
    set_cube(place, cube.fingerprint)
    share = counts / max(sum(facts["valid"] for facts in facts_of_all), 1)
    shares = dict(zip(workspace.classes.names, (float(s) for s in share), strict=True))
    return LabelledScene(f"{store.url}/{LABELS}", shares, float(share.sum()), len(wanted), len(pending))


def _mark(recipe: dict[str, Any], params: LabelParams, cube: Cube, block: grids.Window) -> str:
    """The recipe and the pixels that a block's labels depend on."""
    if params.method == "truth":
        return fingerprint(recipe, cube.digests[(-1, *cells_of(block))])
    # SAM sees a halo, and every pixel through the stretch of the whole scene's statistics; examples may lie anywhere.
    around = grids.grown(block, HALO)
    seen = (slice(None), *cells_of(around)) if params.method == "vectors" else ()
    statistics = [asdict(s) for s in cube.statistics]
    return fingerprint(recipe | {"statistics": statistics}, cube.digests[seen])


def _prepared(orders: Orders, workspace: Workspace, cube: Cube, *, progress: Progress) -> Orders:
    """Orders with what is made once for all jobs: SAM's weights on this machine, and what the examples teach."""
    params = orders.params
    if params.method == "truth":
        return orders
    from tasks.sam_labelers import learn
    from tasks.sam_view import SamView, require_checkpoint

    require_checkpoint(params)
    if params.sam_checkpoint is None:
        fetch_model(params.sam, progress=progress)
    if params.method == "vectors":
        return orders
    truth = source_truth(orders, workspace)
    view = SamView.of(orders.store, cube, params, device=orders.device)
    return replace(orders, learnt=learn(params, view, truth, progress=progress))


def _run(jobs: list[Job], what: str, *, cluster: Cluster, progress: Progress) -> None:
    with counting(progress, what, total=len(jobs), unit="blocks") as bar:
        cluster.run(jobs, done=lambda _job, _result: bar.advance())
