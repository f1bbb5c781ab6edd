"""Predict: a model over a whole cube, tile by tile, blended without a seam.

The plan is made once and kept in the workspace; the ledger says which blocks are done under it. What is left is shared
out (each tile to one block) and run as jobs; see `tasks/predict_block.py` for what one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.cluster import Cluster, Job
from infra.errors import GeoloomError
from infra.lease import Grip
from infra.ledger import Ledger
from infra.progress import Progress, counting
from infra.store import Store
from models.card import WEIGHTS_NAME, ModelCard, load_card
from models.ensemble import union
from models.looks import Looks
from tasks.model import find_model, fit_bands, trained_here
from tasks.params import PredictParams
from tasks.predict_block import Did, Orders, finish_block, run_block
from tasks.prediction_estimate import Estimate, estimate
from tasks.prediction_plan import Plan, make_plan
from tasks.raster import probability as prob
from tasks.raster.assign import Work, assign
from tasks.raster.cube import Cube
from tasks.raster.fingerprint import Fingerprints
from tasks.raster.grid import ground_resolution
from tasks.raster.tiling import Block, Tile
from tasks.strips import name, park_key, strip_key
from tasks.units import to_do, writing_to
from tasks.workspace import PREDICT, PROBABILITY, forgetting_damage, open_workspace

RESCALE_OVER = 1.25


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a prediction made."""

    probability: str
    model: str
    tiles_total: int
    tiles_run: int
    units_total: int
    units_run: int
    lost: tuple[str, ...]
    """Tiles that failed, and why; where they have weight is nodata."""
    trained_here: bool
    """True where the model was trained on this very scene, so that scores on it are no evidence."""
    plan: Plan
    estimate: Estimate


def predict(
    params: PredictParams, store: Store, *, grip: Grip, cluster: Cluster, device: str, progress: Progress
) -> Predicted:
    """Run a model over the workspace's cube; only estimate it where `params.plan`.

    Raises:
        UnusableInput: no workspace or model, the model does not fit the cube, or the plan does not fit the machine.
        UnwritableOutput: the workspace cannot be written.
        WorkspaceBusy: another run has taken the workspace over.
        GeoloomError: a tile failed and the run is strict.
    """
    workspace = open_workspace(store)
    cube = workspace.cube()
    models = tuple(find_model(name).absolute() for name in params.model)
    cards = tuple(load_card(model) for model in models)
    card = cards[0]
    bands = tuple(fit_bands(card, cube) for card in cards)
    looks = Looks(params.tta, params.scales)
    for note in dict.fromkeys(note for card in cards for note in _unlike(card, cube)):
        progress.note(note)
    with forgetting_damage(store):
        plan = make_plan(
            params,
            store,
            models,
            cards,
            cube,
            bands=bands,
            looks=looks,
            cluster=cluster,
            device=device,
            progress=progress,
        )
    tiling = plan.cut((cube.grid.shape[0], cube.grid.shape[1]))
    ledger = Ledger(store, PREDICT)
    orders = Orders(
        store=store,
        grip=grip,
        tiling=tiling,
        bands=bands,
        classes=len(card.classes),
        plan=plan,
        models=models,
        device=device,
        lanes=cluster.lanes,
        cube=cube.fingerprint,
        strict=params.strict,
        keep_strips=params.keep_strips,
    )
    prints = Fingerprints.of(plan.fingerprint, tiling, cube, bands=union(bands))
    marks = {name(block): prints.block(block) for block in tiling.blocks()}
    done = ledger.done()
    left = sum(done.get(unit) != mark for unit, mark in marks.items())
    expected = estimate(
        plan, tiling, cluster, classes=len(card.classes), itemsize=cube.dtype.itemsize, left=left, store=store
    )
    seen = any(trained_here(card, workspace, cube) for card in cards)
    if params.plan:
        expected.refuse_what_cannot_fit()
        return Predicted(store.url, _named(models), tiling.count, 0, len(marks), 0, (), seen, plan, expected)
    expected.refuse_what_cannot_fit()
    if seen:
        progress.note("The model was trained on this very scene: its scores here are no evidence of its quality.")

    _make_room(orders, card, cube, ledger)
    pending = {
        (int(r), int(c)) for r, c in (unit.split("_") for unit in to_do(ledger, marks, places=(PROBABILITY, "strips")))
    }
    works = assign(tiling, pending, _present(store, prints, pending))
    _drop_leftovers(store, prints, works, keep=params.keep_strips)
    tiles, reasons = 0, dict[str, str]()
    with counting(progress, "predict", total=len(works), unit="blocks") as bar:

        def count(_job: Job, did: Did) -> None:
            nonlocal tiles
            tiles += did.tiles
            reasons.update(did.lost)
            bar.advance(1.0 if did.finished else 0.0)

        with forgetting_damage(store), store.explaining():
            cluster.run(_jobs(orders, works), done=count)
    grip.check()
    lost = _lost(ledger, reasons)
    if lost and params.strict:
        raise GeoloomError(f"A tile failed ({lost[0]}); leave out --strict to go on without it.")
    _finish(orders, card, cube, seen)
    place = f"{store.url}/{PROBABILITY}"
    return Predicted(place, _named(models), tiling.count, tiles, len(marks), len(works), lost, seen, plan, expected)


