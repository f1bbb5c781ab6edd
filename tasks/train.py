"""Train: a network on labelled workspaces."""

from __future__ import annotations

import importlib.metadata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from pydantic import JsonValue
from torch import nn

from infra.cluster import cores
from infra.crew import work_together
from infra.device import choose_device, processes_for
from infra.errors import UnusableInput
from infra.progress import Progress, counting
from infra.storage import make_folder
from models.card import ModelCard
from models.checkpoint import load_model, save_card, save_model
from models.curves import draw_curves
from models.history import History
from models.inherit import inherit
from models.predictor import Predictor
from models.pretrained import load_imagenet
from models.ranks import Rank
from models.recipe import Keep, TrainSettings
from models.registry import build, network_stride
from models.train import train as run_loop
from tasks.disagreement import choose_seams
from tasks.fetch_model import fetch_model
from tasks.model import find_model
from tasks.params import TrainParams
from tasks.raster.cube import Cube
from tasks.raster.grid import ground_resolution
from tasks.recipe_file import filled
from tasks.train_fields import Field, drawer, lessons_of, open_fields, validation_of, weights_of

MEASURED = 3
"""Scenes on which tiles are compared with one whole pass."""
LITE0 = "tu-tf_efficientnet_lite0"

Scale: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each band, in the source's units."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training made."""

    model: str
    curves: str
    steps: int
    scores: dict[str, Any]
    """On the validation regions."""
    disagreement: float


