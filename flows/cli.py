"""The command line: every command reads its options into a step's parameters and calls the step."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from flows import steps
from flows.dataset_cli import dataset_app
from flows.models_cli import models_app
from flows.show import Show
from flows.terminal import Outcome, explain
from flows.workspace_cli import Workspace, clean, collect, export, review, status
from tasks.label_params import LabelParams
from tasks.params import (
    ClusterParams,
    IngestParams,
    MosaicParams,
    PredictParams,
    RunParams,
    TrainParams,
    VectorizeParams,
    WorldParams,
    split_commas,
)
from tasks.truth_params import EvaluateParams

app = App(
    name="geoloom",
    help="Maps of roads and buildings out of scenes too big for memory.",
    help_format="markdown",
    default_parameter=Parameter(negative=(), consume_multiple=True),
)
WRONG_USAGE = 2
app.command(models_app)
app.command(dataset_app)
for _command in (review, export, collect, status, clean):
    app.command(_command)

Flat = Parameter(name="*")


Run = Annotated[RunParams, Flat]
Across = Annotated[ClusterParams, Flat]
Out = Annotated[str, Parameter(name="--out", help="The workspace: a folder, or s3://bucket/prefix.")]
ModelFolder = Annotated[Path, Parameter(help="The model's folder.")]
SceneFile = Annotated[Path, Parameter(help="The scene, NAME.tif.")]


@app.command(name="map")
def map_(params: Annotated[IngestParams, Flat], *, out: Out, model: str | None = None, label: LabelParams | None = None,
        train: TrainParams | None = None, predict: PredictParams | None = None,
        mosaic: MosaicParams = MosaicParams(), vectorize: VectorizeParams = VectorizeParams(),
        evaluate: EvaluateParams | None = None, run: Run = RunParams(), show: Show = Show()) -> None:  # fmt: skip
    """Map scenes: ingest, label and train where asked for, predict, mosaic, vectorize, evaluate where there is a truth.

    Parameters
    ----------
    model: A model's folder, or a name from 'geoloom models list'; several with commas between; the default if none.
    """
    with show.speak("map") as (outcome, progress):
        from infra.lease import hold
        from infra.store import open_store

        chosen = predict or PredictParams()
        if model is not None:
            chosen = chosen.model_copy(update={"model": split_commas(model)})
        with hold(open_store(out), command="map", under=run.lease):  # before Prefect: who comes second leaves at once
            steps.require_scenes(params)
            from flows.local_server import quiet_prefect

            quiet_prefect()
            from flows.artifacts import also_telling
            from flows.map_scenes import map_scenes

            progress.note("Starting the Prefect flow map-scenes ...")
            with also_telling(progress):
                outcome.outputs |= map_scenes(
                    out,
                    params,
                    label=label,
                    train=train,
                    predict=chosen,
                    mosaic=mosaic,
                    vectorize=vectorize,
                    evaluate=evaluate,
                    run=run,
                )
        outcome.without(outcome.outputs.pop("left_out", "").splitlines())
        lost = outcome.outputs.pop("lost_tiles", None)
        if lost:
            outcome.holes(lost.split("; "))
        outcome.lines += [f"{name}: {value}" for name, value in outcome.outputs.items()]


@app.command
def ingest(
    params: Annotated[IngestParams, Flat], *, out: Out, run: Across = ClusterParams(), show: Show = Show()
) -> None:
    """Bring scenes into a workspace's cube."""
    with show.speak("ingest") as (outcome, progress):
        done = steps.ingest(params, out, run=run, progress=progress)
        outcome.outputs["cube"] = f"{done.workspace}/cube.zarr"
        outcome.counts |= {
            "mpix": done.rows * done.columns / 1e6,
            "units_total": done.units_total,
            "units_run": done.units_run,
        }
        outcome.lines.append(
            f"{out}: {done.columns} x {done.rows} pixels, bands {', '.join(done.bands)}, {done.valid_share:.1%} valid"
        )
        outcome.without(done.left_out)


@app.command
def label(workspace: Workspace, params: Annotated[LabelParams, Flat] = LabelParams(), *, run: Run = RunParams(),
          show: Show = Show()) -> None:  # fmt: skip
    """Label a workspace's cube."""
    with show.speak("label") as (outcome, progress):
        done = steps.label(params, workspace, run=run, progress=progress)
        outcome.outputs["labels"] = done.labels
        outcome.counts |= {
            "labelled": done.labelled,
            "shares": done.shares,
            "units_total": done.units_total,
            "units_run": done.units_run,
            "dropped": done.dropped,
        }
        shares = ", ".join(f"{name} {share:.1%}" for name, share in done.shares.items() if share)
        outcome.lines.append(f"{done.labels}: {done.labelled:.1%} of the pixels labelled ({shares})")


@app.command
def train(workspaces: list[str], /, *, out: ModelFolder, params: Annotated[TrainParams, Flat] = TrainParams(),
          run: Run = RunParams(), show: Show = Show()) -> None:  # fmt: skip
    """Train a network on the labels of workspaces."""
    with show.speak("train") as (outcome, progress):
        done = steps.train(params, workspaces, out, run=run, progress=progress)
        outcome.outputs |= {"model": done.model, "curves": done.curves}
        outcome.counts |= {"steps": done.steps, "scores": done.scores, "disagreement": done.disagreement}
        outcome.lines.append(f"{done.model}: trained for {done.steps} steps; validation: {done.scores['validation']}")


