"""The training loop, in the order of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from infra.errors import GeoloomError
from models.augment import augment, step_generator
from models.average import Average
from models.card import ModelCard
from models.checkpoint import write_durably
from models.chips import Chips, Draw
from models.history import Check, History, Step
from models.losses import IGNORE, segmentation_loss
from models.metrics import Confusion
from models.normalise import normalise
from models.recipe import TrainSettings
from models.resume import Progress, load_state, save_state

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
    """On the CPU, in evaluation mode, with averaged weights."""
    steps: int
    seconds: float
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
) -> TrainResult:
    """Train a network on the batches that `draw` gives, and write history.json and the state to resume from.

    Args:
        network: from normalised images to logits; trained in place.
        card: its bands, mean, std and classes are those of the batches.
        draw: the batch of each step, called one step ahead in a thread.
        validate: batches to measure on, never learnt from; may be empty.
        settings: how long and how hard.
        folder: receives the files.
        progress: told of each step.
        device: "cpu", "cuda", "cuda:1", "mps".
        resume: go on from the state in the folder; in float32 on a CPU with one thread, and without a time limit, the
            weights come out as if there had been no interruption, bit for bit. Where the lessons have changed since, a
            new training begins from its averaged weights.
        lessons: fingerprints of what `draw` takes its batches from, by what it is ("labels"); kept with the state.
        tell: told in one sentence where a new training begins so.

    Raises:
        UnusableInput: there is nothing to resume, or it does not fit.
        GeoloomError: the loss is no longer a number; the last state that was written stays.
    """
    kind, _, index = device.partition(":")
    fabric = Fabric(
        accelerator=kind,
        devices=[int(index)] if index else 1,
        precision="bf16-mixed" if settings.precision == "bf16-mixed" else "32-true",
    )
    network.to(memory_format=torch.channels_last)  # 1.7 s a step instead of 2.6 (EfficientNet-Lite0, 8 x 256², 2 cores)
    wrapped, optimizer = fabric.setup(network, torch.optim.AdamW(_groups(network, settings), lr=settings.learning_rate))
    average = Average(network, decay=settings.average)
    weights = None if settings.class_weights is None else torch.tensor(settings.class_weights, device=fabric.device)

    networks = {"network": network, "average": average.network}
    state = {"settings": settings, "lessons": lessons, "networks": networks, "optimizer": optimizer}
    past = load_state(folder, **state) if resume else Progress()
    if past.changed:
        what = " and ".join(past.changed)
        tell(f"The {what} have changed since: fine-tuning the model of {folder} for {settings.steps:,} steps")
    history, step, began = past.history, past.step, time.monotonic() - past.seconds
    progress.advance(step)

    over = settings.finished(steps=step, seconds=past.seconds) >= 1
    with _ahead(draw, first=step, last=step if over else settings.steps) as batches:
        for chips in batches:
            done = settings.finished(steps=step, seconds=time.monotonic() - began)
            rate = settings.rate(done)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]

            images, labels, valid = _tensors(chips, card, fabric.device)
            generator = step_generator(settings.seed, step)
            if settings.augment:
                images, labels, valid = augment(images, labels, valid=valid, generator=generator)
            torch.manual_seed(generator.initial_seed())  # dropout too is a function of seed and step

            network.train()
            logits = wrapped(images.contiguous(memory_format=torch.channels_last))  # (n, class, y, x)
            loss = segmentation_loss(logits, labels, settings.loss, weights=weights)
            value = loss.item()
            optimizer.zero_grad()
            fabric.backward(loss)
            norm = nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
            if not (torch.isfinite(loss) and torch.isfinite(norm)):
                raise GeoloomError(
                    f"At step {step} the loss is {value} and the gradient's norm {norm.item()}: train with a learning "
                    f"rate below {settings.learning_rate} or check the labels; {folder} keeps the last good state."
                )
            optimizer.step()
            average.update(network, step=step)

            step += 1
            seconds = time.monotonic() - began
            history.steps.append(Step(step, value, rate, seconds))
            over = settings.finished(steps=step, seconds=seconds) >= 1
            if validate and (over or step % settings.validate_every == 0):
                check = _check(average.network, validate, step=step, card=card, settings=settings, weights=weights)
                history.checks.append(check)
                progress.say(f"loss {value:.3f}, IoU {'-' if check.mean_iou is None else f'{check.mean_iou:.3f}'}")
            if over or step % settings.save_every == 0:
                save_state(folder, Progress(step, time.monotonic() - began, history, past.origin), **state)
                write_durably(folder / HISTORY_NAME, history.to_json().encode())
            progress.advance()
            if over:
                break

    return TrainResult(average.network.cpu(), step, time.monotonic() - began, history, past.origin)


@contextmanager
def _ahead(draw: Draw, *, first: int, last: int) -> Iterator[Iterator[Chips]]:
    """The batches of steps first to last - 1, each drawn in a thread while the one before is learnt from."""
    with ThreadPoolExecutor(1, thread_name_prefix="draw") as pool:

        def batches() -> Iterator[Chips]:
            coming = pool.submit(draw, first)
            for step in range(first, last):
                chips = coming.result()
                if step + 1 < last:
                    coming = pool.submit(draw, step + 1)
                yield chips

        yield batches() if first < last else iter(())


def _groups(network: nn.Module, settings: TrainSettings) -> list[dict[str, object]]:
    """Parameters by learning-rate factor and decay: biases and normalisation (one axis or none) do not decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        factor = settings.encoder_rate if name.startswith("encoder.") else 1.0
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [{"params": p, "factor": factor, "weight_decay": decay} for (factor, decay), p in groups.items()]


def _tensors(chips: Chips, card: ModelCard, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised images float32, labels int64 that are 255 where there is no data, valid bool."""
    images = torch.from_numpy(normalise(chips.images, chips.valid, mean=card.mean, std=card.std)).to(device)
    valid = torch.from_numpy(chips.valid).to(device)
    labels = torch.from_numpy(chips.labels).to(device).long().masked_fill(~valid, IGNORE)
    return images, labels, valid


@torch.inference_mode()
def _check(
    network: nn.Module,
    batches: Sequence[Chips],
    *,
    step: int,
    card: ModelCard,
    settings: TrainSettings,
    weights: Tensor | None,
) -> Check:
    """Loss (mean over batches) and IoU of the averaged weights, in float32."""
    confusion = Confusion(len(card.classes))
    losses: list[float] = []
    for chips in batches:
        images, labels, _ = _tensors(chips, card, next(network.parameters()).device)
        logits = network(images.contiguous(memory_format=torch.channels_last))
        losses.append(segmentation_loss(logits, labels, settings.loss, weights=weights).item())
        confusion.add(labels.cpu().numpy(), logits.argmax(dim=1).cpu().numpy())
    scores = confusion.scores()
    mean_iou, *iou = (None if math.isnan(v) else v for v in (scores.mean_iou, *scores.iou))
    return Check(step=step, loss=sum(losses) / len(losses), mean_iou=mean_iou, iou=tuple(iou))