def train(params: TrainParams, workspaces: list[str], out: Path, *, device: str, progress: Progress) -> Trained:
    """Train a network on the labels of workspaces and write it as a model.

    Raises:
        UnusableInput: no labels, workspaces that do not go together, an unknown architecture, or a wrong recipe.
        UnwritableOutput: the model cannot be written.
    """
    params = filled(params)
    make_folder(out)
    device = choose_device(device)
    count = processes_for(device, params.processes)
    if params.batch < count:
        raise UnusableInput(f"{count} processes cannot share a batch of {params.batch}; give --batch {count} or more.")
    if count == 1:
        done = _train(0, 0, progress, params, workspaces, out, device, 1)
    else:
        if device == "cpu" and params.threads is None:
            params = params.model_copy(update={"threads": max(cores() // count, 1)})
        done = work_together(_train, (params, workspaces, out, device, count), members=count, progress=progress)
    assert done is not None
    return done


def _train(
    number: int,
    port: int,
    progress: Progress,
    params: TrainParams,
    workspaces: list[str],
    out: Path,
    device: str,
    count: int,
) -> Trained | None:
    """What each of the processes of a training does; the first one writes the model."""
    rank = Rank(number, count, port)
    fields = open_fields(params, workspaces)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)  # of the weights that begin at random
        network, card = _begin(params, fields, progress=progress)
    options = TrainSettings(
        steps=params.steps,
        minutes=params.minutes,
        learning_rate=params.learning_rate,
        seed=params.seed,
        precision=_precision(params, device),
        loss=params.loss,
        class_weights=weights_of(params, fields),
        schedule=params.schedule,
        augment=params.augment,
        chip=params.chip,
        accumulate=params.accumulate,
        keep=params.keep,
        patience=params.patience,
    )
    if params.threads:
        torch.set_num_threads(params.threads)
    with counting(progress, "train", total=params.steps, unit="steps") as bar:
        result = run_loop(
            network,
            card,
            draw=drawer(params, fields, rank),
            validate=validation_of(fields, params.chip),
            settings=options,
            folder=out,
            progress=bar,
            device=device,
            resume=params.resume,
            lessons=lessons_of(fields),
            tell=progress.note,
            rank=rank,
        )
    if not rank.leads:
        return None
    scores = {"validation": _scores(result.history, card, params.keep)}
    made = {"steps": result.steps} | ({"fine_tuned_from": result.origin} if result.origin else {})
    card = card.model_copy(update={"scores": scores, "lineage": card.lineage | made})
    # Saved first: what the measurement below may cost in memory must not cost the training.
    card = save_model(out, result.network, card, float16=params.weights == "float16")
    seams = choose_seams(Predictor(card, result.network, device=device), _measured(fields), tile=card.tile)
    card = card.model_copy(update=asdict(seams))
    save_card(out, card)
    curves = out / "curves.png"
    draw_curves(result.history, curves, classes=card.classes, colours=card.colours)
    return Trained(str(out), str(curves), result.steps, scores, seams.disagreement)


def _measured(fields: list[Field]) -> list[Cube]:
    """The largest scenes, on which seams are measured."""
    return sorted((f.cube for f in fields), key=lambda c: -c.grid.shape[0] * c.grid.shape[1])[:MEASURED]


def _begin(params: TrainParams, fields: list[Field], *, progress: Progress) -> tuple[nn.Module, ModelCard]:
    """The network before its first step, and its card."""
    cube, classes = fields[0].cube, fields[0].workspace.classes
    if params.start not in {"imagenet", "random"}:
        return _begin_from(params, fields, progress=progress)
    arguments: dict[str, Any] = {"encoder": params.encoder} if params.architecture.startswith("smp-") else {}
    network = build(params.architecture, arguments, bands=len(cube.bands), classes=len(classes))
    imagenet = params.start == "imagenet" and (params.architecture == "lite-unet" or arguments.get("encoder") == LITE0)
    if imagenet and not params.resume:
        load_imagenet(network, Path(fetch_model("efficientnet-lite0", progress=progress)["weights"]))
    scale = _imagenet_scale(cube) if imagenet and cube.dtype == np.uint8 else _own_scale(fields)
    return network, _card(params, fields, params.architecture, arguments, scale, {"imagenet": imagenet})


def _begin_from(params: TrainParams, fields: list[Field], *, progress: Progress) -> tuple[nn.Module, ModelCard]:
    """The same where it goes on from a model, whose scenes it has then seen, too."""
    cube, classes = fields[0].cube, fields[0].workspace.classes
    source, old = load_model(find_model(params.start))
    if old.bands != cube.bands:
        raise UnusableInput(
            f"The model {params.start} takes the bands {', '.join(old.bands)} and the scenes have "
            f"{', '.join(cube.bands)}; choose with 'geoloom ingest --bands', or start from imagenet."
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
    return network, _card(params, fields, old.architecture, old.arguments, (old.mean, old.std), lineage)


def _imagenet_scale(cube: Cube) -> Scale:
    return (127.5,) * len(cube.bands), (127.5,) * len(cube.bands)  # the encoder saw [-1, 1]


def _own_scale(fields: list[Field]) -> Scale:
    statistics, bands = [f.cube.statistics for f in fields], range(len(fields[0].cube.bands))
    mean = tuple(float(np.mean([s[b].mean for s in statistics])) for b in bands)
    return mean, tuple(max(float(np.mean([s[b].std for s in statistics])), 1e-6) for b in bands)


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
        "fingerprints": sorted({*before.get("fingerprints", []), *(f.cube.fingerprint for f in fields)}),
        "labels": [str(f.labels.made.about["made_by"]) for f in fields],
        "attribution": sorted({*before.get("attribution", []), *_owners(fields)}),
        "recipe": params.model_dump(mode="json", exclude={"resume", "recipe"}),
        "versions": {name: importlib.metadata.version(name) for name in ("geoloom", "torch", "timm")},
    }


def _owners(fields: list[Field]) -> list[str]:
    """Whose the scenes are, and the vectors that their labels were made from."""
    scenes = {source.attribution for field in fields for source in field.workspace.sources}
    labels = {str(field.labels.made.about.get("attribution", "")) for field in fields}
    return sorted((scenes | labels) - {""})


def _precision(params: TrainParams, device: str) -> Literal["float32", "bf16-mixed"]:
    """bfloat16 where it was measured to help: CPUs without AMX take 2.4 times as long with it (models/recipe.py)."""
    if params.precision != "auto":
        return params.precision
    return "bf16-mixed" if device.startswith("cuda") else "float32"


def _scores(history: History, card: ModelCard, keep: Keep) -> dict[str, Any]:
    """IoU of each class that occurs in the validation regions, and their mean; empty where there is no such region."""
    if not history.checks:
        return {}
    kept = (history.best if keep == "best" else None) or history.checks[-1]
    iou = {name: value for name, value in zip(card.classes, kept.iou, strict=True) if value is not None}
    return {"iou": iou, "mean_iou": kept.mean_iou, "step": kept.step}
