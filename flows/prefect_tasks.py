"""The steps as Prefect tasks: each reports to its run's progress artifact and returns a small reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task

from flows import steps
from flows.artifacts import PrefectProgress, Share
from tasks.label_params import DemoScenes, LabelParams
from tasks.params import (
    ClusterParams,
    IngestParams,
    MosaicParams,
    PredictParams,
    RunParams,
    TrainParams,
    VectorizeParams,
)
from tasks.truth_params import EvaluateParams

# No result is persisted and nothing is retried by Prefect: what is done stands in the workspace.
_STEP: dict[str, Any] = {"persist_result": False, "retries": 0, "log_prints": False}


@task(name="ingest", **_STEP)
def ingest(params: IngestParams, out: str, run: ClusterParams, share: Share) -> tuple[str, list[str]]:
    """Scenes into a cube; returns the workspace, and why scenes were left out."""
    done = steps.ingest(params, out, run=run, progress=PrefectProgress(share))
    return done.workspace, list(done.left_out)


@task(name="label", **_STEP)
def label(params: LabelParams, out: str, run: RunParams, share: Share) -> str:
    """Labels for a cube; returns their place."""
    return steps.label(params, out, run=run, progress=PrefectProgress(share)).labels


@task(name="train", **_STEP)
def train(params: TrainParams, workspaces: list[str], out: str, run: RunParams, share: Share) -> str:
    """A network from labels; returns the model's folder."""
    return steps.train(params, workspaces, Path(out), run=run, progress=PrefectProgress(share)).model


@task(name="predict", **_STEP)
def predict(params: PredictParams, out: str, run: RunParams, share: Share) -> tuple[str, list[str]]:
    """A prediction for every pixel; returns its place, and the tiles that failed."""
    done = steps.predict(params, out, run=run, progress=PrefectProgress(share))
    return done.probability, list(done.lost)


@task(name="mosaic", **_STEP)
def mosaic(params: MosaicParams, out: str, share: Share) -> dict[str, str]:
    """GeoTIFFs; returns their paths, by name."""
    return steps.mosaic(out, params, progress=PrefectProgress(share)).products


@task(name="vectorize", **_STEP)
def vectorize(params: VectorizeParams, out: str, run: ClusterParams, share: Share) -> dict[str, str]:
    """Buildings and roads; returns their files, by name."""
    return steps.vectorize(params, out, run=run, progress=PrefectProgress(share)).products


@task(name="evaluate", **_STEP)
def evaluate(params: EvaluateParams, out: str, share: Share) -> tuple[str, list[tuple[str, str, str]]]:
    """Scores; returns the report's path and the rows of its table."""
    from flows.score_table import score_rows

    done = steps.evaluate(params, out, progress=PrefectProgress(share))
    return done.report, score_rows(done)


@task(name="draw", **_STEP)
def draw(out: str, truth: EvaluateParams | None) -> str:
    """A picture of scene, map and truth; returns its path."""
    return steps.draw(out, truth=truth)


@task(name="prepare-demo", **_STEP)
def prepare_demo(folder: str, share: Share) -> DemoScenes:
    """The demo's scenes; returns where they are and how to label them."""
    from tasks.prepare_demo import prepare_demo as step

    return step(Path(folder), progress=PrefectProgress(share))
