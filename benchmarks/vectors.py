"""Vectors of worlds whose prediction is their truth: how true, how few corners, how fast, in how much memory.

python -m benchmarks.vectors [--sizes 8192,40000]
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import Watch, answer, asked, measure_in_child, resident_mb
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import WORLD, fresh, rgb_scene

SIDE = 1024
"""Pixels a side of the prediction's blocks."""


def main() -> None:
    """Draw worlds of every size, tell."""
    document = asked()
    if document is not None:
        answer({"predict": _predict, "vectorize": _vectorize, "compare": _compare}[document["what"]](document))
        return
    words = parser("vectors", __doc__)
    words.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[8192, 40000])
    options = words.parse_args()
    found: list[dict[str, Any]] = []
    for size in options.sizes:
        scene = rgb_scene(options.out, size)
        truth = options.out / f"world_{min(size, WORLD)}_truth.tif"
        workspace = fresh(options.out / "workspaces" / "vectors")
        asking = {"scene": str(scene), "truth": str(truth), "workspace": str(workspace)}
        measure_in_child("benchmarks.vectors", asking | {"what": "predict"})
        run = {"size": size} | measure_in_child("benchmarks.vectors", asking | {"what": "vectorize"})
        if size == options.sizes[0]:
            run |= measure_in_child("benchmarks.vectors", asking | {"what": "compare"})
        found.append(run)
        print(run)
        fresh(workspace)
    publish(_result(found), options)


def _predict(document: dict[str, Any]) -> dict[str, float]:
    """A cube, and the truth as its prediction."""
    from flows import steps
    from infra.ledger import Entry, Ledger
    from infra.progress import Silent
    from infra.store import open_store
    from tasks.params import ClusterParams, IngestParams
    from tasks.raster import probability as prob
    from tasks.raster.digest import digest
    from tasks.raster.gdal import rasterio
    from tasks.raster.grid import windows
    from tasks.units import unit_of
    from tasks.workspace import PREDICT, PROBABILITY, open_workspace

    steps.ingest(
        IngestParams(scenes=(document["scene"],)), document["workspace"], run=ClusterParams(), progress=Silent()
    )
    store = open_store(document["workspace"])
    workspace = open_workspace(store)
    place, classes = store.zarr(PROBABILITY), workspace.classes
    prob.create_probability(place, workspace.grid, classes=classes.names, shard=SIDE, attributes={})
    numbers = np.arange(len(classes))[:, None, None]
    likely = 254 - 4 * (len(classes) - 1)
    units = {}
    with rasterio.open(document["truth"]) as source:
        for rows, cols in windows((workspace.grid.shape[0], workspace.grid.shape[1]), SIDE):
            shape = rows.stop - rows.start, cols.stop - cols.start
            part = rasterio.windows.Window(cols.start % WORLD, rows.start % WORLD, shape[1], shape[0])
            labels = source.read(1, window=part)
            planes = np.where(numbers == labels, likely, 4).astype(np.uint8)
            planes[:, labels == 255] = 255  # noqa: PLR2004 - nodata
            prob.write_probability(place, (rows, cols), planes)
            unit, mark = unit_of((rows, cols), SIDE), digest(planes)
            facts = {"valid": int((labels != 255).sum()), "lost": []}  # noqa: PLR2004
            Ledger(store, PREDICT).record(Entry(unit, mark, mark, short=False, facts=facts))
            units[unit] = mark
    card = {
        "name": "truth",
        "architecture": "none",
        "bands": ["red"],
        "mean": [0],
        "std": [1],
        "tile": SIDE,
        "weights": "",
    }
    about = {
        "trained_here": True, "model": "0" * 64, "cube": workspace.cube().fingerprint, "parameters": "the truth",
        "colours": [list(c.colour) for c in classes.classes], "units": prob.state_of(units),
        "card": card,
    }  # fmt: skip
    prob.update_attributes(place, about)
    return {}


def _vectorize(document: dict[str, Any]) -> dict[str, Any]:
    import tasks.vectorize  # noqa: F401 - imports are not what is measured
    from flows import steps
    from infra.progress import Silent
    from tasks.params import ClusterParams, VectorizeParams

    held = resident_mb()
    with Watch() as watch:
        begun = time.perf_counter()
        done = steps.vectorize(VectorizeParams(), document["workspace"], run=ClusterParams(), progress=Silent())
        taken = time.perf_counter() - begun
    stored = {name: Path(place).stat().st_size / 1e6 for name, place in done.products.items()}
    return {
        "seconds": taken,
        "peak_mb": max(watch.peaks.values()) - held,
        "features": done.features,
        "stored_mb": stored,
    }


def _compare(document: dict[str, Any]) -> dict[str, float]:
    """Drawn outlines against those along pixel edges."""
    import shapely

    from flows import steps
    from infra.progress import Silent
    from tasks.params import ClusterParams, VectorizeParams
    from tasks.raster.ogr import geopandas

    path = Path(document["workspace"]) / "products/buildings.parquet"
    drawn = geopandas.read_parquet(path).set_index("id")
    params = VectorizeParams(outlines="pixels", lines=())
    steps.vectorize(params, document["workspace"], run=ClusterParams(), progress=Silent())
    raw = geopandas.read_parquet(path).set_index("id").geometry
    pairs = drawn.join(raw.rename("raw"), how="inner")
    both = shapely.area(shapely.intersection(pairs.geometry.values, pairs.raw.values))
    either = shapely.area(pairs.geometry.values) + shapely.area(pairs.raw.values) - both
    corners = [
        int((shapely.get_num_coordinates(shapes.values) - 1 - shapely.get_num_interior_rings(shapes.values)).sum())
        for shapes in (pairs.geometry, pairs.raw)
    ]
    return {"least_iou": float((both / either).min()), "mean_iou": float((both / either).mean()),
            "corners": corners[0] / corners[1]}  # fmt: skip


def _result(found: list[dict[str, Any]]) -> Result:
    rows = tuple(
        (
            f"{r['size']:,}²",
            number(r["seconds"]),
            number(r["size"] ** 2 / 1e6 / r["seconds"]),
            *(f"{r['features'][layer]:,}" for layer in ("buildings", "roads", "roads_nodes")),
            number(r["peak_mb"]),
            number(sum(r["stored_mb"].values())),
        )
        for r in found
    )
    first, last = found[0], found[-1]
    return Result(
        "vectors",
        "Vectors",
        "`geoloom vectorize` of worlds (larger ones than 8192² repeat it) whose stored prediction is their truth, two "
        "lanes: looking at every block, and writing all files.",
        ("scene", "seconds", "MPix/s", "buildings", "roads", "nodes", "peak MB beyond imports", "files MB"),
        rows,
        {"found": found},
        goals=(
            Goal("least IoU of a drawn building with its pixels", first["least_iou"], at_least=0.9),
            Goal("corners / corners along pixel edges", first["corners"], at_most=0.2),
        )
        + (
            (Goal("peak at the largest size / at the smallest", last["peak_mb"] / first["peak_mb"], "x", at_most=1.5),)
            if len(found) > 1
            else ()
        ),
        notes=(f"Mean IoU of drawn buildings with their pixels: {first['mean_iou']:.3f}.",),
    )


if __name__ == "__main__":
    main()
