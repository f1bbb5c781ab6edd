"""How many blocks one run can hand out: a scene of 10^5 blocks, with the tile engine's own jobs and no work in them.

    python -m benchmarks.scheduler [--blocks 100000]

The scene is only cut, not made: which block waits for which is what `geoloom predict` would ask for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.machine import Watch, answer, asked, measure_in_child, resident_mb
from benchmarks.page import Result, number, parser, publish
from infra.cluster import Job, open_cluster
from tasks.raster.assign import Work, assign
from tasks.raster.tiling import Tiling, cut_scene

TILE, MARGIN, RAMP, STRIDE, BLOCK = 512, 32, 64, 32, 2048
FORMS = {"2 lanes": ("lanes", 2, 1), "2 processes": ("processes", 2, 10), "128 places": ("tcp", 128, 10)}
"""Kind of cluster, jobs at a time, and of how many blocks it gets one: a tenth shows their rate sooner. The last
is a scheduler whose two worker processes take 64 jobs each at a time: as many under way as a cluster of 128 machines
has, which hides how long each message travels."""


def main() -> None:
    """Run all jobs on each kind of cluster, tell."""
    document = asked()
    if document is not None:
        answer(_run(document))
        return
    words = parser("scheduler", __doc__)
    words.add_argument("--blocks", type=int, default=100_000)
    options = words.parse_args()
    side = math.ceil(math.sqrt(options.blocks))
    found = {
        name: measure_in_child(
            "benchmarks.scheduler", {"side": math.ceil(side / part**0.5), "kind": kind, "workers": workers}
        )
        for name, (kind, workers, part) in FORMS.items()
    }
    publish(_result(side, found), options)


def _run(document: dict[str, Any]) -> dict[str, Any]:
    size = document["side"] * BLOCK
    workers = document["workers"]
    with _kind(document["kind"], workers) as kind, open_cluster(kind, workers=workers) as cluster:
        held = resident_mb()
        begun = time.perf_counter()
        tiling = cut_scene((size, size), tile=TILE, margin=MARGIN, ramp=RAMP, stride=STRIDE, shard=BLOCK)
        works = assign(tiling, list(tiling.blocks()), {})
        planned, plan_mb = time.perf_counter() - begun, resident_mb() - held
        ended: set[str] = set()
        early = 0

        def done(job: Job, _result: int) -> None:
            nonlocal early
            early += any(key not in ended for key in job.after)
            ended.add(job.key)

        with Watch() as watch:
            begun = time.perf_counter()
            cluster.run(_jobs(tiling, works), done=done)
            taken = time.perf_counter() - begun
    assert len(ended) == 2 * len(works)
    assert not early, f"{early} jobs ended before those they wait for"
    return {
        "blocks": len(works),
        "tiles": tiling.count,
        "jobs": len(ended),
        "plan_seconds": planned,
        "plan_mb": plan_mb,
        "seconds": taken,
        "peak_mb": next(iter(watch.peaks.values())) - held,
    }


@contextmanager
def _kind(kind: str, workers: int) -> Iterator[str]:
    """What `open_cluster` is told: a kind, or the address of a scheduler that is there for as long."""
    if kind != "tcp":
        yield kind
        return
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=workers // 2, dashboard_address=None, memory_limit=0) as local:
        yield local.scheduler_address


def _jobs(tiling: Tiling, works: list[Work]) -> Iterator[Job]:
    """As `tasks.predict` makes them: a block's tiles, and its end when those that it needs have run theirs."""
    for work in works:
        row, col = work.block
        yield Job(f"run-{row}_{col}", nothing, (tiling, work))
        after = (f"run-{row}_{col}", *(f"run-{r}_{c}" for r, c in work.after))
        yield Job(f"finish-{row}_{col}", nothing, (tiling, work), after=after)


def nothing(_tiling: Tiling, work: Work) -> int:
    """No work."""
    return len(work.tiles)


def _result(side: int, found: dict[str, dict[str, Any]]) -> Result:
    rows = [
        (
            name,
            f"{r['blocks']:,}",
            number(r["plan_seconds"]),
            number(r["plan_mb"]),
            number(r["seconds"]),
            number(r["jobs"] / r["seconds"]),
            number(1e3 * r["seconds"] / r["blocks"]),
            number(r["peak_mb"]),
        )
        for name, r in found.items()
    ]
    one = found["2 lanes"]
    pixels = (side * BLOCK) ** 2
    return Result(
        "scheduler",
        "Handing out blocks",
        f"{one['blocks']:,} blocks of {BLOCK} px ({pixels / 1e9:,.0f} billion pixels, {one['tiles']:,} tiles of {TILE} "
        f"px), two jobs each, {one['jobs']:,} jobs without work: what sharing out tiles costs before the start, and "
        "what the flow's process needs to hand out jobs and to hear of their end. A tenth of them where it says so.",
        ("", "blocks", "sharing out, s", "MB", "handing out, s", "jobs/s", "ms a block", "peak MB over start"),
        tuple(rows),
        {"block": BLOCK, "tile": TILE, "margin": MARGIN, "ramp": RAMP, "forms": found},
    )


if __name__ == "__main__":
    main()
