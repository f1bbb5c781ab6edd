"""Choosing how a network is run: by the clock, on the scene's own pixels, among what agrees with float32.

A runtime is taken only where the map stays the same: its classes agree with those of the reference (eager float32) on
99.5 % of the valid pixels of the batches it is tried on, and its probabilities lie close. It is tried only where the
work ahead can pay for trying it. All trials are kept, so that a plan can say why it is what it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from infra.errors import GeoloomError, UnusableInput, first_line
from models.card import ModelCard
from models.footprint import watching
from models.machine import has_bfloat16
from models.predictor import Predictor
from models.runtime import Precision, Runtime, runtime_of

AGREEMENT = 0.995
"""Share of valid pixels whose class must be the reference's, on the whole scene by all that the batches tell."""
SPREAD = 0.0012
"""Standard deviation of that share from tile to tile, at least: measured on two networks in bfloat16."""
DRIFT = {"float32": 0.05, "tensorfloat32": 0.5, "bfloat16": 2.0}
"""Mean difference of probabilities that is rounding, in 254ths; more is a fault of the runtime."""
TAIL = 6
"""Convolutions that stay float32 where bfloat16 throughout moves too many pixels: a U-Net's last two resolutions."""
FEW = 8
"""Tiles ahead of a lane that are run sooner than measured: the reference is taken, timed by its first batch."""
NOISE = 0.03
"""Share of the time that clocks are wrong by: of two that are as fast, the more promising is taken."""
HOPE = 0.3
"""Share of the time that a runtime may be expected to save."""
BUILD_SECONDS = {"eager": 0.0, "fused": 1.0, "compiled": 60.0}
"""What building takes about, to decide whether it is worth a trial."""

Batch = tuple[NDArray[Any], NDArray[np.bool_]]
"""Image (n, band, y, x) in source units and valid (n, y, x)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One runtime, tried."""

    runtime: Runtime
    seconds: float | None = None
    """Of one lane for a tile; None where it was not run."""
    build: float | None = None
    """Seconds until it was ready."""
    agreement: float | None = None
    """Share of valid pixels whose class is the reference's."""
    drift: float | None = None
    """Mean difference of probabilities from the reference's, in 254ths."""
    memory: int = 0
    """Most bytes of tensors that a batch needs at once."""
    refused: str = ""
    """Why it cannot be chosen; empty where it can."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The runtime chosen, and everything that was tried."""

    runtime: Runtime
    seconds: float
    """Of one lane for a tile."""
    memory: int
    """Most bytes of tensors that a batch needs at once."""
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        """The choice as plain values."""
        return asdict(self)


def choose_runtime(
    network: nn.Module,
    card: ModelCard,
    batches: Sequence[Batch],
    *,
    device: str = "cpu",
    precision: Precision = "auto",
    tiles_ahead: int,
) -> Choice:
    """The fastest runtime that draws the same map.

    Args:
        network: the model's, float32; it is put on the device.
        card: the model's.
        batches: some of the scene's, each of the tile size and tile count of the work ahead.
        device: where.
        precision: float32 takes the first in that arithmetic that agrees, whatever the clock says; bfloat16 the fastest
            in that; auto the fastest that agrees.
        tiles_ahead: how many tiles a lane of this process will have to run.

    Raises:
        UnusableInput: no such precision or device, or the batches do not fit the model.
        GeoloomError: the network gives no probabilities.
    """
    if tiles_ahead <= FEW and precision != "bfloat16":
        only, _ = _warm_up(Predictor(card, network, device=device), batches[0])
        return Choice(only.runtime, only.seconds or 0.0, only.memory, (only,))
    trials: list[Trial] = []
    first, wanted = _run(Predictor(card, network, device=device), batches)
    trials.append(replace(first, agreement=1.0, drift=0.0))
    best = trials[0]
    if precision == "bfloat16":
        plain = Predictor(card, network, device=device, runtime=runtime_of(precision))
        best = replace(_judged(*_run(plain, batches), wanted, batches), refused="")  # it was asked for
        trials.append(best)
    by_clock = precision != "float32"  # which takes what agrees, so that two workspaces get the same bits
    for runtime in _candidates(device, precision):
        if _is_settled(trials, runtime):
            continue
        assert best.seconds is not None
        faster = (1 - NOISE) * best.seconds
        saved, cost = HOPE * best.seconds * tiles_ahead, BUILD_SECONDS[runtime.kind] + 3 * best.seconds
        if by_clock and saved < cost:
            trials.append(Trial(runtime, refused=f"{tiles_ahead} tiles ahead are too few to try it"))
            continue
        trial = _try(Predictor(card, network, device=device, runtime=runtime), batches, wanted)
        if precision == "bfloat16" and trial.seconds is not None:
            trial = replace(trial, refused="")
        trials.append(trial)
        if trial.refused or trial.seconds is None:
            continue
        if trial.seconds < faster or not by_clock:
            best = trial
        if not by_clock:
            break
    assert best.seconds is not None
    return Choice(best.runtime, best.seconds, best.memory, tuple(trials))


