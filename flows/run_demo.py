"""The demo as a flow: label and train on a window of one scene, map another, say what score that gives."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows import prefect_tasks as tasks
from flows.artifacts import begin_progress, end_progress, share_out, show_map, show_scores
from tasks.params import MosaicParams, PredictParams, RunParams, TrainParams

Rows = list[tuple[str, str, str]]


@flow(name="run-demo")
def run_demo(out: str = "demo", minutes: float = 3.0, run: RunParams = RunParams()) -> tuple[dict[str, str], Rows]:
    """Label and train on a window of one scene, and map another.

    Args:
        out: The demo's folder.
        minutes: How long the network trains.
        run: Where it runs.
    """
    progress = begin_progress(f"demo in {out}")
    shares = iter(share_out(progress, 8))
    learn, target = str(Path(out) / "learn"), str(Path(out) / "map")
    scenes = tasks.prepare_demo(str(Path(out) / "scenes"), next(shares))
    tasks.ingest(scenes.learn, learn, run, next(shares))
    tasks.label(scenes.label, learn, run, next(shares))
    recipe = TrainParams(steps=600, minutes=minutes, tile=512, validation_share=0.12)
    model = tasks.train(recipe, [learn], str(Path(learn) / "model"), run, next(shares))
    tasks.ingest(scenes.target, target, run, next(shares))
    tasks.predict(PredictParams(model=(model,)), target, run, next(shares))
    maps = tasks.mosaic(MosaicParams(), target, next(shares))
    report, rows = tasks.evaluate(scenes.truth, target, next(shares))
    show_scores(rows)
    picture = tasks.draw(target, scenes.truth)
    show_map(picture, list(maps.values()))
    end_progress(progress)
    made = maps | {"model": model, "scores": report, "picture": picture}
    return made, rows


if __name__ == "__main__":
    run_demo.serve()
