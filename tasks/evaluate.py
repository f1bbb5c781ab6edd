"""Evaluate: a map or labels against a truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.progress import Progress, counting
from infra.store import Store, write_json
from models.metrics import Scores
from tasks.evaluation_page import evaluation_page
from tasks.made_labels import open_made_labels
from tasks.raster.classes import ClassMap, class_map, renumbered
from tasks.raster.grid import Window, windows
from tasks.raster.ground import Ground
from tasks.raster.opening import open_raster
from tasks.raster.scene import read_plane, read_planes
from tasks.raster.truth import Truth, VectorTruth, as_told
from tasks.scoring import KINDS, NAMED, Scoring, Seen
from tasks.truth_file import open_truth_file
from tasks.truth_params import EvaluateParams
from tasks.workspace import Workspace, open_workspace

WINDOW = 2048
CELLS, COUNTS = 1 << 16, 1 << 22
"""Cells at most, and counts of pixels in them: more would be a burden to memory and to the report."""
MAP, PROBABILITIES = "products/classes.tif", "products/probability.tif"

Read = Callable[[Window], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation found."""

    report: str
    """The scores, as JSON."""
    page: str
    """The same for people, as HTML."""
    scores: Scores
    classes: tuple[str, ...]
    ablation: bool
    """True where what is scored has seen this truth: labels made from it, or a model trained on this scene."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """A map, or labels."""

    classes: ClassMap
    read: Read
    """(y, x) class ids."""
    leaks: bool
    """Whether the truth had a part in it."""
    fold: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    """A truth's classes as it can tell them."""
    planes: Read | None = None
    """(class, y, x) probabilities, 254ths; None where there are none."""
    objects: Read | None = None
    """(y, x) ids of objects; None where what hangs together is one."""


def evaluate(params: EvaluateParams, store: Store, *, progress: Progress) -> Evaluated:
    """Score the map, or the labels, against a truth: `scores.json` and `evaluation.html` (labels: `label_...`).

    Pixels where either side has no class do not count. A class that the truth cannot tell is `other` in the prediction
    too, where the truth knows `other`; and one that labels do not know is `other` in the truth, where they know that.

    Raises:
        UnusableInput: nothing to score, a truth that does not fit or made the labels, or no common pixel.
    """
    unknown = sorted(set(params.also) - {*KINDS, "pixels"})
    if unknown:
        raise UnusableInput(f"There are no scores '{unknown[0]}'; choose of {', '.join(KINDS)}, or pixels for none.")
    workspace = open_workspace(store)
    with ExitStack() as fetched:
        return _evaluate(params, workspace, _scored(workspace, params, fetched), progress=progress)


def _evaluate(params: EvaluateParams, workspace: Workspace, scored: _Scored, *, progress: Progress) -> Evaluated:
    classes = scored.classes
    if scored.leaks and params.what == "map":
        progress.note("The map's model was trained on this very scene: these scores are no evidence of its quality.")
    truth = open_truth_file(params.truth, params, grid=workspace.grid, classes=classes)
    shape = (workspace.grid.shape[0], workspace.grid.shape[1])
    ground = Ground(workspace.grid, workspace.control)
    told = as_told(truth, classes)
    if silent := [name for name in classes.names if told[classes.id(name)] != classes.id(name)]:
        progress.note(f"{params.truth} tells of no {', '.join(silent)} here: what is called so counts as `other`.")
    cell = _cell(params.cell, shape, classes=len(classes), progress=progress)
    # Of a scene beyond the workspace's bounds there is nothing: its extent ends before it begins.
    extents = {s.path: s.extent for s in workspace.sources if s.extent[2] > s.extent[0] and s.extent[3] > s.extent[1]}
    named = _named(params, classes, progress=progress)
    scoring = Scoring(classes, truth.ids, shape, ground, cell=cell, kinds=params.also, extents=extents, named=named)
    parts = list(windows(shape, WINDOW))
    with counting(progress, "evaluate", total=len(parts), unit="blocks") as bar:
        for window in parts:
            around = scoring.around(window)
            scoring.add(window, _seen(scored, truth, told, window, around, objects="objects" in params.also))
            bar.advance()
    results = scoring.results()
    if not results.matrix.sum():
        raise UnusableInput(
            f"No pixel of {params.truth} has a class where the scene has one; check that they are of the same place."
        )
    about = {"truth": params.truth, "what": params.what, "ablation": scored.leaks}
    prefix = "" if params.what == "map" else "label_"
    report, page = f"products/{prefix}scores.json", f"products/{prefix}evaluation.html"
    pictured = evaluation_page(
        results, workspace, lambda w: told[scored.read(w)], lambda w: scored.fold(truth.read(w)), classes, about=about
    )
    write_json(workspace.store, report, about | results.to_json())
    workspace.store.write(page, pictured.encode())
    url = workspace.store.url
    return Evaluated(f"{url}/{report}", f"{url}/{page}", results.scores, classes.names, scored.leaks)


