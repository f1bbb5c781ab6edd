"""The jobs of a prediction: run a block's tiles; finish it when all that reaches it is in.

Nothing waits inside a job. A block whose neighbours have not handed over yet parks its sum beside the strips, and the
job that finishes it comes after the neighbours'. All that must outlive a job stands in the workspace's store: a job
that runs twice, or on another worker, or after a crash, finds what is done and does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from threading import BoundedSemaphore, Lock

import numpy as np
from numpy.typing import NDArray

from infra.errors import GeoloomError, UnusableInput
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.settings import settings
from infra.stopping import check
from infra.store import Store
from models.ensemble import Answers, assemble, union
from models.machine import machine_kind, one_thread
from models.predictor import load_predictor
from tasks.prediction_plan import Plan
from tasks.raster.assign import Work
from tasks.raster.blend import NODATA
from tasks.raster.cube import Cube, open_cube
from tasks.raster.digest import digest
from tasks.raster.fingerprint import Fingerprints
from tasks.raster.grid import within
from tasks.raster.probability import block_names, write_probability
from tasks.raster.tiling import Block, Tile, Tiling
from tasks.raster.weave import Cloth, Contribution, pack_strip, part_for, run_tiles
from tasks.strips import has_parked, name, park_key, strip_key, take_parked, take_strip
from tasks.units import replacing_shards
from tasks.workspace import CUBE, PREDICT, PROBABILITY


@dataclass(frozen=True, slots=True)
class Orders:
    """What all jobs of one prediction have in common. Plain data: it travels to workers."""

    store: Store
    grip: Grip
    tiling: Tiling
    bands: tuple[tuple[int, ...], ...]
    """For each model the cube's planes that it takes, in its order."""
    classes: int
    plan: Plan
    models: tuple[Path, ...]
    device: str
    lanes: int
    """Networks at work at once in one process."""
    cube: str
    """Fingerprint of the cube."""
    strict: bool
    keep_strips: bool

    @property
    def ledger(self) -> Ledger:
        """Where finished blocks stand."""
        return Ledger(self.store, PREDICT)


@dataclass(frozen=True, slots=True)
class Did:
    """What one job did."""

    tiles: int = 0
    """Tiles that went through the network."""
    lost: tuple[tuple[str, str], ...] = ()
    """Tiles that failed, and why."""
    finished: bool = False


def run_block(orders: Orders, work: Work) -> Did:
    """Run a block's tiles, hand out strips, and finish the block where nothing is missing.

    Raises:
        DamagedCube: the cube's pixels are not those that were ingested.
        WorkspaceBusy: another run has taken the workspace over.
        GeoloomError: a tile failed and the run is strict.
    """
    one_thread(orders.device)
    tools = open_tools(orders)
    block, mark = work.block, tools.prints.block(work.block)
    if orders.ledger.read(name(block), mark):
        return Did()
    parked = park_key(block, tools.prints, work.tiles)
    is_parked = bool(work.tiles) and has_parked(orders.store, orders.tiling, block, parked)
    wanted = _still_lacking(orders, tools.prints, work) if is_parked else work.tiles
    cloth = Cloth.begin(orders.tiling, block, classes=orders.classes)
    count, lost = 0, list[tuple[str, str]]()
    for said in _run(orders, tools, wanted):
        check()
        count += 1
        if said.error:
            lost.append((f"tile {said.tile[0]}, {said.tile[1]}", said.error))
            if orders.strict:
                raise GeoloomError(f"A tile failed ({': '.join(lost[-1])}); leave out --strict to go on without it.")
        _hand_out(orders, tools.prints, cloth, said, wanted[said.tile])
    if is_parked:
        return Did(count, tuple(lost))
    done = _finish(orders, tools, cloth, mark)
    if not done and work.tiles:
        orders.grip.check()
        orders.store.write(parked, cloth.pack())
    return Did(count, tuple(lost), done)


def _run(orders: Orders, tools: Tools, wanted: Mapping[Tile, tuple[Block, ...]]) -> Iterator[Contribution]:
    for owner, tiles in groupby(sorted(wanted, key=orders.tiling.owner), orders.tiling.owner):
        yield from run_tiles(
            tools.cube,
            orders.tiling,
            owner,
            {tile: wanted[tile] for tile in tiles},
            bands=union(orders.bands),
            batch=orders.plan.batch,
            forward=tools.forward,
        )


def _still_lacking(orders: Orders, prints: Fingerprints, work: Work) -> dict[Tile, tuple[Block, ...]]:
    """What a block that has parked its own sum must hand out still: strips that are gone, to blocks not yet done."""

    def lacks(block: Block, tile: Tile) -> bool:
        return (
            block != work.block
            and not orders.ledger.read(name(block), prints.block(block))
            and not any(orders.store.exists(strip_key(block, tile, prints, lost=lost)) for lost in (False, True))
        )

    found = {tile: tuple(b for b in blocks if lacks(b, tile)) for tile, blocks in work.tiles.items()}
    return {tile: blocks for tile, blocks in found.items() if blocks}


