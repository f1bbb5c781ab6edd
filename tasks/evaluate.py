"""Evaluate: a map or labels against a truth."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.progress import Progress, counting
from infra.store import Store, write_json
from models.metrics import Confusion, Scores
from tasks.made_labels import open_made_labels
from tasks.params import EvaluateParams
from tasks.raster import grid as grids
from tasks.raster.classes import ClassMap, class_map
from tasks.raster.opening import open_raster
from tasks.raster.scene import read_plane
from tasks.raster.truth import as_told
from tasks.truth_file import open_truth_file
from tasks.workspace import Workspace, open_workspace

WINDOW = 2048
MAP = "products/classes.tif"

Read = Callable[[grids.Window], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation found."""

    report: str
    scores: Scores
    classes: tuple[str, ...]
    ablation: bool
    """True where what is scored has seen this truth: labels made from it, or a model trained on this scene."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """A map, or labels."""

    classes: ClassMap
    read: Read
    leaks: bool
    """Whether the truth had a part in it."""
    fold: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    """A truth's classes as it can tell them."""


def evaluate(params: EvaluateParams, store: Store, *, progress: Progress) -> Evaluated:
    """Score the map, or the labels, against a truth, and write `products/scores.json` (or `label_scores.json`).

    Pixels where either side has no class do not count. A class that the truth cannot tell is `other` in the prediction
    too, where the truth knows `other`; and one that labels do not know is `other` in the truth, where they know that.

    Raises:
        UnusableInput: nothing to score, a truth that does not fit or made the labels, or no common pixel.
    """
    workspace = open_workspace(store)
    with ExitStack() as fetched:
        return _evaluate(params, workspace, _scored(workspace, params, fetched), progress=progress)


def _evaluate(params: EvaluateParams, workspace: Workspace, scored: _Scored, *, progress: Progress) -> Evaluated:
    classes = scored.classes
    if scored.leaks and params.what == "map":
        progress.note("The map's model was trained on this very scene: these scores are no evidence of its quality.")
    truth = open_truth_file(params.truth, params, grid=workspace.grid, classes=classes)
    told = as_told(truth, classes)
    confusion = Confusion(len(classes))
    shape = (workspace.grid.shape[0], workspace.grid.shape[1])
    windows = list(grids.windows(shape, WINDOW))
    with counting(progress, "evaluate", total=len(windows), unit="blocks") as bar:
        for window in windows:
            confusion.add(scored.fold(truth.read(window)), told[scored.read(window)])
            bar.advance()
    if not confusion.matrix.sum():
        raise UnusableInput(
            f"No pixel of {params.truth} has a class where the scene has one; check that they are of the same place."
        )
    scores = confusion.scores()
    report = f"products/{'scores.json' if params.what == 'map' else 'label_scores.json'}"
    document = {
        "truth": params.truth,
        "what": params.what,
        "classes": list(classes.names),
        "ablation": scored.leaks,
        **scores.to_json(),
        "confusion": confusion.matrix.tolist(),
    }
    write_json(workspace.store, report, document)
    return Evaluated(f"{workspace.store.url}/{report}", scores, classes.names, scored.leaks)


def _scored(workspace: Workspace, params: EvaluateParams, fetched: ExitStack) -> _Scored:
    if params.what == "labels":
        made = open_made_labels(workspace)
        leaks = made.refuse_their_truth(params.truth, ablation=params.ablation)
        return _Scored(made.classes, made.read, leaks, made.fold)
    if not workspace.store.exists(MAP):
        raise UnusableInput(
            f"There is no map in {workspace.store.url} yet; make one with 'geoloom predict' and 'geoloom mosaic'."
        )
    path = fetched.enter_context(workspace.store.fetched(MAP))
    with open_raster(path) as source:
        tags = source.tags()
    if tags["GEOLOOM_CUBE"] != workspace.cube().fingerprint:
        raise UnusableInput(
            f"The map in {workspace.store.url} is of other pixels than its cube's; "
            "run 'geoloom predict' and 'mosaic' again."
        )
    names = tuple(tags["CLASS_NAMES"].split(","))

    def read(window: grids.Window) -> NDArray[np.uint8]:
        return read_plane(path, window)

    return _Scored(class_map(names), read, tags["GEOLOOM_TRAINED_HERE"] == "yes", lambda truth: truth)
