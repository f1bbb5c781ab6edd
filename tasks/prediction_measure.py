"""Measuring a network on the scene that it will map: how fast, in which way, and what its seams cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from infra.memory import available_memory, resident_memory
from infra.store import Store
from models.card import ModelCard
from models.choice import Batch, TileTime, choose_runtime, time_tiles
from models.ensemble import Answers, assemble, union
from models.looks import Looks
from models.machine import machine_kind, one_thread
from models.malloc import give_back_freed_memory, keep_freed_memory
from models.predictor import Predictor, shared_network
from models.runtime import REFERENCE, Precision, Runtime
from tasks.disagreement import measure as measure_disagreement
from tasks.disagreement import middle
from tasks.raster.cube import Cube, open_cube
from tasks.raster.grid import within
from tasks.raster.zarrays import CHUNK
from tasks.workspace import CUBE

SAMPLES = 3
MANY_TILES = 400
"""In a scene of fewer, a measurement of other tiles does not pay."""
LARGER = (1.5, 2.0)
"""Tiles that are tried, as multiples of the model's own."""
SHARE = 0.02
"""Of the free memory, what a batch of larger tiles may take: two percent for each of many lanes."""
FLOATS = 4
"""Planes of float32 a class that are held while looks are added up: the sum, an answer, it resized, it turned."""
GAIN = 1.05
"""How much faster a larger tile must be."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prediction is asked for, as far as it changes its bits."""

    tile: int | None
    margin: int
    ramp: int
    precision: Precision
    device: str
    batch: int
    looks: Looks


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found."""

    tile: int
    seconds: float
    """Of one lane for a tile."""
    held: int
    """Bytes of a process with its libraries and the network."""
    activation: int
    """Bytes that a batch takes in the network."""
    runtimes: tuple[Runtime, ...]
    """One for each model."""
    machine: dict[str, str]
    disagreement: float | None
    """Share of pixels that tiles change, at this margin and ramp; None where memory was too small to know."""
    trials: Any
    """Runtimes that were tried, with their agreement and speed, as plain values."""


def sample_tiles(cube: Cube, *, bands: tuple[int, ...], tile: int, batch: int) -> list[Batch]:
    """Batches of tiles where the scene has most data, spread over it: image (n, band, y, x) and valid (n, y, x).

    Raises:
        DamagedCube: the cube's pixels are not those that were ingested.
    """
    rows, cols = np.unravel_index(np.argsort(-cube.counts, axis=None, kind="stable"), cube.counts.shape)
    full = int((cube.counts == cube.counts.max()).sum())
    chosen = np.linspace(0, full - 1, min(SAMPLES, full)).astype(int)
    samples = []
    for n in chosen:
        top, left = (
            max(min(int(cell[n]) * CHUNK, length - tile), 0)
            for cell, length in zip((rows, cols), cube.grid.shape, strict=True)
        )
        window = slice(top, min(top + tile, cube.grid.shape[0])), slice(left, min(left + tile, cube.grid.shape[1]))
        around, image, valid = cube.read_proved(window, bands=bands)
        place = within(window, around)
        pad = [(0, tile - (side.stop - side.start)) for side in window]
        seen, data = np.pad(image[:, place[0], place[1]], [(0, 0), *pad]), np.pad(valid[place], pad)
        samples.append((np.stack([seen] * batch), np.stack([data] * batch)))
    return samples


def measure(
    store: Store, models: tuple[Path, ...], bands: tuple[tuple[int, ...], ...], asked: Asked, workers: int
) -> Measured:
    """Measure networks on a scene, on the machine that calls.

    Args:
        store: the workspace's.
        models: the models' folders.
        bands: for each model the cube's planes that it takes, in its order.
        asked: what is fixed already.
        workers: lanes that will share the work, to know what a trial may cost.

    Raises:
        UnusableInput: a model or the cube cannot be read, or the device is not there.
        DamagedCube: the cube's pixels are not those that were ingested.
    """
    one_thread(asked.device)
    cube = open_cube(store.zarr(CUBE))
    loaded = [shared_network(model) for model in models]
    card = asked.looks.card(tuple(card for _, card in loaded))
    if asked.device == "cpu":
        keep_freed_memory()
    tile = asked.tile or card.tile
    ahead = _tiles(cube, card, tile, asked)
    longest = max(cube.grid.shape)
    seen = min(tile, -(-longest // card.stride) * card.stride)  # a tile larger than the scene shrinks to it
    held = _held()
    choices = [
        choose_runtime(
            network,
            own,
            sample_tiles(cube, bands=planes, tile=seen, batch=asked.batch),
            device=asked.device,
            precision=asked.precision,
            tiles_ahead=round(ahead * asked.looks.passes) // (1 if asked.precision == "float32" else workers),
        )
        for (network, own), planes in zip(loaded, bands, strict=True)
    ]
    runtimes = tuple(choice.runtime for choice in choices)
    if asked.device == "cuda" and len({runtime.arithmetic for runtime in runtimes}) > 1:
        runtimes = (REFERENCE,) * len(runtimes)  # what float32 means on a GPU is set for the whole process
    activation = round(max(choice.memory for choice in choices) * max(asked.looks.scales) ** 2)
    seconds = sum(choice.seconds for choice in choices) * asked.looks.passes
    predictors = [
        Predictor(own, network, device=asked.device, runtime=runtime)
        for (network, own), runtime in zip(loaded, runtimes, strict=True)
    ]
    answers = assemble(predictors, bands=bands, looks=asked.looks)
    if not isinstance(answers, Predictor):  # its networks are built for every shape that it looks at
        answers.prepare(asked.batch, seen, seen)
        held = _held()
        activation += FLOATS * 4 * asked.batch * seen * seen * len(card.classes)
    seams = card.disagreement if (tile, asked.margin, asked.ramp) == (card.tile, card.margin, card.ramp) else None
    if ahead == 1:
        seams = 0.0
    elif seams is None:
        seams = _seams(answers, cube, union(bands), tile, asked, activation)
    if asked.tile is None and ahead >= MANY_TILES and isinstance(answers, Predictor):
        better = _larger_tile(loaded[0][0], card, runtimes[0], asked, activation)
        if better is not None:  # with the margin and ramp of a smaller one, its edges are as good, and fewer
            activation = round(activation * (better.tile / tile) ** 2)
            tile, seconds = better.tile, better.seconds
    trials = [trial for choice in choices for trial in choice.to_json()["trials"]]
    return Measured(tile, seconds, held, activation, runtimes, machine_kind(asked.device), seams, trials)


def _held() -> int:
    """Bytes that the process cannot be without: what earlier work freed is there for this."""
    give_back_freed_memory()
    return resident_memory()


def _tiles(cube: Cube, card: ModelCard, tile: int, asked: Asked) -> int:
    step = max(tile - 2 * asked.margin - asked.ramp, card.stride)
    rows, cols = (-(-length // step) for length in cube.grid.shape)
    return rows * cols


def _larger_tile(
    network: nn.Module, card: ModelCard, runtime: Runtime, asked: Asked, activation: int
) -> TileTime | None:
    """A tile that keeps more pixels a second than the model's own by more than clocks are wrong by."""
    fitting = [k for k in LARGER if k * k * activation <= SHARE * available_memory()]
    if not fitting:
        return None
    sizes = [card.tile, *(round(card.tile * k / card.stride) * card.stride for k in fitting)]
    times = time_tiles(
        network,
        card,
        runtime,
        sizes=sizes,
        margin=asked.margin,
        ramp=asked.ramp,
        batch=asked.batch,
        device=asked.device,
    )
    best = max(times, key=lambda t: t.rate)
    return best if best.tile != card.tile and best.rate > GAIN * times[0].rate else None


def _seams(
    answers: Answers, cube: Cube, bands: tuple[int, ...], tile: int, asked: Asked, activation: int
) -> float | None:
    """Share of pixels that tiles change, where four of them meet in the middle of the scene's data.

    None where memory does not hold one pass over all four.
    """
    side = 2 * tile - 2 * asked.margin - asked.ramp
    if (side / tile) ** 2 * activation > available_memory() / 2:
        return None
    return measure_disagreement(
        answers, cube, middle(cube, side), bands=bands, tile=tile, margin=asked.margin, ramp=asked.ramp
    )