def _candidates(device: str, precision: Precision) -> Iterator[Runtime]:
    """What may be faster than the reference, the most promising first."""
    cuda = torch.device(device).type == "cuda"
    if precision != "float32" and (precision == "bfloat16" or has_bfloat16(device)):
        if cuda:
            yield Runtime("compiled", "bfloat16")
        else:
            yield Runtime("fused", "bfloat16", transposed=True)
            yield Runtime("fused", "bfloat16")
            yield Runtime("fused", "bfloat16", transposed=True, tail=TAIL)
        if precision == "auto":
            yield Runtime("eager", "bfloat16")
    if precision == "auto" and cuda:
        yield Runtime("compiled", "tensorfloat32")
        yield Runtime("eager", "tensorfloat32")
    if precision != "bfloat16" and not cuda:
        yield Runtime("fused", transposed=True)
        yield Runtime("fused")


def _is_settled(trials: Sequence[Trial], runtime: Runtime) -> bool:
    """True where earlier trials have told all that this one could."""
    if runtime.kind == "fused" and not runtime.transposed:
        assert trials[0].seconds is not None
        good = (1 - HOPE) * trials[0].seconds
        better = [t for t in trials if t.runtime == replace(runtime, transposed=True) and not t.refused]
        if any(t.seconds is not None and t.seconds < good for t in better):
            return True  # it has fewer steps, and they were measured to pay
    if runtime.arithmetic != "bfloat16":
        return False
    halves = [t for t in trials if t.runtime.kind == "fused" and t.runtime.arithmetic == "bfloat16"]
    ran = [t for t in halves if t.seconds is not None]
    if runtime.tail:  # a remedy for what moves too many pixels
        return not ran or any(not t.refused for t in ran)
    if runtime.kind == "eager":  # fused is the same in fewer steps
        return bool(ran)
    return any(t.refused for t in ran)  # the order of sums moves no pixel back


def _try(predictor: Predictor, batches: Sequence[Batch], wanted: Sequence[NDArray[np.uint8]]) -> Trial:
    try:
        return _judged(*_run(predictor, batches), wanted, batches)
    except (UnusableInput, RuntimeError) as error:
        return Trial(predictor.runtime, refused=first_line(error))
    except GeoloomError as error:
        return Trial(predictor.runtime, refused=str(error))


def _run(predictor: Predictor, batches: Sequence[Batch]) -> tuple[Trial, list[NDArray[np.uint8]]]:
    """Build, warm up with the first batch, run the others; the seconds are those of the fastest."""
    warm, first = _warm_up(predictor, batches[0])
    # A lane of one thread is timed by its own clock, which stands still while the machine does something else.
    clock = time.thread_time if predictor.device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    results, seconds = [first], []
    for image, valid in batches[1:] or batches:
        start = clock()
        results.append(predictor(image, valid))
        seconds.append((clock() - start) / len(image))
    return replace(warm, seconds=min(seconds), agreement=None, drift=None), results[: len(batches)]