def _named(params: EvaluateParams, classes: ClassMap, *, progress: Progress) -> dict[str, str]:
    """The classes whose objects and whose roads are scored."""
    named = {"objects": params.object_class, "roads": params.road_class}
    for kind, option in (("objects", "--object-class"), ("roads", "--road-class")):
        if kind in params.also and (name := named[kind]) not in classes.names:
            told = f"The map's classes are {', '.join(classes.names)}: there is no '{name}' to score {kind} of"
            if name != NAMED[kind]:
                raise UnusableInput(f"{told}; name one of them with {option}.")
            progress.note(f"{told}; {option} names another.")
    return named


def _cell(side: int, shape: tuple[int, int], *, classes: int, progress: Progress) -> int:
    """The side of the cells, doubled until they are few enough."""
    cell = side
    most = min(CELLS, max(COUNTS // classes**2, 1))
    while math.prod(-(-length // cell) for length in shape) > most:
        cell *= 2
    if cell > side:
        progress.note(f"Cells of {side}² pixels would be more than {most:,}: they are {cell}² instead.")
    return cell


def _seen(
    scored: _Scored, truth: Truth, told: NDArray[np.uint8], window: Window, around: Window, *, objects: bool
) -> Seen:
    planes = None if scored.planes is None else scored.planes(window)
    if planes is not None:
        for klass in np.flatnonzero(told[: len(planes)] != np.arange(len(planes))):
            planes[0] += np.where(planes[0] == np.uint8(255), np.uint8(0), planes[klass])
            planes[klass] = np.where(planes[klass] == np.uint8(255), np.uint8(255), np.uint8(0))
    return Seen(
        scored.fold(truth.read(around)),
        renumbered(scored.read(around), told),
        planes,
        truth.objects(around) if objects and isinstance(truth, VectorTruth) else None,
        scored.objects(around) if objects and scored.objects is not None else None,
    )


def _scored(workspace: Workspace, params: EvaluateParams, fetched: ExitStack) -> _Scored:
    if params.what == "labels":
        made = open_made_labels(workspace)
        leaks = made.refuse_their_truth(params.truth, ablation=params.ablation)
        told = "objects" in params.also and made.has_objects()
        objects = (lambda window: made.read(window, "instance")) if told else None
        return _Scored(made.classes, made.read, leaks, made.fold, None, objects)
    if not workspace.store.exists(MAP):
        raise UnusableInput(
            f"There is no map in {workspace.store.url} yet; make one with 'geoloom predict' and 'geoloom mosaic'."
        )
    path = fetched.enter_context(workspace.store.fetched(MAP))
    tags = _tags(path)
    if tags.get("GEOLOOM_CUBE") != workspace.cube().fingerprint:
        raise UnusableInput(
            f"The map in {workspace.store.url} is of other pixels than its cube's, or was not written by "
            "'geoloom mosaic'; run 'geoloom predict' and 'mosaic' again."
        )
    planes = None
    if set(params.also) & {"objects", "roads", "curves", "calibration"} and workspace.store.exists(PROBABILITIES):
        shares = fetched.enter_context(workspace.store.fetched(PROBABILITIES))
        same = ("GEOLOOM_CUBE", "GEOLOOM_MODEL_SHA256", "GEOLOOM_PARAMETERS")
        if all(_tags(shares).get(name) == tags[name] for name in same):  # else they are an older map's

            def planes(window: Window) -> NDArray[Any]:
                return read_planes(shares, window)

    names = tuple(tags["CLASS_NAMES"].split(","))
    return _Scored(
        class_map(names),
        lambda window: read_plane(path, window),
        tags["GEOLOOM_TRAINED_HERE"] == "yes",
        lambda truth: truth,
        planes,
    )


def _tags(path: Path) -> dict[str, str]:
    with open_raster(path) as source:
        found: dict[str, str] = source.tags()
    return found
