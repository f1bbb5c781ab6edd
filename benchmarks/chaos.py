"""Killed at random moments and run again at once: are the bits the same, and what was done twice?

    python -m benchmarks.chaos [--each 10] [--pairs 20]

A worker is killed with kill -9 (the run goes on), the flow is killed with kill -9, the flow is sent SIGTERM; each at so
many random moments. After each the command is run again at once. Then two runs are started on one workspace at the same
moment, so many times. Everything is a real process of the command line.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import page
from infra.store import open_store
from tasks.raster.digest import digest
from tasks.raster.probability import open_probability
from tasks.raster.tiling import Tile, Tiling
from tasks.workspace import PREDICT, PROBABILITY, open_workspace

SIDE, TILE, MARGIN, RAMP = 2200, 256, 16, 16
WORKERS = 2
LEAVE_S = 10.0
"""Seconds that a terminated run may take."""
BUSY = 4
TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Ground:
    """What all runs start from, and what they must come to."""

    folder: Path
    cube: Path
    """A workspace that was ingested and not predicted."""
    model: Path
    seconds: float
    """An undisturbed run."""
    bits: str
    tiling: Tiling
    tile_of: dict[str, Tile]
    """Digest of a tile's pixels to the tile."""


def main() -> None:
    """Kill, run again, compare, and write the section of the page."""
    words = page.parser("chaos", __doc__)
    words.add_argument("--each", type=int, default=10)
    words.add_argument("--pairs", type=int, default=20)
    words.add_argument("--seed", type=int, default=0)
    options = words.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - moments, not secrets
    ground = _prepare(options.out.absolute() / "chaos")
    kinds = {"kill -9 of a worker": _kill_worker, "kill -9 of the flow": _kill_flow, "SIGTERM": _terminate}
    found = {name: [kind(ground, chance) for _ in range(options.each)] for name, kind in kinds.items()}
    pairs = [_pair(ground) for _ in range(options.pairs)]
    every = [case for cases in found.values() for case in cases]
    unit = max(len(ground.tiling.owned(block)) for block in ground.tiling.blocks())
    slowest = max(case["left_s"] for case in found["SIGTERM"])
    rows = [
        (
            name,
            f"{sum(c['same'] for c in cases)} of {len(cases)}",
            str(max(c["twice"] for c in cases)),
            str(max(c["ledgered_twice"] for c in cases)),
            str(max(c["orphans"] for c in cases)),
            str(max(c["leftovers"] for c in cases)),
            f"{statistics.median(c['done_share'] for c in cases):.0%}",
        )
        for name, cases in found.items()
    ]
    winners = sum(p["codes"] == [0, BUSY] for p in pairs)
    page.publish(
        page.Result(
            name="chaos",
            title="Killed, and run again",
            about=f"A scene of {SIDE}² pixels in {len(list(ground.tiling.blocks()))} blocks and "
            f"{len(ground.tile_of)} tiles, {WORKERS} workers, {ground.seconds:.1f} s undisturbed; killed at random "
            "moments, and run again at once.",
            head=(
                "what",
                "same bits",
                "tiles run twice, most",
                "of finished blocks",
                "processes left",
                "temporary files left",
                "blocks done when killed, median",
            ),
            rows=tuple(rows),
            data={"cases": found, "pairs": pairs, "unit": unit, "seconds": ground.seconds},
            goals=(
                page.Goal("same bits", sum(c["same"] for c in every), f"of {len(every)}", at_least=len(every)),
                page.Goal("tiles of finished blocks run twice", max(c["ledgered_twice"] for c in every), at_most=0),
                page.Goal("other tiles run twice", max(c["twice"] for c in every), at_most=WORKERS * unit),
                page.Goal(
                    "processes and temporary files left", max(c["orphans"] + c["leftovers"] for c in every), at_most=0
                ),
                page.Goal("SIGTERM to the end", slowest, "s", at_most=LEAVE_S),
                page.Goal(
                    "two runs at once: one wins, the other ends with code 4",
                    winners,
                    f"of {len(pairs)}",
                    at_least=len(pairs),
                ),
                page.Goal("the second to its end", max(p["loser_s"] for p in pairs), "s", at_most=5.0),
            ),
        ),
        options,
    )


