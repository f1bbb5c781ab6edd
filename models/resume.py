"""The state of a training that was interrupted: one safetensors file, whole or absent, and never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from infra.errors import UnusableInput
from models.checkpoint import write_durably
from models.history import History
from models.recipe import TrainSettings

STATE_NAME = "training.safetensors"


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    history: History = dataclasses.field(default_factory=History)


def save_state(
    folder: Path,
    progress: Progress,
    *,
    settings: TrainSettings,
    networks: Mapping[str, nn.Module],
    optimizer: Optimizer,
) -> None:
    """Write everything that the next step depends on.

    Raises:
        UnwritableOutput: the folder cannot be written.
    """
    tensors = {
        f"{kind}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for kind, network in networks.items()
        for name, tensor in network.state_dict().items()
    }
    for index, moments in optimizer.state_dict()["state"].items():
        for name, tensor in moments.items():
            tensors[f"optimizer.{index}.{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    about = {
        "step": json.dumps(progress.step),
        "seconds": json.dumps(progress.seconds),
        "history": progress.history.to_json(),
        "settings": json.dumps(dataclasses.asdict(settings)),
        "digest": _digest(tensors),
    }
    write_durably(folder / STATE_NAME, safetensors.torch.save(tensors, metadata=about))


def load_state(
    folder: Path, *, settings: TrainSettings, networks: Mapping[str, nn.Module], optimizer: Optimizer
) -> Progress:
    """Put networks and optimizer, in place, where the training stopped.

    Raises:
        UnusableInput: there is nothing to resume, it is damaged, or it was made with other settings or networks.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        raise UnusableInput(f"{folder} holds no interrupted training: train it without resuming.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise UnusableInput(f"{path} is damaged ({error}): train again without resuming.") from error
    if about.get("digest") != _digest(tensors):
        raise UnusableInput(f"{path} is damaged, its tensors have changed: train again without resuming.")
    old, new = json.loads(about["settings"]), json.loads(json.dumps(dataclasses.asdict(settings)))
    if changed := [name for name in new if old.get(name) != new[name]]:
        name = changed[0]
        raise UnusableInput(
            f"{path} was made with {name} {old.get(name)}, not {new[name]}: resume with the same ones or train anew."
        )
    for kind, network in networks.items():
        own = {name.removeprefix(f"{kind}."): t for name, t in tensors.items() if name.startswith(f"{kind}.")}
        try:
            network.load_state_dict(own, strict=True)
        except RuntimeError as error:
            raise UnusableInput(
                f"{path} is of another network: resume with the same architecture, or train anew."
            ) from error
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(int(about["step"]), float(about["seconds"]), History.from_json(about["history"]))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and bits: safetensors itself has no checksum."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
