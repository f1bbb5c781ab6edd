"""The steps, each with the cluster it runs on: called as they are by the command line, as Prefect tasks by flows.

Heavy libraries load inside: importing this file costs nothing, and importing a flow never imports torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from infra.progress import Progress
    from tasks.evaluate import Evaluated
    from tasks.ingest import Ingested
    from tasks.label import LabelledScene
    from tasks.make_world import MadeWorld
    from tasks.mosaic import Mosaicked
    from tasks.predict import Predicted
    from tasks.train import Trained


def ingest(params: IngestParams, out: Path, *, run: ClusterParams, progress: Progress) -> Ingested:
    """Scenes into a cube."""
    from infra.cluster import open_cluster
    from tasks.ingest import ingest as step

    with open_cluster(run.cluster, workers=run.workers) as cluster:
        return step(params, out, cluster=cluster, progress=progress)


def label(params: LabelParams, out: Path, *, run: DeviceParams, progress: Progress) -> LabelledScene:
    """Labels for a cube."""
    from tasks.label import label as step

    return step(params, out, device=run.device, progress=progress)


def train(params: TrainParams, workspaces: list[Path], out: Path, *, run: DeviceParams, progress: Progress) -> Trained:
    """A network from labels."""
    from tasks.train import train as step

    return step(params, workspaces, out, device=run.device, progress=progress)


def predict(params: PredictParams, out: Path, *, run: RunParams, progress: Progress) -> Predicted:
    """A prediction for every pixel."""
    from infra.cluster import open_cluster
    from infra.device import choose_device
    from tasks.predict import predict as step

    device = choose_device(run.device)
    workers = run.workers or (1 if device == "cuda" else None)
    with open_cluster(run.cluster, workers=workers) as cluster:
        return step(params, out, cluster=cluster, device=device, progress=progress)


def mosaic(out: Path, *, progress: Progress) -> Mosaicked:
    """GeoTIFFs from a prediction."""
    from tasks.mosaic import mosaic as step

    return step(out, progress=progress)


def evaluate(params: EvaluateParams, out: Path, *, progress: Progress) -> Evaluated:
    """Scores against a truth."""
    from tasks.evaluate import evaluate as step

    return step(params, out, progress=progress)


def make_world(params: WorldParams, out: Path, *, progress: Progress) -> MadeWorld:
    """A procedural scene with its truth."""
    from tasks.make_world import make_world as step

    return step(params, out, progress=progress)


def draw(out: Path, *, truth: EvaluateParams | None) -> str:
    """A picture of scene, map and truth side by side."""
    from tasks.draw import draw as step

    return step(out, truth=truth)
