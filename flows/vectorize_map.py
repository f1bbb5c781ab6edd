"""The flow that draws a prediction's buildings and roads."""

from __future__ import annotations

from prefect import flow

from flows import prefect_tasks as tasks
from flows.artifacts import begin_progress, end_progress, share_out
from tasks.params import ClusterParams, VectorizeParams


@flow(name="vectorize-map")
def vectorize_map(
    out: str, params: VectorizeParams = VectorizeParams(), run: ClusterParams = ClusterParams()
) -> dict[str, str]:
    """Draw buildings and roads: GeoPackage, GeoParquet and PMTiles.

    Args:
        out: The workspace's folder.
        params: What to draw, and how.
        run: Where it runs.
    """
    progress = begin_progress(f"vectorize {out}")
    products = tasks.vectorize(params, out, run, share_out(progress, 1)[0])
    end_progress(progress)
    return products


if __name__ == "__main__":
    vectorize_map.serve()
