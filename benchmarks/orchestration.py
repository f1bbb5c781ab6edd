"""What Prefect costs: ten thousand small tiles through the flow on a real server, and through the steps alone.

python -m benchmarks.orchestration [--tiles 100] [--runs 3]
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import answer, asked, measure_in_child
from benchmarks.networks import save_identity
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.prefect_server import ask, prefect_server
from benchmarks.scenes import fresh, rgb_scene

TILE, RAMP = 64, 1
"""Tiles so small, through a network that passes bands through, that they are next to no work."""
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def main() -> None:
    """Run the plain steps and the flow in turn, tell."""
    document = asked()
    if document is not None:
        answer({"plain": _plain, "flow": _flow}[document["how"]](document))
        return
    words = parser("orchestration", __doc__)
    words.add_argument("--tiles", type=int, default=100, help="tiles along each side of the scene")
    words.add_argument("--runs", type=int, default=3)
    options = words.parse_args()
    size = (options.tiles - 1) * (TILE - RAMP) + TILE
    scene = rgb_scene(options.out, size)
    model = save_identity(options.out / "models" / "identity_64", tile=TILE, ramp=RAMP)
    workspace = options.out / "workspaces" / "orchestration"
    found: dict[str, list[dict[str, Any]]] = {"plain": [], "flow": []}
    with prefect_server() as environment:
        for _ in range(options.runs):
            for how, runs in found.items():
                fresh(workspace)
                document = {"how": how, "scene": str(scene), "workspace": str(workspace), "model": str(model)}
                runs.append(measure_in_child("benchmarks.orchestration", document, environment=environment))
    fresh(workspace)
    publish(_result(options.tiles, options.runs, found), options)


def _params(document: dict[str, Any]) -> tuple[Any, Any]:
    from tasks.params import IngestParams, PredictParams

    predict = PredictParams(model=(document["model"],), precision="float32", tile=TILE, margin=0, ramp=RAMP)
    return IngestParams(scenes=(str(Path(document["scene"]).absolute()),)), predict


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """The steps of the flow, one after the other in this process."""
    import tasks.draw
    import tasks.ingest
    import tasks.mosaic
    import tasks.predict  # noqa: F401 - imports are not what is measured
    from flows import steps
    from infra.progress import Silent
    from tasks.params import MosaicParams, RunParams

    ingest, predict = _params(document)
    out = str(Path(document["workspace"]).absolute())
    begun = time.perf_counter()
    steps.ingest(ingest, out, run=RunParams(), progress=Silent())
    tiles = steps.predict(predict, out, run=RunParams(), progress=Silent()).tiles_run
    steps.mosaic(out, MosaicParams(), progress=Silent())
    steps.draw(out, truth=None)
    return {"seconds": time.perf_counter() - begun, "tiles": tiles}


def _flow(document: dict[str, Any]) -> dict[str, Any]:
    """The flow, in this process, reporting to the server; until the server shows it as ended."""
    import os

    import tasks.draw
    import tasks.ingest
    import tasks.mosaic
    import tasks.predict  # noqa: F401
    from flows.local_server import quiet_prefect

    quiet_prefect()
    from flows.map_scenes import map_scenes

    api = os.environ["PREFECT_API_URL"]
    known = {run["id"] for run in ask(api, "/flow_runs/filter", {"limit": 200})}
    ingest, predict = _params(document)
    begun = time.perf_counter()
    map_scenes(document["workspace"], ingest, predict=predict)
    returned = time.perf_counter() - begun
    while True:
        runs = [run for run in ask(api, "/flow_runs/filter", {"limit": 200}) if run["id"] not in known]
        ids = {"flow_runs": {"id": {"any_": [run["id"] for run in runs]}}}
        tasks_ = ask(api, "/task_runs/filter", {**ids, "limit": 200})
        if runs and {run["state_type"] for run in (*runs, *tasks_)} <= FINAL:
            break
        time.sleep(0.05)
    shown = time.perf_counter() - begun
    states = sorted({run["state_type"] for run in (*runs, *tasks_)})
    count = ask(api, "/task_runs/count", ids)
    return {"seconds": shown, "returned": returned, "flow_runs": len(runs), "task_runs": count, "states": states}


def _result(side: int, runs: int, found: dict[str, list[dict[str, Any]]]) -> Result:
    plain = median(r["seconds"] for r in found["plain"])
    shown = median(r["seconds"] for r in found["flow"])
    last = found["flow"][-1]
    assert last["states"] == ["COMPLETED"], last
    tiles = found["plain"][-1]["tiles"]
    rows = [
        ("the steps, called plainly", number(plain), ""),
        ("the flow, until the server shows it completed", number(shown), str(last["task_runs"])),
        ("the flow, until it returns", number(median(r["returned"] for r in found["flow"])), ""),
    ]
    return Result(
        "orchestration",
        "Orchestration",
        f"{tiles:,} tiles of {TILE} px ({side} x {side}) through ingest, predict, mosaic and preview: in one process "
        f"without Prefect, and as the flow `map-scenes` on a Prefect server with an SQLite database. Median of {runs} "
        "runs, in turn, each in a fresh process with imports done.",
        ("", "seconds", "task runs"),
        tuple(rows),
        {
            "tiles": tiles,
            "plain_seconds": plain,
            "flow_seconds": shown,
            "beyond_s": shown - plain,
            "task_runs": last["task_runs"],
            "flow_runs": last["flow_runs"],
            "runs": found,
        },
        (
            Goal("Prefect task runs of a flow run", last["task_runs"], at_most=200),
            Goal("orchestration beyond the work", shown - plain, "s", at_most=10),
        ),
    )


if __name__ == "__main__":
    main()
