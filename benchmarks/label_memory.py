"""How much memory a process takes that labels with SAM ViT-T, and whether that grows with the scene.

    python -m benchmarks.label_memory [--sizes 2048,4096,6144] [--automatic 2048,3072]

Two worker processes over worlds, of four blocks or more, so that each has one to work on and one to read or write: by
vectors, the world's own buildings and roads, and by every object that SAM sees, at small sizes, for that takes several
times as long. What is counted is all that a process holds, its libraries too.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import Watch, answer, asked, highest_mb, measure_in_child
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import WORLD, fresh, rgb_scene

MOST_MB = 2500
SPREAD = 1.1
WORKERS = 2


def main() -> None:
    """Label every scene in each way, each in a process of its own; tell."""
    document = asked()
    if document is not None:
        answer(_label(document))
        return
    words = parser("label_memory", __doc__)
    words.add_argument("--sizes", type=_sizes, default=[2048, 4096, 6144], help="labelled by vectors")
    words.add_argument("--automatic", type=_sizes, default=[2048, 3072], help="sizes labelled by all that SAM sees")
    words.add_argument("--points", type=int, default=16, help="a side of the grid that SAM is asked at")
    options = words.parse_args()
    if max(options.sizes, default=0) > WORLD:
        words.error(f"a scene of more than {WORLD} pixels a side repeats a world, and has no vectors of its own")
    found: list[dict[str, Any]] = []
    for method, sizes in (("vectors", options.sizes), ("automatic", options.automatic)):
        for size in sizes:
            scene, workspace = rgb_scene(options.out, size), fresh(options.out / "workspaces" / "label_memory")
            asking = {"scene": str(scene), "workspace": str(workspace), "method": method, "points": options.points}
            if method == "vectors":
                asking["prompts"] = str(options.out / f"world_{size}_truth.gpkg")
            run = measure_in_child("benchmarks.label_memory", asking, environment={"OMP_NUM_THREADS": "1"})
            found.append({"size": size, "method": method} | run)
            print(found[-1], flush=True)
            fresh(workspace)
    publish(_result(found), options)


def _sizes(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def _label(document: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.mapping import ingest
    from flows import steps
    from infra.progress import Silent
    from infra.store import open_store
    from tasks.label_params import LabelParams
    from tasks.params import RunParams

    workspace = Path(document["workspace"])
    ingest(Path(document["scene"]), workspace)
    asked_for = {"method": (document["method"],), "prompts": document.get("prompts"), "points": document["points"]}
    run = RunParams(cluster="processes", workers=WORKERS, device="cpu")
    begun = time.perf_counter()
    with Watch(highest_mb) as watch:
        done = steps.label(LabelParams(**asked_for), str(workspace), run=run, progress=Silent())
    taken = time.perf_counter() - begun
    main_mb = watch.peaks.pop(os.getpid())
    # The others are Dask's own helpers, which load no network.
    workers = sorted(watch.peaks.values(), reverse=True)[:WORKERS]
    return {
        "seconds": taken,
        "main_mb": main_mb,
        "worker_mb": workers,
        "blocks": done.units_run,
        "windows": sum(1 for _ in open_store(str(workspace)).keys("embeddings")),
    }


def _result(found: list[dict[str, Any]]) -> Result:
    rows = [
        (
            run["method"],
            f"{run['size']:,}²",
            f"{run['blocks']:,}",
            f"{run['windows']:,}",
            number(run["seconds"]),
            number(run["main_mb"]),
            *(number(mb) for mb in run["worker_mb"]),
        )
        for run in found
    ]
    peaks: dict[str, list[float]] = {}
    for run in found:
        peaks.setdefault(run["method"], []).append(max(run["worker_mb"]))
    spread = {method: max(values) / values[0] for method, values in peaks.items() if len(values) > 1}
    goals = [Goal(f"a worker's peak, {method}", max(values), "MB", at_most=MOST_MB) for method, values in peaks.items()]
    goals += [
        Goal(f"largest peak / that of the smallest scene, {method}", value, at_most=SPREAD)
        for method, value in spread.items()
    ]
    return Result(
        "label_memory",
        "Memory of labelling",
        f"SAM ViT-T on {WORKERS} worker processes over worlds of RGB: by vectors, the world's own buildings and "
        "roads, and by every object that SAM sees. Windows are those that SAM was shown: 384 pixels, and 64 "
        "around them. The main process reads the vectors and hands out blocks. MB are the most that a process held at "
        "any time, its libraries and their files' pages among them.",
        ("with", "scene", "blocks", "windows", "seconds", "main MB", "worker MB", "other worker MB"),
        tuple(rows),
        {"runs": found, "spread": spread},
        tuple(goals),
    )


if __name__ == "__main__":
    main()
