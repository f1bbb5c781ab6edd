"""The plan of a prediction: everything but pixels that changes a bit of it, chosen once and kept in the workspace.

What the user leaves open (the tile, the precision) is measured on the scene's own pixels, by the machine that will do
the work; from then on it is fixed, so that a rerun tomorrow, with more workers, gives the same bits.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.cluster import Cluster, Job
from infra.errors import UnusableInput
from infra.progress import Progress
from infra.store import Store, write_json
from models.card import ModelCard, answers_of
from models.looks import Looks
from models.machine import machine_kind
from models.runtime import Runtime
from tasks.disagreement import ACCEPTED
from tasks.params import PredictParams
from tasks.prediction_measure import Asked, Measured, measure
from tasks.raster.cube import Cube
from tasks.raster.fingerprint import fingerprint
from tasks.raster.probability import SHARD
from tasks.raster.tiling import Tiling, cut_scene

KEY = "ledger/predict.plan.json"
BATCH = {"cpu": 1, "cuda": 8}
UNIT_SECONDS = 30.0
UNIT_TILES = 64
"""What a block may take: as much is lost when a worker is killed."""
MANY_BLOCKS = 64
"""A scene of fewer large blocks is cut into smaller ones, so that many workers find work."""


MEASURED = ("seconds", "held", "activation", "disagreement", "block")
"""What of a plan changes no bit."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How every tile of a prediction is made."""

    models: tuple[str, ...]
    """sha256 of the weights of each model."""
    answers: tuple[str, ...]
    """Of each model, what decides its probabilities besides (`models.card.answers_of`)."""
    looks: Looks
    """What each of them sees of a tile."""
    bands: tuple[str, ...]
    tile: int
    margin: int
    ramp: int
    stride: int
    block: int
    """Pixels a side of a block."""
    batch: int
    """Tiles that go through the network together."""
    runtimes: tuple[Runtime, ...]
    """Of each model."""
    machine: dict[str, str]
    """What of the machine changes a network's bits."""
    seconds: float
    """Measured, of a lane for a tile; not part of what the plan is."""
    held: int
    """Bytes of a process with its libraries and the network, measured; not part of what the plan is."""
    activation: int
    """Bytes that a batch takes in the network, measured; not part of what the plan is."""
    disagreement: float | None
    """Share of pixels that tiles change, measured; not part of what the plan is."""

    @property
    def fingerprint(self) -> str:
        """128 bits of everything that changes a bit of the result."""
        document = asdict(self)
        return fingerprint({k: v for k, v in document.items() if k not in MEASURED})

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Plan:
        """What `to_json` gave."""
        looks = document["looks"]
        parsed = {
            "models": tuple(document["models"]),
            "answers": tuple(document["answers"]),
            "looks": Looks(looks["turned"], tuple(looks["scales"])),
            "bands": tuple(document["bands"]),
            "runtimes": tuple(Runtime(**runtime) for runtime in document["runtimes"]),
        }
        return cls(**(document | parsed))

    def lines(self) -> list[str]:
        """The plan as a person reads it."""
        return [
            f"tiles   {self.tile} pixels, margin {self.margin}, ramp {self.ramp}, {self.batch} at a time",
            f"blocks  {self.block} pixels",
            *(f"network {runtime}" for runtime in self.runtimes),
            *([] if self.looks.plain else [f"looks   {self.looks}"]),
        ]

    def cut(self, shape: tuple[int, int]) -> Tiling:
        """The tiles and blocks of a scene of (rows, columns) pixels."""
        return cut_scene(
            shape, tile=self.tile, margin=self.margin, ramp=self.ramp, stride=self.stride, shard=self.block
        )

    def memory(self, tiling: Tiling, *, classes: int, lanes: int, itemsize: int) -> int:
        """Bytes that a process needs: its libraries, what its threads hold of blocks, and what networks take."""
        side = tiling.block
        seen = (side + tiling.rows.size + 1024) ** 2  # whole cells around a block and the tiles it runs
        thread = seen * (len(self.bands) * itemsize + 1) + 2 * side * side * classes * 4
        return self.held + (lanes + 1) * thread + lanes * self.activation


def make_plan(
    params: PredictParams,
    store: Store,
    models: tuple[Path, ...],
    cards: tuple[ModelCard, ...],
    cube: Cube,
    *,
    bands: tuple[tuple[int, ...], ...],
    looks: Looks,
    cluster: Cluster,
    device: str,
    progress: Progress,
) -> Plan:
    """The plan kept in the workspace where it answers the same request on such a machine, else a new one.

    Raises:
        UnusableInput: the tile, margin or ramp cannot be used on this scene.
    """
    shape = (cube.grid.shape[0], cube.grid.shape[1])
    card = looks.card(cards)
    asked = Asked(
        tile=params.tile,
        margin=card.margin if params.margin is None else params.margin,
        ramp=card.ramp if params.ramp is None else params.ramp,
        precision=params.precision,
        device=device,
        batch=BATCH[device],
        looks=looks,
    )
    _check(asked, card, shape)
    answers = [answers_of(card) for card in cards]
    request: dict[str, Any] = json.loads(
        json.dumps(asdict(asked) | {"models": answers, "bands": bands, "shape": shape})
    )
    kept = _kept(store, request)
    if kept is not None:
        machines = cluster.everywhere(machine_kind, device)
        if all(machine == kept.machine for machine in machines):
            _judge(kept, strict=params.strict, progress=progress)
            return kept
        if any(machine == kept.machine for machine in machines):
            raise UnusableInput(
                "The prediction was begun on one kind of machine, and only some of the workers are of that kind "
                f"({_difference(kept.machine, machines)}); leave the others out."
            )
        progress.note("The prediction was begun on another kind of machine or software; it is made anew.")
    found: list[Measured] = []
    progress.note("Measuring the network on the scene ...")
    cluster.run(
        [Job("measure", measure, (store, models, bands, asked, cluster.workers))],
        done=lambda _job, result: found.append(result),
    )
    plan = _plan(asked, found[0], cards, shape)
    _judge(plan, strict=params.strict, progress=progress)
    if not params.plan:
        document = {"request": request, "plan": plan.to_json(), "trials": found[0].trials}
        write_json(store, KEY, document)
    return plan


