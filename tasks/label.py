"""Label: class labels for a cube, block by block; what stands in the ledger is not labelled again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.cluster import Cluster, Job
from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.progress import Progress, counting
from infra.store import Store, write_json
from tasks.correct import correct, correct_again
from tasks.label_block import Orders, close_tools, label_block, name_objects, open_tools, unite
from tasks.label_params import LabelParams
from tasks.labelers import HALO
from tasks.learn_vectors import learnt
from tasks.made_labels import DROPPED, open_made_labels
from tasks.raster import grid as grids
from tasks.raster.certainty import known_table
from tasks.raster.cube import Cube, cells_of
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.labels import SHARD, are_labels, are_of, create_labels, set_cube
from tasks.units import blocks_of, read_entries, to_do, writing_to
from tasks.ways import EDITIONS, LEARNING, Way, about_ways, chosen_ways, prepared
from tasks.workspace import LABEL, LABELS, Workspace, forgetting_damage, open_workspace


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
    dropped: int = 0
    """Vectors that the picture does not show."""


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
    wanted = blocks_of((cube.grid.shape[0], cube.grid.shape[1]), SHARD)
    if params.update:
        return _updated(params, workspace, wanted, grip=grip, progress=progress)
    ways = chosen_ways(params, workspace, grip=grip, progress=progress)
    about = about_ways(ways, workspace)
    recipe = {
        "params": params.model_dump(mode="json", exclude={"accept_license"}),
        "about": about,
        "device": device,
        "weights": [(way.weights, way.model) for way in ways],
        "editions": [EDITIONS[way.method] for way in ways],
        "libraries": [version(name) for name in ("torch", "scikit-learn")]
        if any(way.method in LEARNING for way in ways)
        else [],
        "certainty": digest(known_table()) if any(way.method == "vectors" for way in ways) else "",
    }
    ledger, place = Ledger(store, LABEL), store.zarr(LABELS)
    marks = {unit: _mark(recipe | {"unit": unit}, ways, cube, block) for unit, block in wanted.items()}
    orders = Orders(store, grip, ways, fingerprint(recipe), device, cluster.lanes, cube.fingerprint)
    tells: frozenset[int] = frozenset()
    # A file that cannot be used must cost no labels: it is opened before anything is removed.
    kept = are_labels(place, cube.grid, **about)
    done = ledger.done() if kept else {}
    if any(done.get(unit) != mark for unit, mark in marks.items()):
        with forgetting_damage(store):
            ready = tuple(prepared(way, workspace, device=device, progress=progress) for way in ways)
            orders = learnt(replace(orders, ways=ready), cluster=cluster, progress=progress)
        tools = open_tools(orders)
        tells = tools.labeler.tells
        for note in tools.notes:
            progress.note(note)
    if not kept:
        grip.check()
        ledger.forget_all()
        store.delete_all(LABELS)
        store.delete_all("pieces")
        with writing_to(store):
            create_labels(place, cube.grid, **about, **_known(tells, workspace))
    pending = to_do(ledger, marks, places=(LABELS, "pieces"))
    if pending:
        set_cube(place, "")
        jobs = [
            Job(f"label-{unit}", label_block, (orders, wanted[unit], Entry(unit, marks[unit], ""))) for unit in pending
        ]
        _run(jobs, "label", cluster=cluster, progress=progress)
    close_tools()
    if about["pieces"] and not are_of(place, cube.fingerprint):
        unite(store, list(wanted))
        jobs = [Job(f"name-{unit}", name_objects, (orders, block)) for unit, block in wanted.items()]
        _run(jobs, "objects", cluster=cluster, progress=progress)
    if not are_of(place, cube.fingerprint):
        correct_again(store, cube, wanted, grip=grip, progress=progress)
    facts: list[Any] = [entry.facts for entry in read_entries(ledger, marks).values()]
    counts = np.sum([f["counts"] for f in facts], axis=0)
    if not counts.any() and not any(f["objects"] for f in facts):
        raise UnusableInput(_nothing_labelled(ways))
    grip.check()
    dropped = _tell_dropped([one for f in facts for one in f["dropped"]], store, progress=progress)
    set_cube(place, cube.fingerprint)
    made = _labelled(workspace, counts, sum(f["valid"] for f in facts), units=len(wanted), run=len(pending))
    return replace(made, dropped=dropped)


def _tell_dropped(told: list[dict[str, Any]], store: Store, *, progress: Progress) -> int:
    """List the places of vectors that were not believed; how many vectors they are of.

    Several windows may tell of one polygon, and of parts of a line.
    """
    places: dict[tuple[int, tuple[float, ...]], dict[str, Any]] = {}
    for one in sorted(told, key=lambda one: -float(one["score"])):  # of one place, the least score stays
        places[one["number"], tuple(one["box"])] = one
    write_json(store, DROPPED, {"dropped": list(places.values())})
    count = len({number for number, _ in places})
    if places:
        progress.note(
            f"{count:,} vectors that the picture does not show, or not all along, were left out at {len(places):,} "
            "places; 'geoloom review' lists them"
        )
    return count


def _labelled(workspace: Workspace, counts: NDArray[np.int64], valid: int, *, units: int, run: int) -> LabelledScene:
    share = counts / max(valid, 1)
    shares = dict(zip(workspace.classes.names, (float(s) for s in share), strict=True))
    return LabelledScene(f"{workspace.store.url}/{LABELS}", shares, float(share.sum()), units, run)


def _updated(
    params: LabelParams, workspace: Workspace, wanted: dict[str, grids.Window], *, grip: Grip,
    progress: Progress,
) -> LabelledScene:  # fmt: skip
    if params.method != ("truth",) or params.truth is None:
        raise UnusableInput(
            f"--update takes what a person corrected: expected --with truth --truth review.gpkg, given --with "
            f"{','.join(params.method)}{'' if params.truth else ' and no --truth'}."
        )
    touched = correct(params.truth, workspace, wanted, grip=grip, progress=progress)
    counts, valid = np.zeros(len(workspace.classes), np.int64), 0  # labels that were imported have no ledger
    made, cube = open_made_labels(workspace), workspace.cube()
    for block in wanted.values():
        counts += np.bincount(made.read(block).ravel(), minlength=256)[: len(counts)]
        valid += int(np.count_nonzero(cube.read(block, bands=())[1]))
    return _labelled(workspace, counts, valid, units=len(wanted), run=len(touched))


def _known(tells: frozenset[int], workspace: Workspace) -> dict[str, Any]:
    """Which classes the labels tell from everything else, and what pixels of none of them are."""
    return {
        "known": [name for number, name in enumerate(workspace.classes.names) if number and number in tells],
        "rest": "other" if 0 in tells else "unlabelled",
    }


def _nothing_labelled(ways: Sequence[Way]) -> str:
    files = [way.source for way in ways if way.source]
    if files:
        return f"{files[0]} labels no pixel that has data in the scene; check that both are of the same place."
    if any(way.method == "text" for way in ways):
        return "None of the texts is found in the scene; give others with --texts."
    return "SAM sees no object in the scene; look at it, or ask for more points with --points."


def _mark(recipe: dict[str, Any], ways: Sequence[Way], cube: Cube, block: grids.Window) -> str:
    """The recipe and the pixels that a block's labels depend on."""
    methods = {way.method for way in ways}
    if methods == {"truth"}:
        return fingerprint(recipe, cube.digests[(-1, *cells_of(block))])
    # SAM sees a halo, and every pixel through the stretch of the whole scene's statistics; what teaches lies anywhere.
    seen = () if methods & LEARNING else (slice(None), *cells_of(grids.grown(block, HALO)))
    statistics = [asdict(s) for s in cube.statistics]
    return fingerprint(recipe | {"statistics": statistics}, cube.digests[seen])


def _run(jobs: list[Job], what: str, *, cluster: Cluster, progress: Progress) -> None:
    with counting(progress, what, total=len(jobs), unit="blocks") as bar:
        cluster.run(jobs, done=lambda _job, _result: bar.advance())
