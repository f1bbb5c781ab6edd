"""The training loop, in the order of time."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from infra.errors import UnusableInput
from models.average import Average
from models.batch import Batch
from models.card import ModelCard
from models.checkpoint import write_durably
from models.chips import Chips, Draw
from models.history import Check, History, Step
from models.lesson import OWN_LOSS, Lesson
from models.logs import NO_LOGS, Logs
from models.losses import fold
from models.metrics import Confusion
from models.ranks import ALONE, Rank, Together, open_fabric
from models.recipe import TrainSettings
from models.resume import Progress, Training, forget_state, is_over, load_state, save_state

HISTORY_NAME = "history.json"


class Bar(Protocol):
    """Where the loop tells how far it is."""

    def advance(self, amount: float = 1.0) -> None:
        """Add finished steps."""

    def say(self, text: str) -> None:
        """Show a short text: the loss, a score."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training leaves beside its files."""

    network: nn.Module
    """On the CPU, in evaluation mode, with the weights that are kept."""
    steps: int
    history: History
    origin: str = ""
    """sha256, as in model.json, of the float32 weights that were fine-tuned; '' where there were none."""


def train(
    network: nn.Module,
    card: ModelCard,
    *,
    draw: Draw,
    validate: Sequence[Chips],
    settings: TrainSettings,
    folder: Path,
    progress: Bar,
    device: str = "cpu",
    resume: bool = False,
    lessons: Mapping[str, str] = MappingProxyType({}),
    tell: Callable[[str], None] = lambda _: None,
    rank: Rank = ALONE,
    threads: int = 1,
    logs: Logs = NO_LOGS,
) -> TrainResult:
    """Train a network on the batches that `draw` gives, and write history.json and the state to resume from.

    Several processes may do so together: each with its own share of each batch, and the leading one writes and tells.

    Args:
        network: from normalised images to logits; trained in place, by its own loss where it has one (`models.lesson`).
        card: its bands, mean, std and classes are those of the batches.
        draw: the batch of each step, called ahead, in threads.
        validate: batches to measure on, never learnt from; may be empty.
        settings: how long and how hard.
        folder: receives the files.
        progress: told of each step.
        device: "cpu", "cuda", "cuda:1", "mps".
        resume: go on from the state in the folder; in float32 on a CPU with one thread, and without a time limit, the
            weights come out as if there had been no interruption, bit for bit. Where the lessons have changed since, a
            new training begins from the weights that it keeps.
        lessons: fingerprints of what `draw` takes its batches from, by what it is ("labels"); kept with the state.
        tell: told in one sentence where a new training begins so, or sets an older one aside.
        rank: which of the processes this is; all are given the same but for `draw`.
        threads: that draw; a GPU learns faster than one of them reads.
        logs: told of each step and validation; by the leading process alone.

    Raises:
        UnusableInput: there is nothing to resume, or it does not fit; or the loss is no longer a number: then the last
            state that was written stays.
        UnwritableOutput: a log cannot be opened, or the state cannot be written.
    """
    fabric = open_fabric(device, settings.precision, rank)
    together = Together(fabric, rank)
    wrapped, optimizer = _set_up(fabric, network, settings)
    average = Average(network, decay=settings.average)
    best = copy.deepcopy(average.network) if validate and settings.keep == "best" else None
    lesson = Lesson(settings, fabric.device)

    networks = {"network": network, "average": average.network} | ({} if best is None else {"best": best})
    training = Training(card, settings, lessons, networks, optimizer)
    past = load_state(folder, training) if resume else _anew(folder, rank, tell)
    if past.changed:
        what = " and ".join(past.changed)
        tell(f"The {what} have changed since: fine-tuning the model of {folder} for {settings.steps:,} steps")
    history, step, began = past.history, past.step, time.monotonic() - past.seconds
    progress.advance(step)
    logs.begin(history, seconds=past.seconds, resumed=resume and not past.changed)

    over = is_over(settings, step, past.seconds, history)
    with _ahead(draw, first=step, last=step if over else settings.steps, threads=threads) as batches:
        for chips in batches:
            done = settings.finished(steps=step, seconds=together.from_leader(time.monotonic() - began))
            rate = settings.rate(done)
            _set_rate(optimizer, rate)

            torch.manual_seed(step_seed(settings.seed, step, rank.number))  # of views and dropout
            batch = lesson.view(Batch.of(chips, card, fabric.device))
            optimizer.zero_grad()
            value = together.mean(lesson.learn(wrapped, batch, fabric))
            norm = nn.utils.clip_grad_norm_(network.parameters(), settings.clip).item()
            _require_numbers(value, norm, at=step, settings=settings, saved=resume or step >= settings.save_every)
            optimizer.step()
            average.update(network, step=step)

            step += 1
            seconds = together.from_leader(time.monotonic() - began)
            history.steps.append(Step(step, value, rate, seconds, norm))
            over = settings.finished(steps=step, seconds=seconds) >= 1
            if validate and (over or step % settings.validate_every == 0):
                check = _check(average.network, validate, step=step, card=card, lesson=lesson) if rank.leads else None
                history.checks.append(cast("Check", together.from_leader(check)))
                _require_numbers(
                    history.checks[-1].loss, at=step, settings=settings, saved=resume or step > settings.save_every
                )
                if best is not None and history.best is history.checks[-1]:
                    best.load_state_dict(average.network.state_dict())
                progress.say(f"loss {value:.3f}, {history.checks[-1]}")
                over |= history.stalled(settings.patience)
            logs.follow(history)
            if rank.leads and (over or step % settings.save_every == 0):
                save_state(folder, Progress(step, time.monotonic() - began, history, past.origin), training)
                write_durably(folder / HISTORY_NAME, history.to_json().encode())
                logs.saved()
            progress.advance()
            if over:
                break

    kept = average.network if best is None or history.best is None else best
    return TrainResult(kept.cpu(), step, history, past.origin)


