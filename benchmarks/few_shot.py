"""What four labelled windows teach: geoloom's few-shot labels, and the default network trained on the same windows.

    python -m benchmarks.few_shot [--tiles 1 2 3 4 5 6] [--draws 0 1 2] [--network] [--steps 1000]

Of a Dubai tile four windows of 512 pixels that show every class between them are drawn; the rest of the tile is scored.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.labels import iou
from benchmarks.samples import BUILDING, ROAD
from flows import steps
from infra.progress import Silent
from infra.settings import settings
from infra.store import open_store
from tasks.label_params import LabelParams
from tasks.params import ClusterParams, DeviceParams, IngestParams, PredictParams, RunParams, TrainParams
from tasks.raster.classes import DEFAULT_CLASSES, IGNORE
from tasks.raster.dubai import write_scene
from tasks.raster.gdal import rasterio
from tasks.raster.labels import open_label

SIDE, COUNT = 512, 4
LABELLED = 0.7
"""Share of a window that the truth labels, at least."""


def drawn(truth: NDArray[np.uint8], draw: int) -> list[tuple[int, int]]:
    """Row and column of four windows that do not overlap and show every class of the truth."""
    chance = np.random.default_rng(draw)
    wanted = set(np.unique(truth[truth != IGNORE]).tolist())
    for _ in range(1000):
        found: list[tuple[int, int]] = []
        for row, column in chance.integers(0, np.array(truth.shape) - SIDE, (200, 2)).tolist():
            apart = all(max(abs(row - r), abs(column - c)) >= SIDE for r, c in found)
            if apart and np.mean(truth[row : row + SIDE, column : column + SIDE] != IGNORE) >= LABELLED:
                found.append((row, column))
            if len(found) == COUNT:
                break
        shown = {n for r, c in found for n in np.unique(truth[r : r + SIDE, c : c + SIDE]).tolist()}
        if len(found) == COUNT and shown >= wanted:
            return found
    raise SystemExit(f"No {COUNT} windows show every class.")


def scored(found: NDArray[np.uint8], truth: NDArray[np.uint8], shown: list[tuple[int, int]]) -> tuple[float, float]:
    """IoU of building and road outside the windows."""
    rest = truth.copy()
    for row, column in shown:
        rest[row : row + SIDE, column : column + SIDE] = IGNORE
    return iou(found == BUILDING, rest, BUILDING), iou(found == ROAD, rest, ROAD)


@dataclass(frozen=True, slots=True)
class Reading:
    """IoUs outside the windows."""

    windows: list[tuple[int, int]]
    """Row and column of those that were shown."""
    by: str
    building: float
    road: float


def readings(number: int, draw: int, folder: Path, *, network: int) -> Iterator[Reading]:
    """Label a tile by windows of it, and train on them for so many steps; each is told as soon as it is known."""
    scene, truth_file = write_scene(settings().data_dir / "dubai", number, folder)
    workspace = folder / f"few{number}"
    if not workspace.exists():
        steps.ingest(IngestParams(scenes=(str(scene),)), str(workspace), run=ClusterParams(), progress=Silent())
    with rasterio.open(truth_file) as source:
        truth = source.read(1)
    shown = drawn(truth, draw)
    known = np.full_like(truth, IGNORE)
    for row, column in shown:
        known[row : row + SIDE, column : column + SIDE] = truth[row : row + SIDE, column : column + SIDE]
    examples = folder / f"shown{number}-{draw}.tif"
    with rasterio.open(examples, "w", driver="GTiff", width=truth.shape[1], height=truth.shape[0], count=1,
                       dtype="uint8", nodata=IGNORE) as target:  # fmt: skip
        target.write(known, 1)
    names = DEFAULT_CLASSES.names
    windows = tuple(f"{row},{column},{SIDE}" for row, column in shown)
    params = LabelParams(
        method=("few-shot",), examples=str(examples), example_windows=windows, truth_classes=names, from_truth=True
    )
    steps.label(params, str(workspace), run=RunParams(), progress=Silent())
    label = np.asarray(open_label(open_store(str(workspace)).zarr("labels.zarr"))[:])
    yield Reading(shown, "few-shot", *scored(label, truth, shown))
    if network:
        taught = LabelParams(method=("truth",), truth=str(examples), truth_classes=names)
        steps.label(taught, str(workspace), run=RunParams(), progress=Silent())
        model = folder / f"model{number}-{draw}"
        training = TrainParams(steps=network, validation_share=0.0)
        steps.train(training, [str(workspace)], model, run=DeviceParams(), progress=Silent())
        steps.predict(PredictParams(model=str(model)), str(workspace), run=RunParams(), progress=Silent())
        steps.mosaic(str(workspace), progress=Silent())
        with rasterio.open(workspace / "products" / "classes.tif") as source:
            yield Reading(shown, f"network, {network} steps", *scored(source.read(1), truth, shown))


def main() -> None:
    """Measure every tile and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--network", action="store_true", help="train the default network on the same windows, too")
    parser.add_argument("--steps", type=int, default=1000)
    chosen = parser.parse_args()
    means: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in chosen.tiles:
            for draw in chosen.draws:
                network = chosen.steps if chosen.network else 0
                for one in readings(number, draw, Path(folder), network=network):
                    means.setdefault(one.by, []).append((one.building + one.road) / 2)
                    print(
                        f"| {number} | {draw} | {one.windows} | {one.by} | {one.building:.3f} | {one.road:.3f} |",
                        flush=True,
                    )
    for name, values in means.items():
        print(f"{name}: mean of building and road {np.mean(values):.3f}")


if __name__ == "__main__":
    main()
