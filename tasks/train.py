"""Train: a network on labelled workspaces."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from infra.alone import alone_in
from infra.cluster import cores
from infra.crew import work_together
from infra.device import choose_device, processes_for
from infra.errors import UnusableInput
from infra.progress import Progress, counting
from infra.storage import make_folder
from models.card import ModelCard
from models.checkpoint import load_model, save_card, save_model
from models.chips import Chips
from models.curves import draw_curves
from models.history import History
from models.logs import open_logs, require_logs
from models.predictor import Predictor
from models.ranks import Rank
from models.recipe import Keep
from models.registry import learns_objects
from models.resume import saved_training
from models.temperature import fit_temperature
from models.train import TrainResult
from models.train import train as run_loop
from tasks.disagreement import choose_seams
from tasks.params import TrainParams
from tasks.raster.cube import Cube
from tasks.recipe_file import filled
from tasks.train_begin import begin, require_fit
from tasks.train_chips import drawer, validation_of
from tasks.train_fields import Field, lessons_of, never_labelled, open_fields
from tasks.train_past import architecture_of, is_same, learnt_before
from tasks.train_settings import recipe_of, settings_of

DRAWING = 8
"""Threads that read for one GPU, at most."""
CURVES = "curves.png"
OWN_LOSS_IGNORES = ("loss", "balance", "weigh_confidence")
"""Options that mean nothing to a network which learns by a loss of its own."""
MEASURED = 3
"""Scenes on which tiles are compared with one whole pass."""


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

    Where the folder holds the state of this very training, it goes on; one that is over is left as it is.

    Raises:
        UnusableInput: no labels, workspaces that do not go together, an unknown architecture, or a wrong recipe.
        UnwritableOutput: the model cannot be written.
        WorkspaceBusy: another training writes into the folder.
    """
    params = filled(params)
    require_logs(params.logs)
    make_folder(out)
    device = choose_device(device)
    count = processes_for(device, params.processes, batch=params.batch)
    if params.batch % count:
        raise UnusableInput(
            f"{count} processes cannot share a batch of {params.batch} evenly; give --batch {count} or a multiple."
        )
    if count > 1 and device == "cpu" and params.threads is None:
        params = params.model_copy(update={"threads": max(cores() // count, 1)})
    with alone_in(out):
        if count == 1:
            done = _train(0, 0, progress, params, workspaces, out, device, 1)
        else:
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
    saved = saved_training(out)
    past = saved.card if saved and params.resume else None
    before = learnt_before(params, past)
    fields = open_fields(params, workspaces, objects=learns_objects(architecture_of(params, past)), before=before)
    options, lessons = settings_of(params, fields, device=device), lessons_of(fields)
    goes_on = options
    if saved and params.precision == "auto":  # as it began, also where this machine would choose another
        goes_on = replace(options, precision=saved.settings.precision)
    if saved and is_same(saved, params, fields, goes_on, lessons):  # asked for again
        if saved.over and not params.logs and (done := _already(params, out, lessons)):  # a log may lack something
            return done
        past, params = saved.card, params.model_copy(update={"resume": True})
        if rank.leads:
            progress.note(f"Going on with the training in {out}, at step {saved.step:,} of {params.steps:,}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)  # of the weights that begin at random
        network, card = begin(params, fields, past, progress=progress)
    require_fit(network, card, chip=params.chip, part=max(params.batch // count // params.accumulate, 1))
    if rank.leads:
        for note in _notes(params, fields, card.architecture):
            progress.note(note)
    if params.threads:
        torch.set_num_threads(params.threads)
    validate = validation_of(fields, params.chip)
    names = params.logs if rank.leads else ()
    with open_logs(names, out, recipe=recipe_of(params), classes=card.classes, tell=progress.note) as logs:
        with counting(progress, "train", total=params.steps, unit="steps") as bar:
            result = run_loop(
                network,
                card,
                draw=drawer(params, fields, rank),
                validate=validate,
                settings=goes_on if params.resume else options,
                folder=out,
                progress=bar,
                device=device,
                resume=params.resume,
                lessons=lessons,
                tell=progress.note,
                rank=rank,
                threads=1 if device == "cpu" else max(min(cores() // count, DRAWING), 1),
                logs=logs,
            )
        if not rank.leads:
            return None
        done = _kept(params, result, card, fields, lessons, validate, out, device)
        logs.finish(done.scores["validation"], Path(done.curves), step=done.steps)
    return done


def _already(params: TrainParams, out: Path, lessons: dict[str, str]) -> Trained | None:
    """The model of a training that is over, where it lies whole in its folder."""
    try:
        _, card = load_model(out)
    except UnusableInput:
        return None
    told = (card.lineage.get("recipe"), card.lineage.get("lessons"))
    if told != (recipe_of(params), lessons) or card.disagreement is None or not (out / CURVES).is_file():
        return None
    return Trained(str(out), str(out / CURVES), int(str(card.lineage["steps"])), card.scores, card.disagreement)


def _notes(params: TrainParams, fields: list[Field], architecture: str) -> list[str]:
    """What a person should know before the first step."""
    notes = []
    if missing := never_labelled(fields):
        notes.append(f"No label of {', '.join(missing)} to learn from: the model cannot be expected to map it.")
    if params.validation_share and not any(f.plan.validation for f in fields):
        notes.append("No labelled region is left to validate on: the last weights are kept, and have no score.")
    if params.weigh_confidence and params.loss.lovasz:
        notes.append("Lovász does not know how sure a label is: --weigh-confidence has no part in that term.")
    unused = [name for name in OWN_LOSS_IGNORES if getattr(params, name) != TrainParams.model_fields[name].default]
    if fields[0].labels.objects and unused:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        notes.append(f"{architecture} learns by a loss of its own: {names} have no part in it.")
    return notes


def _kept(
    params: TrainParams,
    result: TrainResult,
    card: ModelCard,
    fields: list[Field],
    lessons: dict[str, str],
    validate: list[Chips],
    out: Path,
    device: str,
) -> Trained:
    """Write the model, measure its seams, draw its curves."""
    scores = {"validation": _scores(result.history, card, params.keep)}
    if (calibration := fit_temperature(result.network.to(device).eval(), validate, card)) is not None:
        scores["calibration"] = calibration.to_json()
        card = card.model_copy(update={"temperature": calibration.temperature})
    made = {"steps": result.steps, "lessons": lessons} | ({"fine_tuned_from": result.origin} if result.origin else {})
    card = card.model_copy(update={"scores": scores, "lineage": card.lineage | made})
    # Saved first: what the measurement below may cost in memory must not cost the training.
    card = save_model(out, result.network.cpu(), card, float16=params.weights == "float16")
    seams = choose_seams(Predictor(card, result.network, device=device), _measured(fields), tile=card.tile)
    card = card.model_copy(update=asdict(seams))
    save_card(out, card)
    curves = out / CURVES
    draw_curves(result.history, curves, classes=card.classes, colours=card.colours)
    return Trained(str(out), str(curves), result.steps, scores, seams.disagreement)


def _measured(fields: list[Field]) -> list[Cube]:
    """The largest scenes, on which seams are measured."""
    return sorted((f.cube for f in fields), key=lambda c: -c.grid.shape[0] * c.grid.shape[1])[:MEASURED]


def _scores(history: History, card: ModelCard, keep: Keep) -> dict[str, Any]:
    """IoU of each class that occurs in the validation regions, and their mean; empty where there is no such region."""
    if not history.checks:
        return {}
    kept = (history.best if keep == "best" else None) or history.checks[-1]
    iou = {name: value for name, value in zip(card.classes, kept.iou, strict=True) if value is not None}
    return {"iou": iou, "mean_iou": kept.mean_iou, "step": kept.step}