def read_plan(store: Store) -> Plan | None:
    """The plan kept in a workspace."""
    document = _document(store)
    return None if document is None else Plan.from_json(document["plan"])


def _plan(asked: Asked, found: Measured, cards: tuple[ModelCard, ...], shape: tuple[int, int]) -> Plan:
    return Plan(
        models=tuple(card.weights_sha256 for card in cards),
        answers=tuple(answers_of(card) for card in cards),
        looks=asked.looks,
        bands=tuple(dict.fromkeys(band for card in cards for band in card.bands)),
        tile=found.tile,
        margin=asked.margin,
        ramp=asked.ramp,
        stride=asked.looks.card(cards).stride,
        block=_block(shape, asked, found),
        batch=asked.batch,
        runtimes=found.runtimes,
        machine=found.machine,
        seconds=found.seconds,
        held=found.held,
        activation=found.activation,
        disagreement=found.disagreement,
    )


def _kept(store: Store, request: dict[str, Any]) -> Plan | None:
    document = _document(store)
    return Plan.from_json(document["plan"]) if document is not None and document["request"] == request else None


def _document(store: Store) -> dict[str, Any] | None:
    found = store.read(KEY)
    if found is None:
        return None
    try:
        document: dict[str, Any] = json.loads(found)
        Plan.from_json(document["plan"])
    except (ValueError, KeyError, TypeError):
        return None  # damaged: the plan is made anew
    return document


def _check(asked: Asked, card: ModelCard, shape: tuple[int, int]) -> None:
    """Refuse a tile, margin or ramp that cannot be used.

    Raises:
        UnusableInput: the tile is larger than the scene, or more than half of it is spent on overlap.
    """
    tile = asked.tile or card.tile
    largest = -(-max(shape) // card.stride) * card.stride
    if asked.tile is not None and asked.tile > largest:
        raise UnusableInput(
            f"--tile was {asked.tile} and the scene is {shape[1]} x {shape[0]} pixels; "
            f"give at most {largest}, or leave --tile out."
        )
    overlap = 2 * asked.margin + asked.ramp
    if overlap > tile // 2 and (tile, overlap) != (card.tile, 2 * card.margin + card.ramp):
        raise UnusableInput(
            f"Two margins of {asked.margin} and a ramp of {asked.ramp} are {overlap} pixels, over half of a tile of "
            f"{tile}; give a larger --tile, or a smaller --margin or --ramp."
        )


def _block(shape: tuple[int, int], asked: Asked, found: Measured) -> int:
    """The side of blocks: large ones hand over less; small ones need less memory and lose less when killed.

    A GPU has done a small one before the next is read; a lane of a CPU has not.
    """
    large = 2 * SHARD
    tiles = (large / (found.tile - 2 * asked.margin - asked.ramp)) ** 2
    fits = tiles <= UNIT_TILES and tiles * found.seconds <= UNIT_SECONDS
    many = shape[0] * shape[1] >= MANY_BLOCKS * large**2
    side = large if asked.device == "cuda" and fits and many else SHARD
    largest: int = min(found.tile, max(shape))
    return -(-largest // side) * side


def _difference(plan: dict[str, str], machines: list[dict[str, str]]) -> str:
    """What differs between the plan's machine and the first worker that is another."""
    other = next(machine for machine in machines if machine != plan)
    return "; ".join(
        f"{k}: {plan.get(k)} and {other.get(k)}" for k in sorted(plan | other) if plan.get(k) != other.get(k)
    )


def _judge(plan: Plan, *, strict: bool, progress: Progress) -> None:
    disagreement = plan.disagreement
    if disagreement is not None and disagreement <= ACCEPTED:
        return
    tiles = f"With tiles of {plan.tile}, a margin of {plan.margin} and a ramp of {plan.ramp}"
    if disagreement is None:
        text = f"{tiles}, memory is too small to measure how many pixels tiles change: tile edges may show."
    else:
        text = (
            f"{tiles}, tiles change {disagreement:.2%} of the pixels (accepted are {ACCEPTED:.1%}): "
            "tile edges may show."
        )
    if strict:
        raise UnusableInput(f"{text} Use a larger --margin or --tile, or leave out --strict.")
    progress.note(text)
