"""The flow that brings scenes into a cube."""

from __future__ import annotations

from prefect import flow

from flows import prefect_tasks as tasks
from flows.artifacts import begin_progress, end_progress, share_out
from tasks.params import ClusterParams, IngestParams


@flow(name="ingest-scenes")
def ingest_scenes(out: str, params: IngestParams, run: ClusterParams = ClusterParams()) -> str:
    """Bring scenes into a workspace's cube.

    Args:
        out: The workspace's folder.
        params: The scenes.
        run: Where it runs.
    """
    progress = begin_progress(f"ingest into {out}")
    workspace, _ = tasks.ingest(params, out, run, share_out(progress, 1)[0])
    end_progress(progress)
    return workspace


if __name__ == "__main__":
    ingest_scenes.serve()
