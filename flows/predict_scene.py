"""The flow that runs a model over a cube."""

from __future__ import annotations

from prefect import flow

from flows import prefect_tasks as tasks
from flows.artifacts import begin_progress, end_progress, share_out
from tasks.params import PredictParams, RunParams


@flow(name="predict-scene")
def predict_scene(
    out: str, params: PredictParams = PredictParams(), run: RunParams = RunParams()
) -> tuple[str, list[str]]:
    """Run a model over a workspace's cube; returns the prediction's place, and the tiles that failed.

    Args:
        out: The workspace's folder.
        params: The model and its tiles.
        run: Where it runs.
    """
    progress = begin_progress(f"predict {out}")
    predicted = tasks.predict(params, out, run, share_out(progress, 1)[0])
    end_progress(progress)
    return predicted


if __name__ == "__main__":
    predict_scene.serve()
