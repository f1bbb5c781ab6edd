"""The flow that labels a cube."""

from __future__ import annotations

from prefect import flow

from flows import prefect_tasks as tasks
from flows.artifacts import begin_progress, end_progress, share_out
from tasks.label_params import LabelParams
from tasks.params import RunParams


@flow(name="label-scene")
def label_scene(out: str, params: LabelParams, run: RunParams = RunParams()) -> str:
    """Label a workspace's cube.

    Args:
        out: The workspace's folder.
        params: How to label.
        run: Where it runs.
    """
    progress = begin_progress(f"label {out}")
    labels = tasks.label(params, out, run, share_out(progress, 1)[0])
    end_progress(progress)
    return labels


if __name__ == "__main__":
    label_scene.serve()
