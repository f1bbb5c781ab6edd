"""How much a second core gives: two lanes, and two worker processes, of one thread each against one lane.

    python -m benchmarks.lanes [--small 2048] [--size 6144] [--runs 3]

Each is timed on a small and on a larger scene; the difference of both is what tiles cost once everything has started.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import answer, asked, measure_in_child
from benchmarks.networks import save_unet
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import fresh, rgb_scene

TILE, MARGIN, RAMP = 512, 32, 64
FORMS = {"one lane": ("lanes", 1), "two lanes": ("lanes", 2), "two processes": ("processes", 2)}


def main() -> None:
    """Run all forms on both scenes in turn, tell."""
    document = asked()
    if document is not None:
        answer(_predict(document))
        return
    words = parser("lanes", __doc__)
    words.add_argument("--small", type=int, default=2048)
    words.add_argument("--size", type=int, default=6144)
    words.add_argument("--runs", type=int, default=3)
    options = words.parse_args()
    model = save_unet(options.out / "models" / "unet", tile=TILE, margin=MARGIN, ramp=RAMP)
    workspace = options.out / "workspaces" / "lanes"
    sizes = (options.small, options.size)
    found: dict[str, dict[int, list[dict[str, Any]]]] = {name: {size: [] for size in sizes} for name in FORMS}
    for _ in range(options.runs):
        for size in sizes:
            scene = rgb_scene(options.out, size)
            for name, (cluster, workers) in FORMS.items():
                asking = {"scene": scene, "workspace": workspace, "model": model}
                plain = {key: str(value) for key, value in asking.items()}
                threads = {"OMP_NUM_THREADS": "1"}
                again = measure_in_child(
                    "benchmarks.lanes", {**plain, "cluster": cluster, "workers": workers}, environment=threads
                )
                found[name][size].append(again)
    fresh(workspace)
    publish(_result(found, sizes, options.runs), options)


def _predict(document: dict[str, Any]) -> dict[str, Any]:
    import tasks.predict  # noqa: F401 - imports are not what is measured
    from benchmarks.mapping import ingest
    from flows import steps
    from infra.progress import Silent
    from tasks.params import PredictParams, RunParams

    workspace = Path(document["workspace"])
    ingest(Path(document["scene"]), workspace)
    run = RunParams(cluster=document["cluster"], workers=document["workers"])
    begun = time.perf_counter()
    params = PredictParams(model=(document["model"],), precision="float32", tile=TILE, margin=MARGIN, ramp=RAMP)
    done = steps.predict(params, str(workspace), run=run, progress=Silent())
    return {"seconds": time.perf_counter() - begun, "tiles": done.tiles_run}


def _result(found: dict[str, dict[int, list[dict[str, Any]]]], sizes: tuple[int, int], runs: int) -> Result:
    seconds = {name: [median(r["seconds"] for r in by[size]) for size in sizes] for name, by in found.items()}
    tiles = [found["one lane"][size][0]["tiles"] for size in sizes]
    each = {name: (large - small) / (tiles[1] - tiles[0]) for name, (small, large) in seconds.items()}
    start = {name: seconds[name][0] - tiles[0] * each[name] for name in FORMS}
    gain = {name: each["one lane"] / each[name] for name in FORMS}
    rows = [
        (name, *(number(s) for s in seconds[name]), number(each[name]), number(start[name]), number(gain[name]))
        for name in FORMS
    ]
    return Result(
        "lanes",
        "Lanes and processes",
        f"Seconds of predict over worlds of {sizes[0]} x {sizes[0]} and {sizes[1]} x {sizes[1]} pixels ({tiles[0]} and "
        f"{tiles[1]} tiles of {TILE} px), the Unet of smp on MobileNetV2; every lane and process has one thread. A "
        f"tile's seconds are the difference of both scenes, the start what is left. Median of {runs} runs, in turn.",
        ("", f"{tiles[0]} tiles, s", f"{tiles[1]} tiles, s", "s a tile", "start s", "x one lane"),
        tuple(rows),
        {"seconds_a_tile": each, "start_s": start, "gain": gain, "tiles": tiles, "sizes": sizes, "runs": found},
        tuple(Goal(f"{name} / one lane", gain[name], "x", at_least=1.8) for name in ("two lanes", "two processes")),
    )


if __name__ == "__main__":
    main()