def _warm_up(predictor: Predictor, batch: Batch) -> tuple[Trial, NDArray[np.uint8]]:
    """Build and run one batch: the time of both, which is more than a batch takes later, its memory, its result."""
    image, valid = batch
    start = time.perf_counter()
    predictor.prepare(image.shape[0], *image.shape[2:])
    with watching(predictor.device) as footprint:
        result = predictor(image, valid)
    build = time.perf_counter() - start
    trial = Trial(predictor.runtime, build / len(image), build, agreement=1.0, drift=0.0, memory=footprint.peak)
    return trial, result


def _judged(
    trial: Trial, results: Sequence[NDArray[np.uint8]], wanted: Sequence[NDArray[np.uint8]], batches: Sequence[Batch]
) -> Trial:
    same, apart, count, shares = 0, 0, 0, list[float]()
    for got, want, (_, valid) in zip(results, wanted, batches, strict=True):
        alike = got.argmax(axis=1) == want.argmax(axis=1)  # (n, y, x)
        same += int(np.count_nonzero(alike[valid]))
        apart += int(np.abs(got.astype(np.int16) - want).sum(axis=1)[valid].sum())
        count += int(np.count_nonzero(valid))
        if valid.any():
            shares.append(float(alike[valid].mean()))  # one a batch: its tiles may be one tile, repeated
    agreement, drift = (same / count, apart / count / results[0].shape[1]) if count else (1.0, 0.0)
    unsure = max(float(np.std(shares)), SPREAD) / max(len(shares), 1) ** 0.5 if agreement < 1 else 0.0
    refused = ""
    if agreement - unsure < AGREEMENT:
        refused = f"it agrees with float32 on {agreement:.2%} of the pixels (±{unsure:.2%}), not safely {AGREEMENT:.1%}"
    elif drift > DRIFT[trial.runtime.arithmetic]:
        refused = f"its probabilities are {drift:.2f}/254 from float32's on average: more than rounding"
    return replace(trial, agreement=agreement, drift=drift, refused=refused)


@dataclass(frozen=True, slots=True)
class TileTime:
    """How fast tiles of one size go."""

    tile: int
    seconds: float
    """Of one lane for a tile."""
    rate: float
    """Pixels a second that are kept: what overlaps is not counted."""


def time_tiles(
    network: nn.Module,
    card: ModelCard,
    runtime: Runtime,
    *,
    sizes: Sequence[int],
    margin: int,
    ramp: int,
    batch: int = 1,
    device: str = "cpu",
    seconds: float = 3.0,
) -> tuple[TileTime, ...]:
    """How fast tiles of several sizes go, in about so many seconds; larger ones are left out where time is up.

    Args:
        network: the model's, float32.
        card: the model's.
        runtime: how it is run.
        sizes: pixels a side, from the smallest; multiples of the card's stride, more than 2 margins and a ramp.
        margin: pixels thrown away at each inner side.
        ramp: pixels faded there.
        batch: tiles at a time.
        device: where.
        seconds: when to stop.
    """
    end = time.perf_counter() + seconds
    found: list[TileTime] = []
    for tile in sizes:
        if found:
            last = found[-1]
            ahead = 2 * batch * last.seconds * (tile / last.tile) ** 2 + BUILD_SECONDS[runtime.kind] / 2
            if time.perf_counter() + ahead > end:
                break
        predictor = Predictor(card, network, device=device, runtime=runtime)
        noise = np.random.default_rng(0).normal(0, 1, (batch, len(card.bands), tile, tile)).astype(np.float32)
        image = noise * np.reshape(card.std, (1, -1, 1, 1)) + np.reshape(card.mean, (1, -1, 1, 1))
        try:
            trial, _ = _run(predictor, [(image.astype(np.float32), np.ones((batch, tile, tile), np.bool_))])
        except torch.OutOfMemoryError:
            break
        assert trial.seconds is not None
        found.append(TileTime(tile, trial.seconds, (tile - 2 * margin - ramp) ** 2 / trial.seconds))
    return tuple(found)