def _named(models: tuple[Path, ...]) -> str:
    return ", ".join(str(model) for model in models)


def _lost(ledger: Ledger, reasons: Mapping[str, str]) -> tuple[str, ...]:
    """The tiles that failed, as the ledger has them: also of jobs whose answer was lost."""
    entries = [ledger.read(unit, mark) for unit, mark in ledger.short().items()]
    found = {f"tile {row}, {col}" for entry in entries if entry is not None for row, col in entry.facts["lost"]}
    return tuple(f"{tile}: {reasons.get(tile, 'in an earlier run')}" for tile in sorted(found | set(reasons)))


def _jobs(orders: Orders, works: list[Work]) -> Iterator[Job]:
    """Two for each block: run its tiles, then finish it when those it needs have run theirs."""
    for work in works:
        run = f"run-{name(work.block)}"
        yield Job(run, run_block, (orders, work))
        yield Job(
            f"finish-{name(work.block)}",
            finish_block,
            (orders, work),
            after=(run, *(f"run-{name(block)}" for block in work.after)),
        )


def _make_room(orders: Orders, card: ModelCard, cube: Cube, ledger: Ledger) -> None:
    """An empty prediction where there is none of this grid, these classes and this block."""
    place = orders.store.zarr(PROBABILITY)
    classes, side = tuple(card.classes), orders.tiling.block
    if prob.is_probability(place, cube.grid, classes=classes, shard=side):
        return
    orders.grip.check()
    ledger.forget_all()
    orders.store.delete_all(PROBABILITY)
    orders.store.delete_all("strips")
    with writing_to(orders.store):
        prob.create_probability(place, cube.grid, classes=classes, shard=side, attributes={})


def _finish(orders: Orders, card: ModelCard, cube: Cube, seen: bool) -> None:  # noqa: FBT001
    """Record what only the whole prediction knows, and clear the strips."""
    plan = orders.plan
    about = {
        "trained_here": seen,
        "model": "+".join(plan.models),
        "cube": cube.fingerprint,
        "parameters": f"tile {plan.tile}, margin {plan.margin}, ramp {plan.ramp}, "
        + "; ".join([*map(str, plan.runtimes), *([] if plan.looks.plain else [str(plan.looks)])]),
        "colours": [list(colour) for colour in card.colours],
        "card": {
            "name": orders.models[0].name,
            "architecture": card.architecture,
            "sha256": card.weights_sha256,
            "bands": list(card.bands),
            "mean": list(card.mean),
            "std": list(card.std),
            "tile": plan.tile,
            "weights": str(orders.models[0] / WEIGHTS_NAME),
        },
        "units": prob.state_of(orders.ledger.done() | orders.ledger.short()),
    }
    with writing_to(orders.store):
        prob.update_attributes(orders.store.zarr(PROBABILITY), about)
    if not orders.keep_strips:
        orders.store.delete_all("strips")


def _present(store: Store, prints: Fingerprints, pending: set[Block]) -> dict[Block, set[Tile]]:
    """The tiles whose strips to a pending block are stored already, by name: the name says of which tile and pixels."""
    found: dict[Block, set[Tile]] = {}
    for key in store.keys("strips"):
        block, tile = _parse(key)
        if tile is not None and block in pending and key == strip_key(block, tile, prints):
            found.setdefault(block, set()).add(tile)
    return found


def _drop_leftovers(store: Store, prints: Fingerprints, works: list[Work], *, keep: bool) -> None:
    """Remove strips that nobody will ask for."""
    parked = {park_key(work.block, prints, work.tiles) for work in works}
    pending = {work.block for work in works}
    gone = []
    for key in store.keys("strips"):
        block, tile = _parse(key)
        current = tile is not None and key == strip_key(block, tile, prints)
        if not (key in parked or (current and (keep or block in pending))):
            gone.append(key)
    store.delete(gone)


def _parse(key: str) -> tuple[Block, Tile | None]:
    """The block that a stored strip is for, and its tile; none for a block's own parked sum."""
    _, block, rest = key.split("/")
    row, col = (int(n) for n in block.split("_"))
    first = rest.split(".")[0]
    if first == "own":
        return (row, col), None
    i, j = (int(n) for n in first.split("_"))
    return (row, col), (i, j)


def _unlike(card: ModelCard, cube: Cube) -> list[str]:
    """In what a cube is unlike the scenes that a model learnt from."""
    notes = []
    trained, here = card.resolution, ground_resolution(cube.grid)
    if trained and here and not 1 / RESCALE_OVER <= here / trained <= RESCALE_OVER:
        notes.append(
            f"The scene has {here:.2f} m a pixel and the model was trained at {trained:.2f} m; expect a weaker map."
        )
    if card.dtype and cube.dtype.name != card.dtype:
        notes.append(
            f"The scene has pixels of type {cube.dtype.name} and the model learnt from {card.dtype}; expect a weak map "
            "where their values are not on one scale."
        )
    return notes
