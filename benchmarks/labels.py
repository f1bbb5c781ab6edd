"""How much better labels are than the prompts they are made from.

    python -m benchmarks.labels [--scenes dubai whu atlanta massroads vegas] [--seeds 0 1 2 3 4]

Buildings' boxes have every edge moved by up to 15 % of the side and one in ten is left out; roads' centre lines have
every vertex moved by up to 6 pixels, or 2 m where there are metres (`benchmarks/prompts.py`). The gain is the IoU of
the labels less that of the boxes themselves, and for roads less that of the best of all buffers of one width, which is
chosen by the truth. `--scenes` takes names of single scenes too (`benchmarks/samples.py`).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from benchmarks.prompts import Prompted, prompted
from benchmarks.samples import BUILDING, ROAD, SETS
from flows import steps
from infra.progress import Silent
from infra.store import open_store
from tasks.label_params import LabelParams
from tasks.params import RunParams
from tasks.raster.classes import IGNORE
from tasks.raster.gdal import rasterio
from tasks.raster.labels import open_label

WIDTHS = (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 24, 28, 32, 40)
"""Pixels of the buffers that roads are compared with."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A scene's IoUs, where it has such truth."""

    building: tuple[float, float] | None
    """Of boxes and of labels."""
    road: tuple[float, float] | None
    """Of the best buffer and of labels."""


def iou(found: NDArray[np.bool_], truth: NDArray[np.uint8], klass: int) -> float:
    """Of a class, over the pixels that the truth labels."""
    known = truth != IGNORE
    wanted, found = (truth == klass) & known, found & known
    return int(np.count_nonzero(found & wanted)) / max(int(np.count_nonzero(found | wanted)), 1)


def burnt(shapes: list[shapely.Geometry], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(y, x) of pixels whose centre lies in any."""
    if not shapes:
        return np.zeros(shape, bool)
    drawn: NDArray[np.uint8] = rasterio.features.rasterize([(s, 1) for s in shapes], out_shape=shape, dtype="uint8")
    return drawn > 0


def measured(tile: Prompted) -> Gain:
    """Label a scene by its prompts, and compare."""
    params = LabelParams(method=("vectors",), prompts=tile.vectors, road_width=tile.road_width, from_truth=True)
    steps.label(params, tile.workspace, run=RunParams(), progress=Silent())
    label = np.asarray(open_label(open_store(tile.workspace).zarr("labels.zarr"))[:])
    truth = tile.truth
    shape = (truth.shape[0], truth.shape[1])
    building = road = None
    if tile.boxes:
        building = iou(burnt(tile.boxes, shape), truth, BUILDING), iou(label == BUILDING, truth, BUILDING)
    if tile.lines:
        buffers = (burnt([line.buffer(width / 2) for line in tile.lines], shape) for width in WIDTHS)
        road = max(iou(buffer, truth, ROAD) for buffer in buffers), iou(label == ROAD, truth, ROAD)
    return Gain(building, road)


def _row(found: tuple[float, float] | None) -> str:
    return "| | | " if found is None else f"{found[0]:.3f} | {found[1]:.3f} | {found[1] - found[0]:+.3f} "


def main() -> None:
    """Measure every scene and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(SETS))
    parser.add_argument("--keep", type=Path, help="a folder for the workspaces: another run finds what SAM saw")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    chosen = parser.parse_args()
    print("| scene | seed | boxes | buildings | gain | best buffer | roads | gain |\n|---|---|---|---|---|---|---|---|")
    means = []
    for group in chosen.scenes:
        gains: dict[int, list[Gain]] = {}
        with tempfile.TemporaryDirectory() as passing:
            folder = chosen.keep or Path(passing)
            for name in SETS.get(group, (group,)):
                for seed in chosen.seeds:
                    one = measured(prompted(name, seed, folder, progress=Silent()))
                    gains.setdefault(seed, []).append(one)
                    print(f"| {name} | {seed} | {_row(one.building)}| {_row(one.road)}|", flush=True)
        for what in ("building", "road"):
            each = [[pair[1] - pair[0] for g in of if (pair := getattr(g, what))] for of in gains.values()]
            if each[0]:
                means.append(f"{group}, {what}s: {np.median([np.mean(seed) for seed in each]):+.3f}")
    print("\nMean gain over the scenes, median of the seeds:", "; ".join(means) + ".")


if __name__ == "__main__":
    main()
