"""The state of a training: one safetensors file, whole or absent, and never a pickle.

It remembers by fingerprints what was learnt from. Where that is still the same, the training goes on bit for bit. Where
it has changed, as labels do by corrections, going on would give a network that learnt half from one thing and half from
another, at the end of a schedule that has no learning rate left: it begins anew from the weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.optim import Optimizer

from infra.errors import UnusableInput
from models.card import ModelCard
from models.checkpoint import weights_sha256, write_durably
from models.history import History
from models.recipe import TrainSettings

STATE_NAME = "training.safetensors"
ASIDE_NAME = "training-before-{}.safetensors"
"""States, numbered from 1, that were not at their end as another training began in their folder."""
SETTINGS = TypeAdapter(TrainSettings)
HISTORY = "history"
"""The tensor that holds the history's JSON, as bytes."""
TAKES = ("bands", "dtype", "classes")
"""What the weights mean; of others they would mean something else, even if they are as many."""
APART = ("seed", "validation_share")
"""Options that decide what is held back for validation."""


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    history: History = dataclasses.field(default_factory=History)
    origin: str = ""
    """sha256, as in model.json, of the float32 weights that it fine-tunes; '' where it began from none of ours."""
    changed: tuple[str, ...] = ()
    """Names of the lessons that have changed since the state was saved."""


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """What a training is: of what, on what, and how."""

    card: ModelCard
    """What the network takes and tells."""
    settings: TrainSettings
    lessons: Mapping[str, str]
    """Fingerprints of what is learnt from, by what it is."""
    networks: Mapping[str, nn.Module]
    """`network`, its `average`, and the `best` that this was where that is kept."""
    optimizer: Optimizer
    """Of `network`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """What a state tells of its training."""

    card: ModelCard
    settings: TrainSettings
    lessons: Mapping[str, str]
    step: int
    """Steps done."""
    over: bool
    """Whether it came to its end."""
    origin: str
    """As in `Progress`."""


def save_state(folder: Path, progress: Progress, training: Training) -> None:
    """Write everything that the next step depends on.

    Raises:
        UnwritableOutput: the folder cannot be written.
    """
    tensors = {
        f"{kind}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for kind, network in training.networks.items()
        for name, tensor in network.state_dict().items()
    }
    for index, moments in training.optimizer.state_dict()["state"].items():
        for name, tensor in moments.items():
            tensors[f"optimizer.{index}.{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    # Of a long training the history would be more than the header may hold.
    tensors[HISTORY] = torch.frombuffer(bytearray(progress.history.to_json().encode()), dtype=torch.uint8)
    about = {
        "step": json.dumps(progress.step),
        "seconds": json.dumps(progress.seconds),
        "origin": progress.origin,
        "lessons": json.dumps(dict(training.lessons)),
        "settings": SETTINGS.dump_json(training.settings).decode(),
        "card": training.card.model_dump_json(),
    }
    about["digest"] = _digest(tensors, about)
    write_durably(folder / STATE_NAME, safetensors.torch.save(tensors, metadata=about))


def load_state(folder: Path, training: Training) -> Progress:
    """Put networks and optimizer, in place, where the training stopped.

    Where lessons have changed since, all networks get the weights that a model keeps, those of `best` or else of
    `average`, and step, history and optimizer are those of a beginning, whatever the settings.

    Args:
        folder: that a state was saved in.
        training: the one that is resumed, with the same settings if its lessons are the same; the learning rate may be
            lower. The optimizer is new.

    Raises:
        UnusableInput: there is nothing to resume, it is damaged, or it is of other bands, classes, settings or
            networks.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        raise UnusableInput(f"{folder} holds no interrupted training: train it without resuming.")
    about, tensors = _read(path)
    _refuse_other_meaning(ModelCard.model_validate_json(about["card"]), training.card, path)
    before = json.loads(about["lessons"])
    changed = tuple(name for name, mark in training.lessons.items() if before.get(name) != mark)
    _refuse_other(json.loads(about["settings"]), training.settings, path, changed=bool(changed))
    history = _history(tensors)
    kept = "best" if history.best and any(name.startswith("best.") for name in tensors) else "average"
    for kind, network in training.networks.items():
        start = f"{kept}." if changed else f"{kind}."
        own = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
        try:
            network.load_state_dict(own, strict=True)
        except RuntimeError as error:
            raise UnusableInput(
                f"{path} is of another network: resume with the same architecture, or train anew."
            ) from error
    if changed:
        return Progress(origin=weights_sha256(training.networks["average"]), changed=changed)
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
    groups = training.optimizer.state_dict()["param_groups"]
    training.optimizer.load_state_dict({"state": state, "param_groups": groups})
    return Progress(int(about["step"]), float(about["seconds"]), history, about.get("origin", ""))


