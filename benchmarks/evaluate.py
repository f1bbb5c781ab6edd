"""How fast a map is scored, and in how much memory, at several sizes.

    python -m benchmarks.evaluate [--sizes 8192,40000]

The map is the truth of a procedural world moved by a few pixels, and its probabilities are as sure as such maps are:
the scores have as many buildings, roads and boundaries to meet as a real map's. Larger scenes repeat a world of 8192².
Each size is scored twice, by a process of its own with one thread: by pixels alone, and in full, page and all.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import Watch, answer, asked, measure_in_child
from benchmarks.mapping import ingest
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import WORLD, fresh, rgb_scene

MOST_MB, LEAST_RATE = 1500, 50.0
MOVED = (2, 3)
"""Rows and columns."""
SURE = 200
"""Of 254, in the class of the map."""
SIDE = 2048


def main() -> None:
    """Make the maps, score each in a process of its own, tell."""
    document = asked()
    if document is not None:
        answer(_count(document) if document["scores"] == "matrix" else _evaluate(document))
        return
    words = parser("evaluate", __doc__)
    words.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[8192, 40000])
    options = words.parse_args()
    found: list[dict[str, Any]] = []
    rate = _child(scores="matrix")["rate"]
    for size in options.sizes:
        workspace, truth = _mapped(options.out, size)
        for scores in ("pixels", "all"):
            found.append({"size": size, "scores": scores} | _child(workspace=workspace, truth=truth, scores=scores))
            print(found[-1])
        fresh(workspace)
    publish(_result(found, rate), options)


def _child(**document: Any) -> dict[str, Any]:
    return measure_in_child("benchmarks.evaluate", document, environment={"OMP_NUM_THREADS": "1"})


def _count(_document: dict[str, Any]) -> dict[str, Any]:
    """Millions of pixels a second that are counted into a confusion matrix, by the clock of the process."""
    from models.metrics import Confusion

    rng = np.random.default_rng(0)
    truth, prediction = (rng.integers(0, 6, (SIDE, SIDE), np.uint8) for _ in range(2))
    confusion, seconds = Confusion(6), []
    for _ in range(20):
        begun = time.process_time()
        confusion.add(truth, prediction)
        confusion.scores()
        seconds.append(time.process_time() - begun)
    return {"rate": SIDE**2 / 1e6 / sorted(seconds)[len(seconds) // 2]}


def _evaluate(document: dict[str, Any]) -> dict[str, Any]:
    import tasks.evaluate  # noqa: F401 - what a command costs before it begins is another benchmark's
    from flows import steps
    from infra.progress import Silent
    from tasks.truth_params import EvaluateParams

    params = EvaluateParams(truth=document["truth"])
    if document["scores"] == "pixels":
        params = params.model_copy(update={"also": ("pixels",)})
    begun, spent = time.perf_counter(), time.process_time()
    with Watch() as watch:
        steps.evaluate(params, document["workspace"], progress=Silent())
    return {
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - spent,
        "peak_mb": max(watch.peaks.values()),
    }


def _mapped(out: Path, size: int) -> tuple[Path, Path]:
    """A workspace with a cube and a map, and the truth that the map is moved from."""
    from infra.store import open_store
    from tasks.workspace import open_workspace

    scene, workspace = rgb_scene(out, size), out / "workspaces" / "evaluate"
    ingest(scene, workspace)
    opened = open_workspace(open_store(str(workspace)))
    products = workspace / "products"
    products.mkdir()
    _write_map(out, products, opened)
    return workspace, products / "truth.tif"


def _write_map(out: Path, products: Path, opened: Any) -> None:
    """Truth, classes and probabilities, window by window, laid out as geoloom's own products."""
    from tasks.raster.blend import NODATA, TOP
    from tasks.raster.gdal import rasterio
    from tasks.raster.geotiff import Layout, class_layout, tiled_geotiff
    from tasks.raster.grid import windows

    grid, classes = opened.grid, opened.classes
    tags = {"GEOLOOM_CUBE": opened.cube().fingerprint, "GEOLOOM_TRAINED_HERE": "no", "GEOLOOM_MODEL_SHA256": "none",
            "GEOLOOM_PARAMETERS": "the truth, moved"}  # fmt: skip
    names = tags | {"CLASS_NAMES": ",".join(classes.names)}
    shares = Layout(grid, classes.names, NODATA, "AVERAGE", compress="ZSTD", scale=1 / TOP, tags=names)
    layout = class_layout(grid, classes, tags=tags)
    with rasterio.open(out / f"world_{min(grid.shape[0], WORLD)}_truth.tif") as source:
        world = source.read(1)
    with (
        tiled_geotiff(products / "truth.tif", layout) as write_truth,
        tiled_geotiff(products / "classes.tif", layout) as write_classes,
        tiled_geotiff(products / "probability.tif", shares) as write_shares,
    ):
        for window in windows((grid.shape[0], grid.shape[1]), SIDE):
            rows, cols = (np.arange(axis.start, axis.stop) % len(world) for axis in window)
            truth = world[rows[:, None], cols]
            moved = world[(rows[:, None] + MOVED[0]) % len(world), (cols + MOVED[1]) % len(world)]
            write_truth(window, truth[None])
            write_classes(window, moved[None])
            write_shares(window, np.where(moved == NODATA, np.uint8(NODATA), _shares(moved, len(classes), TOP)))


def _shares(classes: NDArray[np.uint8], count: int, top: int) -> NDArray[np.uint8]:
    """(class, y, x) probabilities in 254ths: most in the class of the map, the rest in the next one."""
    planes = np.zeros((count, *classes.shape), np.uint8)
    for klass in range(count):
        planes[klass][classes == klass] = SURE
        planes[klass][(classes + 1) % count == klass] = top - SURE
    return planes


def _result(found: list[dict[str, Any]], rate: float) -> Result:
    rows = tuple(
        (
            f"{r['size']:,}²",
            {"pixels": "by pixels", "all": "all, with the page"}[r["scores"]],
            number(r["seconds"]),
            number(r["size"] ** 2 / 1e6 / r["cpu"]),
            number(r["peak_mb"]),
        )
        for r in found
    )
    largest = max(found, key=lambda r: (r["size"], r["peak_mb"]))
    peak = max(r["peak_mb"] for r in found)
    pixels = next(r for r in found if r["size"] == largest["size"] and r["scores"] == "pixels")
    return Result(
        "evaluate",
        "Scoring a map",
        "The map is a procedural world's truth moved by a few pixels. One process, one thread; memory is all that the "
        "process holds, libraries included.",
        ("scene", "scores", "seconds", "MPix/s of processor time", "peak MB"),
        rows,
        {"runs": found, "confusion_rate": rate},
        (
            Goal(f"peak memory up to {largest['size']:,}²", peak, "MB", at_most=MOST_MB),
            Goal("pixels counted into a confusion matrix, a core", rate, "MPix/s", at_least=LEAST_RATE),
            Goal(
                "scores by pixels from files to files, a core",
                pixels["size"] ** 2 / 1e6 / pixels["cpu"],
                "MPix/s",
                at_least=LEAST_RATE,
            ),
        ),
    )


if __name__ == "__main__":
    main()