@app.command
def predict(workspace: Workspace, params: Annotated[PredictParams, Flat] = PredictParams(), *, run: Run = RunParams(),
            show: Show = Show()) -> None:  # fmt: skip
    """Run a model over a workspace's cube."""
    with show.speak("predict") as (outcome, progress):
        done = steps.predict(params, workspace, run=run, progress=progress)
        outcome.counts |= {
            "tiles_total": done.tiles_total,
            "tiles_run": done.tiles_run,
            "units_total": done.units_total,
            "units_run": done.units_run,
            "trained_here": done.trained_here,
            "plan": done.plan.to_json(),
            "estimate": asdict(done.estimate),
        }
        if params.plan:
            outcome.lines += done.plan.lines() + done.estimate.lines()
            return
        outcome.outputs["probability"] = done.probability
        outcome.lines.append(
            f"{done.probability}: {done.units_run} of {done.units_total} blocks and {done.tiles_run} of "
            f"{done.tiles_total} tiles were to be done"
        )
        if done.lost:
            outcome.holes(done.lost)


@app.command
def mosaic(workspace: Workspace, params: Annotated[MosaicParams, Flat] = MosaicParams(), *,
           show: Show = Show()) -> None:  # fmt: skip
    """Write classes.tif and probability.tif."""
    with show.speak("mosaic") as (outcome, progress):
        done = steps.mosaic(workspace, params, progress=progress)
        outcome.outputs |= done.products
        outcome.counts |= {"units_total": done.units_total, "units_run": done.units_run}
        outcome.lines += done.products.values()


@app.command
def vectorize(workspace: Workspace, params: Annotated[VectorizeParams, Flat] = VectorizeParams(), *,
              run: Across = ClusterParams(), show: Show = Show()) -> None:  # fmt: skip
    """Draw buildings and roads: GeoPackage, GeoParquet and PMTiles."""
    with show.speak("vectorize") as (outcome, progress):
        done = steps.vectorize(params, workspace, run=run, progress=progress)
        outcome.outputs |= done.products
        outcome.counts |= {
            "features": done.features,
            "units_total": done.units_total,
            "units_run": done.units_run,
        }
        outcome.lines += [f"{layer}: {count} features" for layer, count in done.features.items()]
        outcome.lines += done.products.values()


@app.command
def evaluate(workspace: Workspace, params: Annotated[EvaluateParams, Flat], *, show: Show = Show()) -> None:
    """Score a map or labels against a truth."""
    with show.speak("evaluate") as (outcome, progress):
        done = steps.evaluate(params, workspace, progress=progress)
        outcome.outputs |= {"scores": done.report, "page": done.page}
        outcome.counts["scores"] = done.scores.to_json()
        _tell_scores(outcome, done)


@app.command
def world(params: Annotated[WorldParams, Flat] = WorldParams(), *, out: SceneFile, show: Show = Show()) -> None:
    """Make a procedural scene with its truth beside it."""
    with show.speak("world") as (outcome, progress):
        done = steps.make_world(params, out, progress=progress)
        outcome.outputs |= asdict(done)
        outcome.lines += [f"{name}: {path}" for name, path in asdict(done).items()]


@app.command
def demo(*, out: Annotated[Path, Parameter(help="The demo's folder.")] = Path("demo"), minutes: float = 3.0,
         run: Run = RunParams(), show: Show = Show()) -> None:  # fmt: skip
    """Label and train on a window of one scene, and map another.

    Parameters
    ----------
    minutes: How long the network trains.
    """
    with show.speak("demo") as (outcome, progress):
        from flows.local_server import quiet_prefect

        quiet_prefect()
        from flows.artifacts import also_telling
        from flows.run_demo import run_demo

        progress.note("Starting the Prefect flow run-demo ...")
        with also_telling(progress):
            made, rows = run_demo(str(out), minutes, run)
        outcome.outputs |= made
        outcome.lines += _score_lines(rows)
        outcome.lines.append(
            f"That is what {minutes:g} minutes of training on one window give; a longer one gives more."
        )
        outcome.lines += [f"{name}: {path}" for name, path in made.items()]


def _score_lines(rows: list[tuple[str, str, str]]) -> list[str]:
    return [f"{name:<12} {iou:>8} {accuracy:>8}" for name, iou, accuracy in rows]


def _tell_scores(outcome: Outcome, done: Any) -> None:
    from flows.score_table import score_rows

    outcome.lines += _score_lines(score_rows(done))
    outcome.lines.append(f"written to {done.report}")


def _collect_less() -> None:
    """Look for garbage less often: importing torch makes a million objects that stay, and each look costs more.

    Of a command's fixed cost, 1.2 s of imports and 1 s at the end were this (`benchmarks.fixed_cost`).
    """
    gc.set_threshold(50_000, 20, 50)
    atexit.register(gc.freeze)


def main() -> None:
    """The entry point: exit codes are those of `infra/errors.py`."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    _collect_less()
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        cause = error.__cause__
        said = explain(cause) if isinstance(cause, ValidationError) else " ".join(str(error).split())
        print(f"geoloom: {said}", file=sys.stderr)  # noqa: T201
        sys.exit(WRONG_USAGE)


if __name__ == "__main__":
    main()
