"""What each part of a recipe brings, on folds of Dubai's tiles 1 to 6: trained on some, scored on the others, whole.

    python -m benchmarks.ablation [--recipes usual,...] [--folds 25,14,36] [--seeds 0] [--steps 800] [--threads 1]

A fold names the tiles that are scored; the network learns from the rest. Every run is kept as JSON, and is not made
again; one that was interrupted goes on where it stopped. The table is of all runs of these steps. Tile 8 is not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.page import Result, number, parser, publish
from flows import steps
from infra.progress import Silent
from infra.settings import settings
from infra.store import open_store
from models.history import History
from models.resume import STATE_NAME
from models.train import HISTORY_NAME
from tasks.label_params import LabelParams
from tasks.params import ClusterParams, IngestParams, PredictParams, RunParams, TrainParams
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.dubai import write_scene
from tasks.raster.fingerprint import fingerprint
from tasks.score_results import scores_of
from tasks.truth_params import EvaluateParams

TILES = (1, 2, 3, 4, 5, 6)
CLASSES = DEFAULT_CLASSES.names[1:]
LITE2 = "tu-tf_efficientnet_lite2"


def _views(**how: Any) -> dict[str, Any]:
    return {"augment": {"blur": 0.0, "noise": 0.0} | how}


USUAL: dict[str, Any] = {
    "loss": {"dice": 0.0},
    "balance": "none",
    "draw": "area",
    "augment": {"blur": 0.0, "noise": 0.0},
}
RECIPES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "usual": ("cross-entropy, flips, turns, zoom and light", USUAL),
    "dice": ("usual, and soft Dice", USUAL | {"loss": {"dice": 1.0}}),
    "lovasz": ("usual, and Lovász", USUAL | {"loss": {"dice": 0.0, "lovasz": 1.0}}),
    "context": ("usual, chips of 512², half as many a step, half the steps", USUAL | {"chip": 512, "batch": 4}),
    "lite2": ("usual, EfficientNet-Lite2", USUAL | {"encoder": LITE2}),
    "slow encoder": ("usual, a fifth of the learning rate for the encoder", USUAL | {"encoder_rate": 0.2}),
    "flat": (
        "Lite2, a constant rate, weights averaged over some 500 steps",
        USUAL | {"encoder": LITE2, "schedule": "constant", "average": 0.998},
    ),
    "smooth": ("Lite2, labels smoothed by 0.1", USUAL | {"encoder": LITE2, "loss": {"dice": 0.0, "smoothing": 0.1}}),
    "wide zoom": ("usual, zoom 0.5 to 2 instead of 0.7 to 1.4", USUAL | _views(zoom=[0.5, 2.0])),
    "light": (
        "usual, twice the change of light",
        USUAL | _views(brightness=0.6, colour=0.3, contrast=0.5, gamma=2.0),
    ),
    "dim": (
        "usual, half the change of light",
        USUAL | _views(brightness=0.15, colour=0.07, contrast=0.15, gamma=1.25),
    ),
    "paste": ("usual, objects pasted from other chips into a third", USUAL | _views(paste=0.33)),
    "cutout": ("usual, holes in half of the chips", USUAL | _views(cutout=0.5)),
    "dice and blur": (
        "usual, and soft Dice, blur and noise",
        USUAL | {"loss": {"dice": 1.0}} | _views(blur=0.15, noise=0.15),
    ),
    "weighed": ("usual, classes weighed by the root of their frequency", USUAL | {"balance": "root"}),
    "drawn": ("usual, chips drawn for each class alike", USUAL | {"draw": "classes"}),
    "both": ("usual, classes weighed, and drawn alike", USUAL | {"balance": "root", "draw": "classes"}),
}
"""What each is, and the options in which it differs from the defaults of `geoloom train`."""


def main() -> None:
    """Train and score what is missing, tell."""
    words = parser("ablation", __doc__)
    words.add_argument("--recipes", type=lambda text: text.split(","), default=["usual", "dice"])
    words.add_argument("--folds", type=lambda text: text.split(","), default=["25", "14", "36"])
    words.add_argument("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[0])
    words.add_argument("--steps", type=int, default=800)
    words.add_argument("--threads", type=int, default=None)
    options = words.parse_args()
    for seed in options.seeds:
        for recipe in options.recipes:
            for fold in options.folds:
                made = run(options.out, recipe, fold, seed, options.steps, options.threads)
                print(recipe, fold, seed, number(mean(iou_of([made]).values())), flush=True)
    publish(_result(_all_runs(options.out, options.steps), options.steps), options)


def run(out: Path, recipe: str, fold: str, seed: int, count: int, threads: int | None) -> dict[str, Any]:
    """One training and its scores, by tile: confusion matrices."""
    params, name = _params(recipe, seed, count), _name(recipe, fold, seed, count)
    kept = _folder(out, count) / f"{name}.json"
    if kept.is_file():
        done: dict[str, Any] = json.loads(kept.read_text())
        return done
    held, model = [int(tile) for tile in fold], out / "models" / f"ablation-{count}-{name}"
    more = {"threads": threads, "resume": (model / STATE_NAME).is_file()}
    params = params.model_copy(update=more)
    learn = [str(_workspace(out, tile)) for tile in TILES if tile not in held]
    trained = steps.train(params, learn, model, run=RunParams(), progress=Silent())
    matrices = {str(tile): _score(out, tile, model) for tile in held}
    seconds = History.from_json((model / HISTORY_NAME).read_text()).steps[-1].seconds
    found = {
        "recipe": recipe, "fold": fold, "seed": seed, "steps": trained.steps, "seconds": seconds, "matrices": matrices
    }  # fmt: skip
    kept.write_text(json.dumps(found))
    return found


def _params(recipe: str, seed: int, count: int) -> TrainParams:
    return TrainParams.model_validate(
        {"steps": count // 2 if recipe == "context" else count, "seed": seed, "keep": "last", "validation_share": 0}
        | RECIPES[recipe][1]
    )


def _name(recipe: str, fold: str, seed: int, count: int) -> str:
    """Of a run; another one where a recipe has changed under its name."""
    mark = fingerprint(_params(recipe, seed, count).model_dump(mode="json"))[:8]
    return f"{recipe}-{fold}-{seed}-{mark}".replace(" ", "-")


def _folder(out: Path, count: int) -> Path:
    folder = out / "results" / f"ablation-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _workspace(out: Path, tile: int) -> Path:
    """A tile with its truth for labels; made once."""
    workspace = out / "workspaces" / f"dubai-{tile}"
    if open_store(str(workspace)).exists("labels.zarr/zarr.json"):
        return workspace
    scene, truth = write_scene(settings().data_dir / "dubai", tile, out / "scenes")
    steps.ingest(IngestParams(scenes=(str(scene),)), str(workspace), run=ClusterParams(), progress=Silent())
    steps.label(LabelParams(method=("truth",), truth=str(truth)), str(workspace), run=RunParams(), progress=Silent())
    return workspace


def _score(out: Path, tile: int, model: Path) -> list[list[int]]:
    """A tile mapped by a model that never saw it: pixels by true and predicted class."""
    workspace = str(_workspace(out, tile))
    steps.predict(PredictParams(model=(str(model),)), workspace, run=RunParams(), progress=Silent())
    steps.mosaic(workspace, progress=Silent())
    truth = str(out / "scenes" / f"dubai_{tile}_truth.tif")
    done = steps.evaluate(EvaluateParams(truth=truth, also=("pixels",)), workspace, progress=Silent())
    matrix: list[list[int]] = json.loads(Path(done.report).read_text())["confusion"]
    return matrix


def _all_runs(out: Path, count: int) -> list[dict[str, Any]]:
    """All that were made by a recipe as it is today."""
    kept = [(path.stem, json.loads(path.read_text())) for path in sorted(_folder(out, count).glob("*.json"))]
    return [
        run
        for name, run in kept
        if run["recipe"] in RECIPES and name == _name(run["recipe"], run["fold"], run["seed"], count)
    ]


def iou_of(runs: list[dict[str, Any]]) -> dict[str, float]:
    """IoU of each class over all tiles of the runs together."""
    total = np.sum([np.array(m) for run in runs for m in run["matrices"].values()], axis=0)
    return dict(zip(CLASSES, scores_of(total).iou[1:], strict=True))


def _result(runs: list[dict[str, Any]], count: int) -> Result:
    """A row for each recipe: over its folds together, the mean of its seeds, and how far those lie apart."""
    rows, data = [], {}
    for recipe, (what, _) in RECIPES.items():
        own = [run for run in runs if run["recipe"] == recipe]
        seeds = sorted({run["seed"] for run in own})
        if not own:
            continue
        each = [iou_of([run for run in own if run["seed"] == seed]) for seed in seeds]
        means = [mean(one.values()) for one in each]
        folds = ", ".join(sorted({run["fold"] for run in own}))
        apart = f" ± {(max(means) - min(means)) / 2:.3f}" if len(means) > 1 else ""
        cells = [number(mean(one[name] for one in each)) for name in CLASSES]
        cost = mean(run["seconds"] for run in own) / 60
        rows.append((recipe, what, folds, str(len(seeds)), f"{mean(means):.3f}{apart}", *cells, f"{cost:.0f}"))
        data[recipe] = {"folds": folds, "seeds": seeds, "mean_iou": means, "iou": each, "minutes": cost}
    return Result(
        "ablation",
        "What a recipe's parts bring",
        f"Dubai's tiles 1 to 6 in folds: {count} steps on the tiles that a fold does not name, scored on those that it "
        "names, mapped whole as `geoloom map` maps them. IoU over the tiles of all folds together; ± is half of "
        "the span of the seeds.",
        ("recipe", "what", "folds", "seeds", "mean IoU", *CLASSES, "minutes a run"),
        tuple(rows),
        data,
    )


if __name__ == "__main__":
    main()
