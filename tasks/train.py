"""Train: a network on labelled workspaces."""

from __future__ import annotations

import importlib.metadata
import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from infra.device import choose_device
from infra.errors import UnusableInput
from infra.progress import Progress, counting
from infra.storage import make_folder
from infra.store import open_store
from models.balance import class_weights
from models.card import ModelCard
from models.checkpoint import save_card, save_model
from models.chips import Chips, Draw
from models.curves import draw_curves
from models.history import History
from models.predictor import Predictor
from models.pretrained import load_imagenet
from models.recipe import TrainSettings
from models.registry import build, network_stride
from models.train import train as run_loop
from tasks.disagreement import choose_seams
from tasks.fetch_model import fetch_model
from tasks.made_labels import MadeLabels, open_made_labels
from tasks.params import TrainParams
from tasks.raster.blend import TOP
from tasks.raster.chips import CELLS, ChipPlan, Corner, draw_chips, plan_chips
from tasks.raster.classes import IGNORE, ClassMap
from tasks.raster.cube import Cube
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.grid import Window, ground_resolution, windows
from tasks.raster.labels import SHARD
from tasks.workspace import Workspace, forgetting_damage, open_workspace

VALIDATION_CHIPS = 48
MEASURED = 3
"""Scenes on which tiles are compared with one whole pass."""
LITE0 = "tu-tf_efficientnet_lite0"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training made."""

    model: str
    curves: str
    steps: int
    scores: dict[str, Any]
    """On the validation regions."""
    disagreement: float


@dataclass(frozen=True, slots=True)
class FieldLabels:
    """Labels as a network learns them."""

    made: MadeLabels
    table: NDArray[np.uint8]
    """(256,) from their ids to the model's."""
    told: NDArray[np.bool_]
    """(class,) of the model's, which they tell: what is none of them is `other` to them."""
    least_confidence: float
    """0..1; what is less sure is not learnt."""
    weigh: bool
    """Whether what is surer counts for more."""

    def read(self, window: Window) -> NDArray[np.uint8]:
        """(y, x) the model's class ids, 255 = ignore."""
        label: NDArray[np.uint8] = self.table[self.made.read(window)]
        if self.least_confidence:
            label[self.made.read(window, "confidence") < self.least_confidence * TOP] = IGNORE
        return label

    def sure(self, window: Window) -> NDArray[np.float32] | None:
        """(y, x) 0..1, how much each pixel counts; None where all count alike."""
        if not self.weigh:
            return None
        stored: NDArray[np.uint8] = self.made.read(window, "confidence")
        return np.minimum(stored, TOP).astype(np.float32) / np.float32(TOP)

    def digests(self, shape: tuple[int, int]) -> list[str]:
        """Of every block, as it is learnt: corrections change them, a labelling that gives the same again does not."""
        whole = windows(shape, SHARD)
        if not self.weigh:
            return [digest(self.read(window)) for window in whole]
        return [digest(self.read(window), self.made.read(window, "confidence")) for window in whole]


@dataclass(frozen=True, slots=True)
class _Field:
    """One labelled scene to learn from."""

    workspace: Workspace
    cube: Cube
    labels: FieldLabels
    plan: ChipPlan

    def read(self, corners: list[Corner], side: int) -> Chips:
        windows = [(slice(r, r + side), slice(c, c + side)) for r, c in corners]
        with forgetting_damage(self.workspace.store):
            images, valid = (np.stack(part) for part in zip(*map(self.cube.read, windows), strict=True))
        labels = np.stack([self.labels.read(window) for window in windows])
        told = np.broadcast_to(self.labels.told, (len(windows), len(self.labels.told)))
        sure = [part for part in map(self.labels.sure, windows) if part is not None]
        return Chips(images, labels, valid, told, np.stack(sure) if sure else None)