def forget_state(folder: Path) -> str:
    """Make room for a new training: the state of one that came to its end goes, any other is set aside.

    Returns:
        What lies aside, in a sentence; '' where nothing does.
    """
    saved = saved_training(folder)
    if saved is not None and saved.over:
        (folder / STATE_NAME).unlink()
    numbers = itertools.takewhile(lambda n: (folder / ASIDE_NAME.format(n)).exists(), itertools.count(1))
    aside = [ASIDE_NAME.format(n) for n in numbers]
    if (folder / STATE_NAME).exists():
        aside.append(ASIDE_NAME.format(len(aside) + 1))
        (folder / STATE_NAME).replace(folder / aside[-1])
    if not aside:
        return ""
    return (
        f"{folder} keeps what other trainings had learnt when they were interrupted ({', '.join(aside)}): under the "
        f"name {STATE_NAME} one of them goes on by its own command."
    )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """What a state tells, and its tensors."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise UnusableInput(f"{path} is damaged ({error}): train again without resuming.") from error
    if about.pop("digest", "") != _digest(tensors, about):
        raise UnusableInput(f"{path} is damaged, its content has changed: train again without resuming.")
    if HISTORY not in tensors or not about.keys() >= {"step", "seconds", "lessons", "settings", "card"}:
        raise UnusableInput(f"{path} is of another version of geoloom: train again without resuming.")
    return about, tensors


def saved_training(folder: Path) -> Saved | None:
    """The training whose state is in a folder; None where there is none, or it cannot be read."""
    try:
        about, tensors = _read(folder / STATE_NAME)
        card = ModelCard.model_validate_json(about["card"])
        settings = SETTINGS.validate_json(about["settings"])
    except (UnusableInput, ValidationError):
        return None  # who loads the state says so
    step, history = int(about["step"]), _history(tensors)
    over = is_over(settings, step, float(about["seconds"]), history)
    return Saved(card, settings, json.loads(about["lessons"]), step, over, about.get("origin", ""))


def is_over(settings: TrainSettings, step: int, seconds: float, history: History) -> bool:
    """Whether a training has come to its end, by steps, by the clock or because it gets no better."""
    return settings.finished(steps=step, seconds=seconds) >= 1 or history.stalled(settings.patience)


def _history(tensors: Mapping[str, Tensor]) -> History:
    return History.from_json(tensors[HISTORY].numpy().tobytes().decode())


def _refuse_other_meaning(old: ModelCard, new: ModelCard, path: Path) -> None:
    for name in TAKES:
        before, now = (value if isinstance(value := getattr(card, name), tuple) else (value,) for card in (old, new))
        if before != now:
            raise UnusableInput(
                f"{path} is of the {name} {', '.join(map(str, before))} and the workspaces have "
                f"{', '.join(map(str, now))}: train anew, or begin with its model (--start) in another folder."
            )


def _refuse_other(old: Mapping[str, Any], settings: TrainSettings, path: Path, *, changed: bool) -> None:
    """Of a training whose lessons have changed only what is held back must be the same, if anything is."""
    new = SETTINGS.dump_python(settings, mode="json")
    old, new = (told.pop("chosen") | told for told in (dict(old), new))
    different = [name for name in new if old.get(name) != new[name]]
    if changed:
        different = [name for name in different if name in APART and new.get("validation_share")]
    if "learning_rate" in different and settings.learning_rate < old.get("learning_rate", 0.0):
        different.remove("learning_rate")  # a lower one is how a training goes on whose loss was no number any more
    if different:
        name = different[0]
        raise UnusableInput(
            f"{path} was made with {name} {old.get(name)}, not {new[name]}: resume with the same ones or train anew."
        )


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Of what is told, and of names, types, shapes and bits: safetensors itself has no checksum."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