def _prepare(folder: Path) -> Ground:
    from benchmarks.networks import save_unet
    from tasks.raster.gdal import rasterio

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, scene, cube = folder / "model", folder / "scene.tif", folder / "cube"
    save_unet(model, tile=TILE, margin=MARGIN, ramp=RAMP)
    rng = np.random.default_rng(0)
    small = rng.integers(1, 255, (3, SIDE // 16 + 1, SIDE // 16 + 1), dtype=np.uint8)
    image = small.repeat(16, axis=1).repeat(16, axis=2)[:, :SIDE, :SIDE]
    profile = {"driver": "GTiff", "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint8", "compress": "deflate"}
    with rasterio.open(scene, "w", **profile) as file:
        file.write(image)
    _run(["ingest", str(scene), "--out", str(cube)], folder / "log").wait()
    golden = folder / "golden"
    shutil.copytree(cube, golden)
    began = time.monotonic()
    assert _predict(golden, model, folder / "golden.log").wait() == 0
    seconds = time.monotonic() - began
    from tasks.prediction_plan import read_plan

    opened = open_workspace(open_store(golden)).cube()
    plan = read_plan(open_store(golden))
    assert plan is not None
    tiling = plan.cut((opened.grid.shape[0], opened.grid.shape[1]))
    tile_of = {}
    for tile in tiling.tiles():
        part, _ = opened.read(tiling.extent(tile))
        square = np.zeros((len(part), tiling.rows.size, tiling.cols.size), part.dtype)
        square[:, : part.shape[1], : part.shape[2]] = part
        tile_of[digest(square)] = tile
    assert len(tile_of) == tiling.count, "tiles must differ to be told apart"
    return Ground(folder, cube, model, seconds, _bits(golden), tiling, tile_of)


def _run(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words, "--json", "--quiet"],
        stdout=log.with_suffix(".out").open("wb"),
        stderr=log.with_suffix(".err").open("wb"),
        env=os.environ | {"GEOLOOM_TILE_LOG": str(log)},
    )


def _predict(workspace: Path, model: Path, log: Path) -> subprocess.Popen[bytes]:
    options = ["--precision", "float32", "--cluster", "processes", "--workers", str(WORKERS)]
    return _run(["predict", str(workspace), "--model", str(model), *options], log)


def _bits(workspace: Path) -> str:
    array = open_probability(open_store(workspace).zarr(PROBABILITY))
    return hashlib.sha256(np.asarray(array[:]).tobytes()).hexdigest()


def _begin(ground: Ground, chance: random.Random) -> tuple[Path, Path, subprocess.Popen[bytes]]:
    """A fresh workspace, a run of it, and some of that run's time gone by."""
    workspace, log = ground.folder / "ws", ground.folder / "first.log"
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.copytree(ground.cube, workspace)
    for old in (log, ground.folder / "second.log"):
        old.unlink(missing_ok=True)
    run = _predict(workspace, ground.model, log)
    time.sleep(chance.uniform(0.15, 0.95) * ground.seconds)
    return workspace, log, run


def _kill_worker(ground: Ground, chance: random.Random) -> dict[str, Any]:
    workspace, log, run = _begin(ground, chance)
    children = [c for c in psutil.Process(run.pid).children(recursive=True) if "spawn_main" in " ".join(c.cmdline())]
    done = _finished(workspace)
    if children:
        chance.choice(children).kill()
    run.wait()
    assert run.returncode == 0, (log.with_suffix(".err")).read_text()
    return _again(ground, workspace, log, done, orphans=0) | {"killed": bool(children)}


def _kill_flow(ground: Ground, chance: random.Random) -> dict[str, Any]:
    workspace, log, run = _begin(ground, chance)
    family = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
    run.kill()
    run.wait()
    time.sleep(0.5)
    orphans = [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    _, still = psutil.wait_procs(orphans, timeout=5)
    done = _finished(workspace)
    return _again(ground, workspace, log, done, orphans=len(still))


def _terminate(ground: Ground, chance: random.Random) -> dict[str, Any]:
    workspace, log, run = _begin(ground, chance)
    family = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
    began = time.monotonic()
    run.send_signal(signal.SIGTERM)
    run.wait()
    left = time.monotonic() - began
    _, still = psutil.wait_procs(family, timeout=5)
    done = _finished(workspace)
    case = _again(ground, workspace, log, done, orphans=len(still))
    assert run.returncode in (TERMINATED, 0), (log.with_suffix(".err")).read_text()
    return case | {"left_s": left, "code": run.returncode}


def _again(ground: Ground, workspace: Path, log: Path, done: set[str], *, orphans: int) -> dict[str, Any]:
    second = ground.folder / "second.log"
    code = _predict(workspace, ground.model, second).wait()
    return _judge(ground, workspace, [log, second], done, code, killed=True) | {"orphans": orphans}


def _judge(
    ground: Ground, workspace: Path, logs: list[Path], done: set[str], code: int, *, killed: bool
) -> dict[str, Any]:
    runs = [
        [ground.tile_of[line] for line in log.read_text().split() if line in ground.tile_of] if log.exists() else []
        for log in logs
    ]
    every = [tile for run in runs for tile in run]
    ledgered = {t for b in ground.tiling.blocks() if f"{b[0]}_{b[1]}" in done for t in ground.tiling.owned(b)}
    twice = [tile for tile in set(every) if every.count(tile) > 1]
    return {
        "same": code == 0 and _bits(workspace) == ground.bits,
        "twice": len(every) - len(set(every)),
        "ledgered_twice": sum(tile in ledgered for tile in twice),
        "missing": len(set(ground.tile_of.values()) - set(every)),
        "done_share": len(done) / len(list(ground.tiling.blocks())),
        "leftovers": len(_leftovers(workspace)),
        "orphans": 0,
        "left_s": 0.0,
        "killed": killed,
    }


def _finished(workspace: Path) -> set[str]:
    from infra.ledger import Ledger

    return set(Ledger(open_store(workspace), PREDICT).done())


def _leftovers(workspace: Path) -> list[str]:
    strange = [
        p for p in workspace.rglob("*") if p.name.startswith((".part", ".old", ".probe")) or ".partial" in p.name
    ]
    return [str(p.relative_to(workspace)) for p in [*strange, *workspace.glob("strips/*/*")]]


def _pair(ground: Ground) -> dict[str, Any]:
    """Two runs on one workspace at the same moment."""
    workspace = ground.folder / "ws"
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.copytree(ground.cube, workspace)
    began = time.monotonic()
    runs = [_predict(workspace, ground.model, ground.folder / f"pair{n}.log") for n in range(2)]
    ended: dict[int, float] = {}
    while len(ended) < len(runs):
        for n, run in enumerate(runs):
            if n not in ended and run.poll() is not None:
                ended[n] = time.monotonic() - began
        time.sleep(0.02)
    losers = [ended[n] for n, run in enumerate(runs) if run.returncode == BUSY]
    return {
        "codes": sorted(run.returncode for run in runs),
        "loser_s": max(losers, default=0.0),
        "same": _bits(workspace) == ground.bits,
    }


if __name__ == "__main__":
    main()
    print(json.dumps({"status": "done"}))
