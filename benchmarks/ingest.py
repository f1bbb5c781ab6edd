"""Ingest against what a user would write: rioxarray's chunks into a Zarr store.

python -m benchmarks.ingest [--size 8192] [--runs 3]
"""

from __future__ import annotations

import os
import time
import warnings
from statistics import median
from typing import Any

from benchmarks.machine import Watch, answer, asked, measure_in_child, resident_mb
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import fresh, rgb_scene

CHUNK = 2048


def main() -> None:
    """Bring the same scene into Zarr both ways in turn, tell."""
    document = asked()
    if document is not None:
        answer({"geoloom": _geoloom, "rioxarray": _rioxarray}[document["what"]](document))
        return
    words = parser("ingest", __doc__)
    words.add_argument("--size", type=int, default=8192)
    words.add_argument("--runs", type=int, default=3)
    options = words.parse_args()
    scene, target = rgb_scene(options.out, options.size), options.out / "workspaces" / "ingest"
    found: dict[str, list[dict[str, float]]] = {"geoloom": [], "rioxarray": []}
    for _ in range(options.runs):
        for what, runs in found.items():
            fresh(target)
            os.sync()  # what one leaves unwritten is not for the other to wait for
            asking = {"what": what, "scene": str(scene), "target": str(target)}
            runs.append(measure_in_child("benchmarks.ingest", asking))
    fresh(target)
    publish(_result(options.size, options.runs, found), options)


def _geoloom(document: dict[str, Any]) -> dict[str, float]:
    import tasks.ingest  # noqa: F401 - imports are not what is measured
    from flows import steps
    from infra.progress import Silent
    from tasks.params import ClusterParams, IngestParams

    params = IngestParams(scenes=(document["scene"],))
    return _timed(lambda: steps.ingest(params, document["target"], run=ClusterParams(), progress=Silent()))


def _rioxarray(document: dict[str, Any]) -> dict[str, float]:
    import rioxarray

    def store() -> None:
        scene: Any = rioxarray.open_rasterio(document["scene"], chunks={"x": CHUNK, "y": CHUNK})
        scene.to_dataset(name="image").to_zarr(document["target"], mode="w")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _timed(store)


def _timed(call: Any) -> dict[str, float]:
    held = resident_mb()
    with Watch() as watch:
        begun = time.perf_counter()
        call()
        taken = time.perf_counter() - begun
    return {"seconds": taken, "peak_mb": max(watch.peaks.values()) - held}


def _result(size: int, runs: int, found: dict[str, list[dict[str, float]]]) -> Result:
    seconds = {what: median(run["seconds"] for run in many) for what, many in found.items()}
    names = {"geoloom": "`geoloom ingest`", "rioxarray": "`rioxarray.open_rasterio(chunks).to_zarr`"}
    rows = tuple(
        (
            name,
            number(seconds[what]),
            number(size**2 / 1e6 / seconds[what]),
            number(max(run["peak_mb"] for run in found[what])),
        )
        for what, name in names.items()
    )
    return Result(
        "ingest",
        "Ingest",
        f"A GeoTIFF of {size:,}² RGB into Zarr, medians of {runs} runs in turn, each in a process that has done its "
        f"imports; rioxarray in chunks of {CHUNK:,}². geoloom also counts statistics and digests every cell.",
        ("", "seconds", "MPix/s", "peak MB beyond imports"),
        rows,
        {"size": size, "seconds": seconds, "runs": found},
        goals=(Goal("rioxarray / geoloom", seconds["rioxarray"] / seconds["geoloom"], "x", at_least=2),),
    )


if __name__ == "__main__":
    main()
