"""What geoloom costs around the network: a network that passes bands through, against copying the file.

    python -m benchmarks.identity [--size 8192] [--runs 3]

The copy is rasterio's plainest: read a block, write a block, tiled deflate in and out, one process, one thread.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import answer, asked, measure_in_child
from benchmarks.networks import one_batch, save_identity
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import fresh, rgb_scene

TILE = 512
FADES = {"1 px overlap": (0, 1), "25 % overlap": (32, 64)}
"""Margin and ramp. The network needs neither; real ones do, and pay for every pixel that tiles share."""


def main() -> None:
    """Copy and map in turn, check the classes, tell."""
    document = asked()
    if document is not None:
        answer(_copy(document) if "target" in document else _map(document))
        return
    words = parser("identity", __doc__)
    words.add_argument("--size", type=int, default=8192)
    words.add_argument("--runs", type=int, default=3)
    options = words.parse_args()
    scene = rgb_scene(options.out, options.size)
    model = save_identity(options.out / "models" / "identity", tile=TILE)
    copied = options.out / "copy.tif"
    workspace = options.out / "workspaces" / "identity"
    copies: list[float] = []
    maps: dict[str, list[dict[str, Any]]] = {name: [] for name in FADES}
    for _ in range(options.runs):
        copies.append(_child(scene=scene, target=copied)["seconds"])
        for name, (margin, ramp) in FADES.items():
            found = _child(scene=scene, workspace=workspace, model=model, margin=margin, ramp=ramp)
            if found["wrong"]:
                sys.exit(f"{found['wrong']} pixels have another class than their brightest band.")
            maps[name].append(found)
    copied.unlink()
    fresh(workspace)
    publish(_result(options.size, options.runs, copies, maps), options)


def _child(**document: Any) -> dict[str, Any]:
    return measure_in_child("benchmarks.identity", document)


def _copy(document: dict[str, Any]) -> dict[str, float]:
    import rasterio  # not through geoloom's door: what a user would import

    begun = time.perf_counter()
    with rasterio.open(document["scene"]) as source, rasterio.open(document["target"], "w", **source.profile) as target:
        for _, window in source.block_windows(1):
            target.write(source.read(window=window), window=window)
    return {"seconds": time.perf_counter() - begun}


def _map(document: dict[str, Any]) -> dict[str, Any]:
    import tasks.ingest
    import tasks.mosaic
    import tasks.predict  # noqa: F401 - imports are not what is measured
    from benchmarks.mapping import map_scene
    from tasks.params import PredictParams
    from tasks.raster.gdal import rasterio

    one_batch(Path(document["model"]))
    tiles = {name: document[name] for name in ("margin", "ramp")}
    params = PredictParams(model=(document["model"],), tile=TILE, **tiles)
    done = map_scene(Path(document["scene"]), Path(document["workspace"]), params)
    wrong = 0
    with rasterio.open(document["scene"]) as source, rasterio.open(done.products / "classes.tif") as made:
        for _, window in made.block_windows(1):
            wrong += int(np.count_nonzero(source.read(window=window).argmax(axis=0) != made.read(1, window=window)))
    parts = {name: value for name, value in asdict(done).items() if name != "products"}
    return {"seconds": done.seconds, "wrong": wrong} | parts


def _result(size: int, runs: int, copies: list[float], maps: dict[str, list[dict[str, Any]]]) -> Result:
    megapixels = size**2 / 1e6
    plain = median(copies)
    seconds = {name: median(r["seconds"] for r in found) for name, found in maps.items()}
    rows = [("rasterio, block by block", "", *[""] * 3, number(plain), number(megapixels / plain), "1.00")]
    for name, found in maps.items():
        parts = [number(median(r[part] for r in found)) for part in ("ingest", "predict", "mosaic")]
        taken = seconds[name]
        rows.append(
            (
                f"geoloom, {name}",
                str(found[0]["tiles"]),
                *parts,
                number(taken),
                number(megapixels / taken),
                number(plain / taken),
            )
        )
    return Result(
        "identity",
        "Around the network",
        f"A network that only passes its bands through, {TILE} px tiles, over {size} x {size} pixels of RGB: from "
        "GeoTIFF to the GeoTIFF of classes, beside reading the same file and writing it again. Every class was checked "
        f"against the brightest band. Median of {runs} runs, each in a fresh process with imports done.",
        ("", "tiles", "ingest s", "predict s", "mosaic s", "seconds", "MPix/s", "of the copy's speed"),
        tuple(rows),
        {
            "size": size,
            "copy_seconds": plain,
            "seconds": seconds,
            "mpix_per_s": {name: megapixels / taken for name, taken in seconds.items()},
            "runs": maps,
            "copies": copies,
        },
        (Goal("speed / the copy's, slowest", plain / max(seconds.values()), at_least=0.3),),
    )


if __name__ == "__main__":
    main()
