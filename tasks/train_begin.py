"""What a training begins with: a network, its weights, and the card that says what it takes and where it comes from."""

from __future__ import annotations

import copy
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue
from torch import nn

from infra.errors import UnusableInput, first_line
from infra.progress import Progress
from infra.storage import sha256_of
from models.card import ModelCard
from models.checkpoint import load_model
from models.inherit import inherit
from models.pretrained import PUBLISHED, Scale, imagenet_scale, load_encoder, load_published
from models.registry import build, learns_objects, network_stride, takes_encoder
from tasks.fetch_model import fetch_model
from tasks.model import find_model
from tasks.params import TrainParams
from tasks.raster.grid import ground_resolution
from tasks.train_fields import Field
from tasks.train_past import INHERITED, REGIONS, as_before, from_file, from_model, require_same_beginning
from tasks.train_settings import recipe_of


def begin(
    params: TrainParams, fields: list[Field], saved: ModelCard | None, *, progress: Progress
) -> tuple[nn.Module, ModelCard]:
    """The network before its first step, and its card.

    Where a training is resumed the network's weights come from its state later; what the bands are normalised by, and
    what it began with, come from its card.

    Args:
        params: of this training.
        fields: what it learns from.
        saved: the card of the one that is resumed.
        progress: told of what is fetched, and of classes that are new.

    Raises:
        UnusableInput: an unknown architecture or start, weights that do not fit or cannot be had; or the training that
            is resumed began with something else.
    """
    if saved is None:
        return _begin(params, fields, progress=progress)
    require_same_beginning(params, saved)
    cube, classes = fields[0].cube, fields[0].workspace.classes
    network = build(saved.architecture, saved.arguments, bands=len(cube.bands), classes=len(classes))
    past = {name: told for name, told in saved.lineage.items() if name in INHERITED}
    card = _card(params, fields, saved.architecture, saved.arguments, _own_scale(fields), past)
    return network, as_before(card, saved)


def _begin(params: TrainParams, fields: list[Field], *, progress: Progress) -> tuple[nn.Module, ModelCard]:
    if from_model(params):
        return _begin_from(params, fields, progress=progress)
    cube, classes = fields[0].cube, fields[0].workspace.classes
    has_encoder = takes_encoder(params.architecture)
    if not has_encoder and params.encoder != TrainParams.model_fields["encoder"].default:
        raise UnusableInput(
            f"Encoder {params.encoder!r} was given to {params.architecture!r}, which has none to choose: "
            "leave it away, or take lite-unet, mask-rcnn or one of smp-*."
        )
    arguments: dict[str, JsonValue] = {"encoder": params.encoder} if has_encoder else {}
    network = build(params.architecture, arguments, bands=len(cube.bands), classes=len(classes))
    pretrained = from_file(params) or (has_encoder and params.start == "imagenet")
    if pretrained and not params.resume:
        if from_file(params):
            load_encoder(network, Path(params.start))
        elif params.encoder in PUBLISHED:
            load_encoder(network, Path(fetch_model(PUBLISHED[params.encoder], progress=progress)["weights"]))
        else:
            load_published(network, params.encoder, bands=len(cube.bands))
    scale = _own_scale(fields)
    if pretrained and cube.dtype == np.uint8:
        scale = imagenet_scale(params.encoder, bands=len(cube.bands))
    past: dict[str, Any] = {"imagenet": pretrained and not from_file(params)}
    if from_file(params) and not params.resume:
        past["encoder_sha256"] = sha256_of(Path(params.start))
    return network, _card(params, fields, params.architecture, arguments, scale, past)


def require_fit(network: nn.Module, card: ModelCard, *, chip: int, part: int) -> None:
    """See before the first step that a network takes what it will be given, in training and on the map.

    Parameters that have no part in the answer, as the last blocks of some encoders, are frozen: several processes that
    learn together would wait for their gradients.

    Args:
        network: what is trained.
        card: its own.
        chip: pixels a side of what it learns from.
        part: how many of these it is given at once.

    Raises:
        UnusableInput: it does not, as where an encoder is of one image size.
    """
    name = " of ".join([card.architecture, *map(str, card.arguments.values())])
    if learns_objects(card.architecture):  # a look of random weights finds a thousand objects: its encoder must do
        network = network.get_submodule("encoder")
    learning = network.training
    network.eval()
    for what, side in (("chips", chip), ("tiles", card.tile), ("tiles", card.tile + card.stride)):
        try:
            with torch.inference_mode():
                _answer(network, torch.zeros(1, len(card.bands), side, side))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UnusableInput(
                f"{name} cannot take {what} of {side} x {side} pixels ({first_line(error)}); choose a "
                f"network that takes any size, or another --{what[:-1]}."
            ) from error
    network.train(learning)
    tried = copy.deepcopy(network).train()  # what it has seen of zeros does not stay
    try:
        # What a network makes of two it makes of more, and many would fill memory.
        _answer(tried, torch.zeros(min(part, 2), len(card.bands), chip, chip)).backward()  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise UnusableInput(
            f"{name} cannot learn from {part} chips of {chip} x {chip} pixels at once ({first_line(error)}); give a "
            "larger --batch or --chip, or fewer --accumulate or --processes."
        ) from error
    for parameter, of_trial in zip(network.parameters(), tried.parameters(), strict=True):
        parameter.requires_grad_(of_trial.grad is not None)


