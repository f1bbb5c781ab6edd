"""The flow that scores a map against a truth."""

from __future__ import annotations

from prefect import flow

from flows import prefect_tasks as tasks
from flows.artifacts import begin_progress, end_progress, share_out, show_scores
from tasks.truth_params import EvaluateParams


@flow(name="evaluate-map")
def evaluate_map(out: str, params: EvaluateParams) -> str:
    """Score a workspace's map, or its labels, against a truth.

    Args:
        out: The workspace's folder.
        params: The truth.
    """
    progress = begin_progress(f"evaluate {out}")
    report, rows = tasks.evaluate(params, out, share_out(progress, 1)[0])
    show_scores(rows)
    end_progress(progress)
    return report


if __name__ == "__main__":
    evaluate_map.serve()
