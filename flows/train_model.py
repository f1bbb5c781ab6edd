"""The flow that trains a network."""

from __future__ import annotations

from prefect import flow

from flows import prefect_tasks as tasks
from flows.artifacts import begin_progress, end_progress, share_out
from tasks.params import RunParams, TrainParams


@flow(name="train-model")
def train_model(
    workspaces: list[str], out: str, params: TrainParams = TrainParams(), run: RunParams = RunParams()
) -> str:
    """Train a network on the labels of workspaces.

    Args:
        workspaces: Folders of labelled workspaces.
        out: The model's folder.
        params: How to train.
        run: Where it runs.
    """
    progress = begin_progress(f"train {out}")
    model = tasks.train(params, workspaces, out, run, share_out(progress, 1)[0])
    end_progress(progress)
    return model


if __name__ == "__main__":
    train_model.serve()
