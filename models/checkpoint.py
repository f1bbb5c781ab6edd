"""A model as a folder, `weights.safetensors` + `model.json`: whole at every moment, and refused where it is damaged.

Replacing a model goes in three steps, each a durable rename: the new weights arrive under a name made from their hash;
model.json, which holds that hash, replaces the old one; the weights take their usual name. A reader takes whichever
file has the hash that model.json names, so a crash between any two steps leaves the old model or the new one.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from infra.errors import GeoloomError, UnusableInput, UnwritableOutput
from models.card import CARD_NAME, WEIGHTS_NAME, ModelCard, find_weights, pending_name
from models.registry import build, network_stride


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a crash or a power cut the path holds the old content or the new, never a part.

    Raises:
        UnwritableOutput: the folder cannot be written, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UnwritableOutput(
            f"{path} cannot be written: {error.strerror or error}; free space or choose another folder."
        ) from error


def save_model(folder: Path, network: nn.Module, card: ModelCard, *, float16: bool = False) -> ModelCard:
    """Write a network and its card as a model, replacing the one that is there; returns the card as written.

    Args:
        folder: made if missing.
        network: of the card's architecture, arguments, bands and classes.
        card: its weights_sha256 and weights_dtype are filled in here.
        float16: halve the file; the weights lose all but 11 bits.

    Raises:
        GeoloomError: a weight is NaN or infinite (float16 ends at 65504).
        UnwritableOutput: the folder cannot be written.
    """
    tensors = _stored(network, float16=float16)
    if (broken := _not_finite(tensors)) is not None:
        raise GeoloomError(f"The network is not saved to {folder}: its tensor {broken} holds NaN or infinite values.")
    weights = safetensors.torch.save(tensors)
    sha256 = hashlib.sha256(weights).hexdigest()
    card = ModelCard.model_validate(
        card.model_dump() | {"weights_sha256": sha256, "weights_dtype": "float16" if float16 else "float32"}
    )
    write_durably(folder / pending_name(sha256), weights)
    write_durably(folder / CARD_NAME, _to_json(card))
    (folder / pending_name(sha256)).replace(folder / WEIGHTS_NAME)
    _sync_folder(folder)
    for leftover in (*folder.glob("weights-*.safetensors"), *folder.glob(".weights*.partial")):
        leftover.unlink(missing_ok=True)  # of a save that was killed
    return card


def weights_sha256(network: nn.Module) -> str:
    """What `save_model` writes into the card of a network that it saves in float32."""
    return hashlib.sha256(safetensors.torch.save(_stored(network, float16=False))).hexdigest()


def save_card(folder: Path, card: ModelCard) -> None:
    """Replace the card of a saved model by one with the same weights: measured tiles, new scores.

    Raises:
        UnusableInput: the card belongs to other weights than the folder's.
    """
    old, _ = find_weights(folder)
    if (card.weights_sha256, card.weights_dtype) != (old.weights_sha256, old.weights_dtype):
        raise UnusableInput(f"The new card of {folder} names other weights than lie there: save the network with it.")
    write_durably(folder / CARD_NAME, _to_json(card))


def load_model(folder: Path) -> tuple[nn.Module, ModelCard]:
    """The network of a saved model, float32, on the CPU, in evaluation mode, and its card.

    Raises:
        UnusableInput: a file is missing, truncated or altered, holds NaN, or does not fit the architecture.
    """
    card, weights = find_weights(folder)
    source = folder / WEIGHTS_NAME
    network = build(card.architecture, card.arguments, bands=len(card.bands), classes=len(card.classes))
    if card.stride != network_stride(card.architecture, card.arguments):
        raise UnusableInput(
            f"{folder / CARD_NAME} says stride {card.stride}, which is not its architecture's; train the model again."
        )
    try:
        tensors = safetensors.torch.load(weights)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise UnusableInput(f"{source} is not a safetensors file ({error}); get or train the model again.") from error
    expected = network.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        have, want = tensors.get(name), expected.get(name)
        if (
            have is None
            or want is None
            or have.shape != want.shape
            or have.is_floating_point() != want.is_floating_point()
        ):
            raise UnusableInput(
                f"{source} does not fit {card.architecture}: tensor {name} is {_shape(have)}, expected {_shape(want)}; "
                "the weights and model.json are of different models."
            )
    if (broken := _not_finite(tensors)) is not None:
        raise UnusableInput(
            f"{source} is not usable: its tensor {broken} holds NaN or infinite values; train the model again."
        )
    network.load_state_dict(tensors, strict=True)
    return network.eval(), card


def _stored(network: nn.Module, *, float16: bool) -> dict[str, Tensor]:
    """Tensors as they are written."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        plain = tensor.detach().cpu()
        if plain.is_floating_point():
            plain = plain.half() if float16 else plain.float()
        # Contiguous, and no two names for one memory: safetensors refuses both.
        tensors[name] = plain.clone(memory_format=torch.contiguous_format)
    return tensors


def _not_finite(tensors: dict[str, Tensor]) -> str | None:
    """The name of the first tensor with a NaN or infinite value."""
    return next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _to_json(card: ModelCard) -> bytes:
    return (card.model_dump_json(indent=2) + "\n").encode()


def _sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