def train(params: TrainParams, workspaces: list[str], out: Path, *, device: str, progress: Progress) -> Trained:
    """Train a network on the labels of workspaces and write it as a model.

    Raises:
        UnusableInput: no labels, workspaces that do not go together, or an unknown architecture.
        UnwritableOutput: the model cannot be written.
    """
    make_folder(out)
    fields = _open_fields(params, workspaces)
    cube, classes = fields[0].cube, fields[0].workspace.classes
    arguments: dict[str, Any] = {"encoder": params.encoder} if params.architecture.startswith("smp-") else {}
    network = build(params.architecture, arguments, bands=len(cube.bands), classes=len(classes))
    imagenet = params.start == "imagenet" and (params.architecture == "lite-unet" or arguments.get("encoder") == LITE0)
    if imagenet and not params.resume:
        load_imagenet(network, Path(fetch_model("efficientnet-lite0", progress=progress)["weights"]))
    card = _card(params, fields, arguments, imagenet=imagenet)
    device = choose_device(device)
    options = TrainSettings(
        steps=params.steps,
        minutes=params.minutes,
        learning_rate=params.learning_rate,
        seed=params.seed,
        precision=_precision(params, device),
        loss=params.loss,
        class_weights=_class_weights(params, fields),
        schedule=params.schedule,
        augment=params.augment,
        chip=params.chip,
        accumulate=params.accumulate,
        keep=params.keep,
        patience=params.patience,
    )
    if params.threads:
        import torch

        torch.set_num_threads(params.threads)
    with counting(progress, "train", total=params.steps, unit="steps") as bar:
        result = run_loop(
            network,
            card,
            draw=_drawer(params, fields),
            validate=_validation(fields, params.chip),
            settings=options,
            folder=out,
            progress=bar,
            device=device,
            resume=params.resume,
            lessons=_lessons(fields),
            tell=progress.note,
        )
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


def _measured(fields: list[_Field]) -> list[Cube]:
    """The largest scenes, on which seams are measured."""
    return sorted((f.cube for f in fields), key=lambda c: -c.grid.shape[0] * c.grid.shape[1])[:MEASURED]


def _open_fields(params: TrainParams, workspaces: list[str]) -> list[_Field]:
    fields: list[tuple[Workspace, Cube, FieldLabels]] = []
    for root in workspaces:
        workspace = open_workspace(open_store(root))
        cube = workspace.cube()
        made = open_made_labels(workspace)
        first, first_cube = fields[0][:2] if fields else (workspace, cube)
        classes: ClassMap = first.classes
        if cube.bands != first_cube.bands:
            raise UnusableInput(
                f"{root} has the bands {', '.join(cube.bands)} and {first.store.url} has "
                f"{', '.join(first_cube.bands)}; train on scenes of the same bands."
            )
        fields.append((workspace, cube, _field_labels(params, made, classes)))
    if not fields:
        raise UnusableInput("No workspace was given to train on; name at least one.")
    farthest = math.ceil(CELLS / params.augment.zoom[0] - 1e-9)
    for cells in range(max(farthest, CELLS), CELLS, -1):  # as far as the zoom sees, if every scene has such windows
        with suppress(UnusableInput):
            return [_Field(*field, _plan(params, *field, cells=cells)) for field in fields]
    return [_Field(*field, _plan(params, *field, cells=CELLS)) for field in fields]


def _field_labels(params: TrainParams, made: MadeLabels, classes: ClassMap) -> FieldLabels:
    told = np.zeros(len(classes), bool)
    told[[classes.id(name) for name in made.about["known"]]] = True
    told[0] = made.about["rest"] == "other"
    return FieldLabels(
        made, classes.translation(made.classes.names), told, params.least_confidence, params.weigh_confidence
    )


def _plan(params: TrainParams, workspace: Workspace, cube: Cube, labels: FieldLabels, *, cells: int) -> ChipPlan:
    try:
        return plan_chips(
            labels.read,
            (cube.grid.shape[0], cube.grid.shape[1]),
            chip=params.chip,
            classes=len(labels.told),
            share=params.validation_share,
            seed=params.seed,
            cells=cells,
        )
    except UnusableInput as error:
        raise UnusableInput(f"{workspace.store.url}: {error}") from error


def _lessons(fields: list[_Field]) -> dict[str, str]:
    """What stands for the pixels and the labels that are learnt from: a state to resume remembers it."""
    classes = fields[0].workspace.classes.names
    blocks = [f.labels.digests((f.cube.grid.shape[0], f.cube.grid.shape[1])) for f in fields]
    return {
        "scenes": fingerprint({"cubes": [f.cube.fingerprint for f in fields]}),
        "labels": fingerprint({"classes": classes, "blocks": blocks}),
    }


def _class_weights(params: TrainParams, fields: list[_Field]) -> tuple[float, ...]:
    totals, around = (np.sum([getattr(f.plan, n) for f in fields], axis=0).tolist() for n in ("totals", "around"))
    return tuple(class_weights(totals, params.balance, around=around).tolist())