def _anew(folder: Path, rank: Rank, tell: Callable[[str], None]) -> Progress:
    """A beginning, in a folder that may hold an older training's state."""
    if rank.leads and (aside := forget_state(folder)):
        tell(aside)
    return Progress()


@contextmanager
def _ahead(draw: Draw, *, first: int, last: int, threads: int) -> Iterator[Iterator[Chips]]:
    """The batches of steps first to last - 1, in order; threads draw those to come while one is learnt from."""
    with ThreadPoolExecutor(threads, thread_name_prefix="draw") as pool:

        def batches() -> Iterator[Chips]:
            coming = deque(pool.submit(draw, step) for step in range(first, min(first + threads, last)))
            for step in range(first, last):
                chips = coming.popleft().result()
                if step + threads < last:
                    coming.append(pool.submit(draw, step + threads))
                yield chips

        yield batches()


def _set_up(fabric: Fabric, network: nn.Module, settings: TrainSettings) -> tuple[Any, Any]:
    """The network as Fabric runs it, and what moves its weights."""
    network.to(memory_format=torch.channels_last)  # 1.7 s a step instead of 2.6 (EfficientNet-Lite0, 8 x 256², 2 cores)
    wrapped, optimizer = fabric.setup(network, torch.optim.AdamW(_groups(network, settings), lr=settings.learning_rate))
    if hasattr(network, OWN_LOSS):
        wrapped.mark_forward_method(OWN_LOSS)  # in the precision, and with the other processes, as forward is
    return wrapped, optimizer


def _groups(network: nn.Module, settings: TrainSettings) -> list[dict[str, object]]:
    """Parameters by learning-rate factor and decay: biases and normalisation (one axis or none) do not decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        factor = settings.encoder_rate if name.startswith("encoder.") else 1.0
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [{"params": p, "factor": factor, "weight_decay": decay} for (factor, decay), p in groups.items()]


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def _require_numbers(loss: float, norm: float | None = None, *, at: int, settings: TrainSettings, saved: bool) -> None:
    """Of a step, or of a validation, which has no gradient."""
    if not math.isfinite(loss) or not math.isfinite(norm or 0.0):
        what = f"validation loss is {loss}" if norm is None else f"loss is {loss} and the gradient's norm {norm}"
        go_on = "resume from the last good state, which is kept," if saved else "train"
        raise UnusableInput(
            f"At step {at} the {what}: check the scenes' values and the labels, "
            f"or {go_on} with a learning rate below {settings.learning_rate}."
        )


@torch.inference_mode()
def _check(network: nn.Module, batches: Sequence[Chips], *, step: int, card: ModelCard, lesson: Lesson) -> Check:
    """Loss (mean over batches) and IoU of the averaged weights, in float32, by what the labels can tell."""
    confusion = Confusion(len(card.classes))
    losses: list[float] = []
    for chips in batches:
        batch = Batch.of(chips, card, next(network.parameters()).device)
        logits = network(batch.images.contiguous(memory_format=torch.channels_last))
        losses.append(lesson.loss(network, batch, logits=logits).item())
        told = fold(logits.float(), batch.told)
        confusion.add(batch.labels.cpu().numpy(), told.argmax(dim=1).cpu().numpy())
    scores = confusion.scores()
    iou = tuple(value if there else None for value, there in zip(scores.iou, scores.truth, strict=True))
    mean_iou = None if math.isnan(scores.mean_iou) else scores.mean_iou
    return Check(step=step, loss=sum(losses) / len(losses), mean_iou=mean_iou, iou=iou)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """A seed that depends on the training's, the step and the process alone; neighbouring ones are unrelated."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]) >> 1
