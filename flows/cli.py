"""The command line: every command reads its options into a step's parameters and calls the step."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from flows import steps
from flows.terminal import Outcome, command, explain
from tasks.params import (
    ClusterParams,
    DeviceParams,
    EvaluateParams,
    IngestParams,
    LabelParams,
    PredictParams,
    RunParams,
    TrainParams,
    WorldParams,
)

app = App(
    name="geoloom",
    help="Maps of roads and buildings out of scenes too big for memory.",
    help_format="markdown",
    default_parameter=Parameter(negative=(), consume_multiple=True),
)
WRONG_USAGE = 2
models_app = App(name="models", help="Models that come with geoloom, and weights to fetch.")
app.command(models_app)

Flat = Parameter(name="*")


@Parameter(name="*")
@dataclass(frozen=True)
class Show:
    """How a command speaks."""

    json: bool = False
    """End with one JSON object on standard output."""
    quiet: bool = False
    """Print nothing but errors."""
    debug: bool = False
    """Print the traceback of an error."""

    def speak(self, name: str) -> Any:
        """The frame that a command's body runs in."""
        return command(name, as_json=self.json, quiet=self.quiet, debug=self.debug)


Run = Annotated[RunParams, Flat]
On = Annotated[DeviceParams, Flat]
Across = Annotated[ClusterParams, Flat]
Out = Annotated[Path, Parameter(name="--out", help="The workspace's folder.")]
ModelFolder = Annotated[Path, Parameter(help="The model's folder.")]
SceneFile = Annotated[Path, Parameter(help="The scene, NAME.tif.")]
Workspace = Annotated[Path, Parameter(help="The workspace's folder.")]


@app.command(name="map")
def map_(params: Annotated[IngestParams, Flat], *, out: Out, model: str | None = None, label: LabelParams | None = None,
        train: TrainParams | None = None, predict: PredictParams | None = None, evaluate: EvaluateParams | None = None,
        run: Run = RunParams(), show: Show = Show()) -> None:  # fmt: skip
    """Map scenes: ingest, label and train where asked for, predict, mosaic, evaluate where there is a truth.

    Parameters
    ----------
    model: A model's folder, or a name from 'geoloom models list'; the default model if none.
    """
    with show.speak("map") as (outcome, progress):
        from flows.local_server import quiet_prefect

        quiet_prefect()
        from flows.artifacts import also_telling
        from flows.map_scenes import map_scenes

        chosen = predict or PredictParams()
        if model is not None:
            chosen = chosen.model_copy(update={"model": model})
        progress.note("Starting the Prefect flow map-scenes ...")
        with also_telling(progress):
            outcome.outputs |= map_scenes(
                str(out), params, label=label, train=train, predict=chosen, evaluate=evaluate, run=run
            )
        outcome.lines += [f"{name}: {value}" for name, value in outcome.outputs.items()]


@app.command
def ingest(
    params: Annotated[IngestParams, Flat], *, out: Out, run: Across = ClusterParams(), show: Show = Show()
) -> None:
    """Bring scenes into a workspace's cube."""
    with show.speak("ingest") as (outcome, progress):
        done = steps.ingest(params, out, run=run, progress=progress)
        outcome.outputs["cube"] = str(out / "cube.zarr")
        outcome.counts |= {"mpix": done.rows * done.columns / 1e6, "units_total": done.blocks, "units_run": done.blocks}
        outcome.lines.append(
            f"{out}: {done.columns} x {done.rows} pixels, bands {', '.join(done.bands)}, {done.valid_share:.1%} valid"
        )


@app.command
def label(workspace: Workspace, params: Annotated[LabelParams, Flat] = LabelParams(), *, run: On = DeviceParams(),
          show: Show = Show()) -> None:  # fmt: skip
    """Label a workspace's cube."""
    with show.speak("label") as (outcome, progress):
        done = steps.label(params, workspace, run=run, progress=progress)
        outcome.outputs["labels"] = done.labels
        outcome.counts |= {"labelled": done.labelled, "shares": done.shares}
        shares = ", ".join(f"{name} {share:.1%}" for name, share in done.shares.items() if share)
        outcome.lines.append(f"{done.labels}: {done.labelled:.1%} of the pixels labelled ({shares})")


@app.command
def train(workspaces: list[Path], /, *, out: ModelFolder, params: Annotated[TrainParams, Flat] = TrainParams(),
          run: On = DeviceParams(), show: Show = Show()) -> None:  # fmt: skip
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
        outcome.outputs["probability"] = done.probability
        outcome.counts |= {
            "tiles_total": done.tiles_total,
            "tiles_run": done.tiles_run,
            "units_total": done.blocks,
            "units_run": done.blocks,
            "trained_here": done.trained_here,
        }
        outcome.lines.append(f"{done.probability}: {done.tiles_run} of {done.tiles_total} tiles held data and were run")


@app.command
def mosaic(workspace: Workspace, *, show: Show = Show()) -> None:
    """Write classes.tif and probability.tif."""
    with show.speak("mosaic") as (outcome, progress):
        done = steps.mosaic(workspace, progress=progress)
        outcome.outputs |= {"classes": done.classes, "probability": done.probability}
        outcome.lines += [done.classes, done.probability]


@app.command
def evaluate(workspace: Workspace, params: Annotated[EvaluateParams, Flat], *, show: Show = Show()) -> None:
    """Score a map or labels against a truth."""
    with show.speak("evaluate") as (outcome, progress):
        done = steps.evaluate(params, workspace, progress=progress)
        outcome.outputs["scores"] = done.report
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


@models_app.command(name="list")
def list_models(*, show: Show = Show()) -> None:
    """List the models that come with geoloom."""
    with show.speak("models list") as (outcome, _):
        from tasks.model import DEFAULT, shipped_models

        found = shipped_models()
        outcome.outputs |= {name: str(path) for name, path in found.items()} | {"default": str(found.get(DEFAULT, ""))}
        outcome.lines += [f"{name}: {path}{' (default)' if name == DEFAULT else ''}" for name, path in found.items()]


@models_app.command(name="show")
def show_model(name: str = "default", /, *, show: Show = Show()) -> None:
    """Show what a model is, was trained on and scores."""
    with show.speak("models show") as (outcome, _):
        from tasks.model import describe_model

        outcome.outputs |= describe_model(name)
        outcome.lines += [f"{key}: {value}" for key, value in outcome.outputs.items()]


@models_app.command(name="fetch")
def fetch_model(name: str, /, *, show: Show = Show()) -> None:
    """Fetch weights: sam-vit-t, sam-vit-b, sam-vit-l, sam-vit-h, efficientnet-lite0."""
    with show.speak("models fetch") as (outcome, progress):
        from tasks.fetch_model import fetch_model as step

        outcome.outputs |= step(name, progress=progress)
        outcome.lines.append(f"{name}: {outcome.outputs['folder']}")


def _score_lines(rows: list[tuple[str, str, str]]) -> list[str]:
    return [f"{name:<12} {iou:>8} {accuracy:>8}" for name, iou, accuracy in rows]


def _tell_scores(outcome: Outcome, done: Any) -> None:
    from flows.score_table import score_rows

    outcome.lines += _score_lines(score_rows(done))
    outcome.lines.append(f"written to {done.report}")


def main() -> None:
    """The entry point: exit codes are those of `infra/errors.py`."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        cause = error.__cause__
        said = explain(cause) if isinstance(cause, ValidationError) else " ".join(str(error).split())
        print(f"geoloom: {said}", file=sys.stderr)  # noqa: T201
        sys.exit(WRONG_USAGE)


if __name__ == "__main__":
    main()