def _drawer(params: TrainParams, fields: list[_Field]) -> Draw:
    """Chips of a step as a function of its number alone, so that a resumed training sees what it would have seen."""
    area = np.array([len(f.plan.training) for f in fields], float)

    def draw(step: int) -> Chips:
        rng = np.random.default_rng([params.seed, step])
        chosen = np.sort(rng.choice(len(fields), size=params.batch, p=area / area.sum()))
        parts = [
            fields[i].read(
                draw_chips(fields[i].plan, int((chosen == i).sum()), rng, balanced=params.draw == "classes"),
                fields[i].plan.side,
            )
            for i in np.unique(chosen)
        ]
        return Chips.join(parts)

    return draw


def _validation(fields: list[_Field], chip: int) -> list[Chips]:
    """Validation chips of all scenes, evenly thinned to `VALIDATION_CHIPS`, in batches of eight at most."""
    everything = [(f, corner) for f in fields for corner in f.plan.validation]
    step = max(1, len(everything) // VALIDATION_CHIPS)
    chosen = everything[::step][:VALIDATION_CHIPS]
    singles = [f.read([corner], chip) for f, corner in chosen]
    return [Chips.join(singles[i : i + 8]) for i in range(0, len(singles), 8)]


def _card(params: TrainParams, fields: list[_Field], arguments: dict[str, Any], *, imagenet: bool) -> ModelCard:
    cube, classes = fields[0].cube, fields[0].workspace.classes
    stride = network_stride(params.architecture, arguments)
    if imagenet and cube.dtype == np.uint8:
        mean, std = [127.5] * len(cube.bands), [127.5] * len(cube.bands)  # the encoder saw [-1, 1]
    else:
        statistics = [f.cube.statistics for f in fields]
        mean = [float(np.mean([s[b].mean for s in statistics])) for b in range(len(cube.bands))]
        std = [max(float(np.mean([s[b].std for s in statistics])), 1e-6) for b in range(len(cube.bands))]
    resolutions = [ground_resolution(f.cube.grid) for f in fields]
    known = [r for r in resolutions if r is not None]
    tile = max(params.tile // stride, 1) * stride
    return ModelCard(
        architecture=params.architecture,
        arguments=arguments,
        bands=cube.bands,
        mean=tuple(mean),
        std=tuple(std),
        classes=classes.names,
        colours=tuple(c.colour for c in classes.classes),
        resolution=float(np.exp(np.mean(np.log(known)))) if len(known) == len(resolutions) else None,
        stride=stride,
        tile=tile,
        margin=tile // 8,
        ramp=tile // 16,
        lineage=_lineage(params, fields, imagenet=imagenet),
    )


def _lineage(params: TrainParams, fields: list[_Field], *, imagenet: bool) -> dict[str, Any]:
    """Where a model comes from: enough to make it again, and to know what it must not be scored on."""
    return {
        "fingerprints": [f.cube.fingerprint for f in fields],
        "labels": [str(f.labels.made.about["made_by"]) for f in fields],
        "attribution": _owners(fields),
        "recipe": params.model_dump(mode="json", exclude={"resume"}),
        "imagenet": imagenet,
        "versions": {name: importlib.metadata.version(name) for name in ("geoloom", "torch", "timm")},
    }


def _owners(fields: list[_Field]) -> list[str]:
    """Whose the scenes are, and the vectors that their labels were made from."""
    scenes = {source.attribution for field in fields for source in field.workspace.sources}
    labels = {str(field.labels.made.about.get("attribution", "")) for field in fields}
    return sorted((scenes | labels) - {""})


def _precision(params: TrainParams, device: str) -> Literal["float32", "bf16-mixed"]:
    """bfloat16 where it was measured to help: CPUs without AMX take 2.4 times as long with it (models/recipe.py)."""
    if params.precision != "auto":
        return params.precision
    return "bf16-mixed" if device.startswith("cuda") else "float32"


def _scores(history: History, card: ModelCard, keep: Literal["best", "last"]) -> dict[str, Any]:
    """IoU of each class that occurs in the validation regions, and their mean; empty where there is no such region."""
    if not history.checks:
        return {}
    kept = (history.best if keep == "best" else None) or history.checks[-1]
    iou = {name: value for name, value in zip(card.classes, kept.iou, strict=True) if value is not None}
    return {"iou": iou, "mean_iou": kept.mean_iou, "step": kept.step}
