"""How memory grows with the scene: what each process takes beyond its imports and one batch through the network.

    python -m benchmarks.memory [--sizes 8192,16384,40000] [--clusters lanes,processes]

The network is tiny: what is measured is geoloom, not torch. The largest scene takes some 30 GB of disk.
"""

from __future__ import annotations

import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import Watch, answer, asked, measure_in_child, resident_mb
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import fresh, rgb_scene

MOST_MB = 400
SPREAD = 1.1
WORKERS = 2
TILE = 512
"""Given, so that the batch is the same at every size: of larger scenes larger tiles are tried."""
STEPS = ("ingest", "predict", "mosaic")


def main() -> None:
    """Run every step at every size on every kind of cluster, each in a process of its own, tell."""
    document = asked()
    if document is not None:
        answer(_hold(document) if document["cluster"] == "rest" else _step(document))
        return
    words = parser("memory", __doc__)
    words.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[8192, 16384, 40000])
    words.add_argument("--clusters", type=lambda text: text.split(","), default=["lanes", "processes"])
    options = words.parse_args()
    from benchmarks.networks import save_tiny  # torch: a child that ingests holds none

    model = save_tiny(options.out / "models" / "tiny")
    rest = {step: _child(step=step, cluster="rest", model=model)["held_mb"] for step in STEPS}
    found: list[dict[str, Any]] = []
    for size in options.sizes:
        scene = rgb_scene(options.out, size)
        for cluster in options.clusters:
            workspace = fresh(options.out / "workspaces" / "memory")
            for step in STEPS:
                if step == "mosaic" and cluster != options.clusters[0]:
                    continue  # it runs in one process whatever the cluster
                what = {"step": step, "cluster": cluster, "rest_mb": rest[step]}
                run = _child(scene=scene, workspace=workspace, model=model, **what)
                found.append({"size": size, "step": step, "cluster": cluster} | run)
                print(found[-1])
            fresh(workspace)
    publish(_result(found, rest), options)


def _child(**document: Any) -> dict[str, Any]:
    return measure_in_child("benchmarks.memory", document, environment={"OMP_NUM_THREADS": "1"})


def _warm(model: str, *, worker: bool, step: str) -> None:
    """Import what a step imports, and pass one batch through the network where the step has one."""
    import_module(f"tasks.{step}")
    if worker:
        import_module("distributed.nanny")
    if step == "predict":
        from models.predictor import load_predictor
        from models.runtime import Runtime

        # As predict will run it: tracing a network for the fused runtime holds more than an eager pass.
        predictor = load_predictor(Path(model), runtime=Runtime("fused", transposed=True))
        predictor(np.zeros((1, 3, TILE, TILE), np.uint8), np.ones((1, TILE, TILE), np.bool_))


def _hold(document: dict[str, Any]) -> dict[str, float]:
    """What a worker process holds before it has worked."""
    _warm(document["model"], worker=True, step=document["step"])
    return {"held_mb": resident_mb()}


def _step(document: dict[str, Any]) -> dict[str, Any]:
    from flows import steps
    from infra.progress import Silent
    from tasks.params import ClusterParams, IngestParams, PredictParams, RunParams

    step, out = document["step"], document["workspace"]
    _warm(document["model"], worker=document["cluster"] == "processes", step=step)
    held = resident_mb()
    run = {"cluster": document["cluster"], "workers": WORKERS}
    begun = time.perf_counter()
    with Watch() as watch:
        if step == "ingest":
            ingest = IngestParams(scenes=(document["scene"],))
            steps.ingest(ingest, out, run=ClusterParams(**run), progress=Silent())
        elif step == "predict":
            predict = PredictParams(model=(document["model"],), precision="float32", tile=TILE)
            steps.predict(predict, out, run=RunParams(**run), progress=Silent())
        else:
            steps.mosaic(out, progress=Silent())
    taken = time.perf_counter() - begun
    own = watch.peaks.pop(os.getpid()) - held
    # A nanny's helpers (resource trackers) hold less than a worker at rest: they count as nothing, not as less.
    workers = [peak - document["rest_mb"] for peak in watch.peaks.values() if peak > document["rest_mb"]]
    return {
        "seconds": taken,
        "held_mb": held,
        "main_mb": own,
        "worker_mb": max(workers, default=0.0),
        "sum_mb": own + sum(workers),
        "workers": len(workers),
        "stored_mb": {name: _stored(Path(out) / name) for name in ("cube.zarr", "probability.zarr", "products")},
    }


def _stored(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def _result(found: list[dict[str, Any]], rest: dict[str, float]) -> Result:
    rows = [
        (
            f"{r['size']:,}²",
            f"{r['step']}, {r['cluster']}",
            number(r["seconds"]),
            number(r["size"] ** 2 / 1e6 / r["seconds"]),
            number(r["held_mb"]),
            number(r["main_mb"]),
            number(r["worker_mb"]) if r["workers"] else "",
            number(r["sum_mb"]),
        )
        for r in found
    ]
    peaks: dict[str, list[float]] = {}
    for r in found:
        peaks.setdefault(f"{r['step']}, {r['cluster']}", []).append(max(r["main_mb"], r["worker_mb"]))
    worst = max(peaks, key=lambda kind: max(peaks[kind]))
    spread = {kind: max(values) / max(min(values), 1.0) for kind, values in peaks.items()}
    widest = max(spread, key=lambda kind: spread[kind])
    return Result(
        "memory",
        "Memory",
        "Every step in a process of its own over worlds of RGB (larger ones than 8192² repeat it), three convolutions, "
        f"{WORKERS} lanes or {WORKERS} worker processes. Held is what a process has after its imports and one batch "
        f"through the network ({number(rest['predict'])} MB for a worker that predicts); the other columns are the "
        "peaks beyond that, of the main process, of the largest worker, and of all together. Pages of libraries' "
        "files, which the system can drop, are not counted.",
        ("scene", "step", "seconds", "MPix/s", "held MB", "main MB", "worker MB", "sum MB"),
        tuple(rows),
        {"runs": found, "worker_held_mb": rest, "spread": spread},
        (
            Goal(f"peak of a process ({worst})", max(peaks[worst]), "MB", at_most=MOST_MB),
            Goal(f"largest / smallest peak over the sizes ({widest})", spread[widest], at_most=SPREAD),
        ),
    )


if __name__ == "__main__":
    main()