def _answer(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The sum of all that a network answers, or an encoder with the levels that objects are found in."""
    answer = network(images)
    levels: list[torch.Tensor] = [answer] if isinstance(answer, torch.Tensor) else answer[2:]
    return torch.stack([level.sum() for level in levels]).sum()


def _begin_from(params: TrainParams, fields: list[Field], *, progress: Progress) -> tuple[nn.Module, ModelCard]:
    """The same where it goes on from a model, whose scenes it has then seen, too."""
    cube, classes = fields[0].cube, fields[0].workspace.classes
    source, old = load_model(find_model(params.start))
    if old.bands != cube.bands:
        raise UnusableInput(
            f"The model {params.start} takes the bands {', '.join(old.bands)} and the scenes have "
            f"{', '.join(cube.bands)}; choose with 'geoloom ingest --bands', or start from imagenet."
        )
    if old.dtype not in {None, cube.dtype.name}:
        raise UnusableInput(
            f"The model {params.start} learnt from pixels of type {old.dtype} and the scenes have {cube.dtype.name}, "
            "whose values are not on its scale; start from imagenet."
        )
    network = inherit(
        source, old.architecture, old.arguments, bands=len(cube.bands), classes=classes.names, known=old.classes
    )
    if new := [name for name in classes.names if name not in old.classes]:
        progress.note(f"The model {params.start} does not know {', '.join(new)}: that is learnt from the beginning.")
    lineage = {"fine_tuned_from": old.weights_sha256, "imagenet": old.lineage.get("imagenet", False)}
    for name in ("fingerprints", "attribution"):
        before = old.lineage.get(name)
        lineage[name] = before if isinstance(before, list) else []
    lineage["regions"] = old.lineage.get("regions", {})
    return network, _card(params, fields, old.architecture, old.arguments, (old.mean, old.std), lineage)


def _own_scale(fields: list[Field]) -> Scale:
    """Mean and standard deviation of each band over the valid pixels of all scenes together."""
    pixels = np.array([f.cube.counts.sum(dtype=np.int64) for f in fields], float)
    told = [[(s.mean, s.std) for s in f.cube.statistics] for f in fields]
    means, stds = np.moveaxis(np.array(told), -1, 0)  # (scene, band) both
    mean = np.average(means, axis=0, weights=pixels)
    std = np.sqrt(np.average(stds**2 + (means - mean) ** 2, axis=0, weights=pixels))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1e-6).tolist())


def _card(
    params: TrainParams,
    fields: list[Field],
    architecture: str,
    arguments: dict[str, JsonValue],
    scale: Scale,
    before: dict[str, Any],
) -> ModelCard:
    cube, classes = fields[0].cube, fields[0].workspace.classes
    stride = network_stride(architecture, arguments)
    resolutions = [ground_resolution(f.cube.grid) for f in fields]
    known = [r for r in resolutions if r is not None]
    tile = max(params.tile // stride, 1) * stride
    return ModelCard(
        architecture=architecture,
        arguments=arguments,
        bands=cube.bands,
        mean=scale[0],
        std=scale[1],
        classes=classes.names,
        colours=tuple(c.colour for c in classes.classes),
        dtype=cube.dtype.name,
        resolution=float(np.exp(np.mean(np.log(known)))) if len(known) == len(resolutions) else None,
        stride=stride,
        tile=tile,
        margin=tile // 8,
        ramp=tile // 16,
        lineage=before | _lineage(params, fields, before),
    )


def _lineage(params: TrainParams, fields: list[Field], before: dict[str, Any]) -> dict[str, Any]:
    """Where a model comes from: enough to make it again, and to know what it must not be scored on."""
    return {
        "fingerprints": sorted({*before.get("fingerprints", []), *_seen(fields)}),
        "labels": [str(f.labels.made.about["made_by"]) for f in fields],
        "regions": before.get("regions", {})
        | REGIONS.dump_python({f.cube.fingerprint: f.plan.regions for f in fields}, mode="json"),
        "attribution": sorted({*before.get("attribution", []), *_owners(fields)}),
        "recipe": recipe_of(params),
        "versions": {name: importlib.metadata.version(name) for name in ("geoloom", "torch", "timm")},
    }


def _seen(fields: list[Field]) -> set[str]:
    """Fingerprints of the scenes, and of those that a model which labelled them had learnt from."""
    labelled = {mark for field in fields for mark in field.labels.made.about.get("seen", [])}
    return labelled | {field.cube.fingerprint for field in fields}


def _owners(fields: list[Field]) -> list[str]:
    """Whose the scenes are, and the vectors that their labels were made from."""
    scenes = {source.attribution for field in fields for source in field.workspace.sources}
    labels = {str(field.labels.made.about.get("attribution", "")) for field in fields}
    return sorted((scenes | labels) - {""})
