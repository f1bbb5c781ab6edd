"""The steps, each with the cluster it runs on: called as they are by the command line, as Prefect tasks by flows.

Heavy libraries load inside: importing this file costs nothing, and importing a flow never imports torch. A step's own
load once the workspace is held, so that who finds it in use leaves at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.label_params import LabelParams, ReviewParams
from tasks.params import (
    ClusterParams,
    IngestParams,
    LeaseParams,
    MosaicParams,
    PredictParams,
    RunParams,
    TrainParams,
    VectorizeParams,
    WorldParams,
)
from tasks.truth_params import EvaluateParams

if TYPE_CHECKING:
    from infra.progress import Progress
    from infra.store import Store
    from tasks.clean import Cleaned
    from tasks.collection import Collected
    from tasks.evaluate import Evaluated
    from tasks.export import Exported
    from tasks.ingest import Ingested
    from tasks.label import LabelledScene
    from tasks.make_world import MadeWorld
    from tasks.mosaic import Mosaicked
    from tasks.predict import Predicted
    from tasks.review import Reviewed
    from tasks.status import Status
    from tasks.train import Trained
    from tasks.vectorize import Vectorized


def ingest(params: IngestParams, out: str, *, run: ClusterParams, progress: Progress) -> Ingested:
    """Scenes into a cube."""
    from infra.cluster import open_cluster
    from infra.lease import hold
    from infra.store import open_store

    store = open_store(out)
    with hold(store, command="ingest", under=run.lease) as lease:
        from tasks.ingest import ingest as step

        with open_cluster(run.cluster, workers=run.workers) as cluster:
            return step(params, store, grip=lease.grip, cluster=cluster, progress=progress)


def require_scenes(params: IngestParams) -> None:
    """Raise where a scene that is named is not there."""
    from tasks.ingest import require_scenes as step

    step(params)


def label(params: LabelParams, out: str, *, run: RunParams, progress: Progress) -> LabelledScene:
    """Labels for a cube."""
    from infra.cluster import open_cluster
    from infra.lease import hold

    store = open_workspace_store(out)
    with hold(store, command="label", under=run.lease) as lease:
        from tasks.label import label as step

        with open_cluster(run.cluster, workers=run.workers) as cluster:
            return step(params, store, grip=lease.grip, cluster=cluster, device=run.device, progress=progress)


def train(params: TrainParams, workspaces: list[str], out: Path, *, run: RunParams, progress: Progress) -> Trained:
    """A network from labels; on a worker where the run names a cluster of other machines, else here."""
    if run.cluster in {"lanes", "processes", "cuda"}:
        from tasks.train import train as step

        device = "cuda" if run.cluster == "cuda" else run.device
        return step(params, workspaces, out, device=device, progress=progress)
    from infra.cluster import open_cluster
    from tasks.train_elsewhere import train_elsewhere

    with open_cluster(run.cluster, workers=1, device=run.device) as cluster:
        return train_elsewhere(params, workspaces, out, device=run.device, cluster=cluster, progress=progress)


def predict(params: PredictParams, out: str, *, run: RunParams, progress: Progress) -> Predicted:
    """A prediction for every pixel."""
    from infra.cluster import open_cluster
    from infra.device import choose_device, lanes_for
    from infra.lease import hold

    store = open_workspace_store(out)
    with hold(store, command="predict", under=run.lease) as lease:
        from tasks.predict import predict as step

        device = choose_device(run.device)
        workers = run.workers or lanes_for(device)
        with open_cluster(run.cluster, workers=workers, device=device) as cluster:
            return step(params, store, grip=lease.grip, cluster=cluster, device=device, progress=progress)


def mosaic(
    out: str, params: MosaicParams = MosaicParams(), *, run: LeaseParams = LeaseParams(), progress: Progress
) -> Mosaicked:
    """GeoTIFFs from a prediction."""
    from infra.lease import hold

    store = open_workspace_store(out)
    with hold(store, command="mosaic", under=run.lease) as lease:
        from tasks.mosaic import mosaic as step

        return step(params, store, grip=lease.grip, progress=progress)


def vectorize(params: VectorizeParams, out: str, *, run: ClusterParams, progress: Progress) -> Vectorized:
    """Buildings and roads from a prediction."""
    from infra.cluster import open_cluster
    from infra.lease import hold

    store = open_workspace_store(out)
    with hold(store, command="vectorize", under=run.lease) as lease:
        from tasks.vectorize import vectorize as step

        with open_cluster(run.cluster, workers=run.workers) as cluster:
            return step(params, store, grip=lease.grip, cluster=cluster, progress=progress)


def export_cog(out: str, *, progress: Progress) -> Exported:
    """The cube as a GeoTIFF."""
    from infra.lease import hold

    store = open_workspace_store(out)
    with hold(store, command="export") as lease:
        from tasks.export import export_cog as step

        return step(store, grip=lease.grip, progress=progress)


def export_levels(out: str, *, progress: Progress) -> Exported:
    """The cube's coarser levels, beside it."""
    from infra.cluster import open_cluster
    from infra.lease import hold

    store = open_workspace_store(out)
    with hold(store, command="export") as lease:
        from tasks.export import export_levels as step

        with open_cluster() as cluster:
            return step(store, grip=lease.grip, cluster=cluster, progress=progress)


def collect(workspaces: list[str], out: str) -> Collected:
    """The items of many workspaces as one STAC collection."""
    from infra.store import open_store
    from tasks.collection import collect as step

    return step([open_workspace_store(name) for name in workspaces], open_store(out))


def evaluate(params: EvaluateParams, out: str, *, progress: Progress) -> Evaluated:
    """Scores against a truth."""
    from infra.lease import hold

    store = open_workspace_store(out)
    with hold(store, command="evaluate"):
        from tasks.evaluate import evaluate as step

        return step(params, store, progress=progress)


def review(params: ReviewParams, out: str, *, progress: Progress) -> Reviewed:
    """How good labels are, and where to look first."""
    from infra.lease import hold

    store = open_workspace_store(out)
    with hold(store, command="review") as lease:
        from tasks.review import review as step

        return step(params, store, grip=lease.grip, progress=progress)


def status(out: str) -> Status:
    """What is done in a workspace, and who is at work there."""
    from infra.store import open_store
    from tasks.status import read_status

    return read_status(open_store(out))


def lost_tiles(out: str) -> list[str]:
    """The tiles of a prediction that failed."""
    from infra.store import open_store
    from tasks.status import lost_tiles as look

    return look(open_store(out))


def clean(out: str, *, progress: Progress) -> Cleaned:
    """A workspace without what is not needed."""
    from infra.lease import hold

    store = open_workspace_store(out)
    with hold(store, command="clean") as lease:
        from tasks.clean import clean as step

        return step(store, grip=lease.grip, progress=progress)


def make_world(params: WorldParams, out: Path, *, progress: Progress) -> MadeWorld:
    """A procedural scene with its truth."""
    from tasks.make_world import make_world as step

    return step(params, out, progress=progress)


def draw(out: str, *, truth: EvaluateParams | None) -> str:
    """A picture of scene, map and truth side by side."""
    from infra.store import open_store
    from tasks.draw import draw as step

    return step(open_store(out), truth=truth)


def open_workspace_store(out: str) -> Store:
    """The store of a workspace. A place that is none is refused before the lease makes a folder there."""
    from infra.store import open_store

    store = open_store(out)
    if not store.exists("workspace.json") and not store.keys("lease"):  # an ingest under way has the lease only
        from tasks.workspace import open_workspace

        open_workspace(store)
    return store