def finish_block(orders: Orders, work: Work) -> Did:
    """Finish a block whose neighbours have handed over.

    Raises:
        GeoloomError: a contribution is missing still.
    """
    tools = open_tools(orders)
    block, mark = work.block, tools.prints.block(work.block)
    if orders.ledger.read(name(block), mark):
        return Did()
    cloth = take_parked(orders.store, orders.tiling, block, park_key(block, tools.prints, work.tiles))
    if cloth is None:
        cloth = Cloth.begin(orders.tiling, block, classes=orders.classes)
    if not _finish(orders, tools, cloth, mark):
        raise GeoloomError(f"Block {name(block)} lacks a tile's contribution; run predict again.")
    return Did(finished=True)


def _hand_out(
    orders: Orders, prints: Fingerprints, cloth: Cloth, said: Contribution, blocks: tuple[Block, ...]
) -> None:
    for block in blocks:
        part, any_valid = part_for(orders.tiling, said, block)
        if block == cloth.block:
            cloth.put(said.tile, part)
        elif any_valid:
            orders.store.write(strip_key(block, said.tile, prints, lost=part is None), pack_strip(part))


def _finish(orders: Orders, tools: Tools, cloth: Cloth, mark: str) -> bool:
    """Take in strips; where all is in, write the block's pixels, then its entry in the ledger."""
    block = cloth.block
    window = orders.tiling.window(block)
    around, _, valid = tools.cube.read_proved(window, bands=())
    valid = valid[within(window, around)]
    for tile in cloth.lacks(valid):
        found = take_strip(orders.store, block, tile, tools.prints)
        if found is None:
            return False
        cloth.put(tile, found[0])
    pixels = cloth.cut(valid)
    if orders.ledger.read(name(block), mark):
        return True  # done meanwhile by another worker, while this one was out of reach
    with replacing_shards(orders.grip, PROBABILITY, block_names(window, side=orders.tiling.block)):
        write_probability(orders.store.zarr(PROBABILITY), window, pixels)
    facts = {
        "inputs": mark,
        "model": "+".join(orders.plan.models),
        "parameters": tools.prints.plan,
        "lost": [list(tile) for tile in cloth.lost],
        "valid": int(np.count_nonzero(pixels[0] != NODATA)),
    }
    orders.ledger.record(Entry(name(block), mark, digest(pixels), short=bool(cloth.lost), facts=facts))
    if not orders.keep_strips:
        orders.store.delete_all(f"strips/{name(block)}")
    return True


@dataclass(frozen=True, slots=True)
class Tools:
    """What a process keeps open between jobs."""

    cube: Cube
    prints: Fingerprints
    answers: Answers
    gate: BoundedSemaphore
    """As many networks at work as there are lanes; the other threads read and write meanwhile."""

    def forward(self, image: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """A batch of tiles through the network."""
        with self.gate:
            check()
            log = settings().tile_log
            if log is not None:
                seen = [digest(tile) for tile, data in zip(image, valid, strict=True) if data.any()]
                with log.open("a") as lines:
                    lines.write("".join(f"{tile}\n" for tile in seen))
            return self.answers(image, valid)


_OPEN: dict[tuple[str, str, str, int], Tools] = {}
_OPENING = Lock()
"""Lanes share one network: the first opens it, the others wait."""


def open_tools(orders: Orders) -> Tools:
    """What this process keeps open for a prediction; one at a time.

    Raises:
        UnusableInput: this machine's bits would not be the plan's.
    """
    key = (orders.store.url, orders.cube, orders.plan.fingerprint, orders.lanes)
    with _OPENING:
        if key not in _OPEN:
            _OPEN.clear()
            _OPEN[key] = _open(orders)
        return _OPEN[key]


def _open(orders: Orders) -> Tools:
    here = machine_kind(orders.device)
    different = {k: (v, here.get(k)) for k, v in orders.plan.machine.items() if here.get(k) != v}
    if different:
        what = "; ".join(f"{k}: {v[0]} in the plan, {v[1]} here" for k, v in sorted(different.items()))
        raise UnusableInput(f"A worker differs from the plan ({what}); give all workers the same machine and software.")
    cube = open_cube(orders.store.zarr(CUBE))
    prints = Fingerprints.of(orders.plan.fingerprint, orders.tiling, cube, bands=union(orders.bands))
    predictors = [
        load_predictor(model, device=orders.device, runtime=runtime)
        for model, runtime in zip(orders.models, orders.plan.runtimes, strict=True)
    ]
    answers = assemble(predictors, bands=orders.bands, looks=orders.plan.looks)
    answers.prepare(orders.plan.batch, orders.tiling.rows.size, orders.tiling.cols.size)
    return Tools(cube, prints, answers, BoundedSemaphore(orders.lanes))
