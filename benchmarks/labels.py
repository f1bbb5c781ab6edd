"""How much better labels are than the prompts they are made from, on Dubai's tiles.

    python -m benchmarks.labels [--tiles 1 2 3 4 5 6] [--seeds 0 1 2 3 4]

Buildings' boxes have every edge moved by up to 15 % of the side and one in ten is left out; roads' centre lines have
every vertex moved by up to 6 pixels (`benchmarks/prompts.py`). The gain is the IoU of the labels less that of the boxes
themselves, and for roads less that of the best of all buffers of one width, which is chosen by the truth.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from benchmarks.prompts import Prompted, jittered_lines, prompted_tile
from flows import steps
from infra.progress import Silent
from infra.store import open_store
from tasks.label_params import LabelParams
from tasks.params import RunParams
from tasks.raster.classes import IGNORE
from tasks.raster.gdal import rasterio
from tasks.raster.labels import open_label

BUILDING, ROAD = 1, 2
WIDTHS = (8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40)
"""Pixels of the buffers that roads are compared with."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A tile's IoUs."""

    boxes: float
    building: float
    buffer: float
    road: float


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


def measured(tile: Prompted, seed: int) -> Gain:
    """Label a tile by its prompts, and compare."""
    params = LabelParams(method=("vectors",), prompts=tile.vectors, road_width=tile.road_width, from_truth=True)
    steps.label(params, tile.workspace, run=RunParams(), progress=Silent())
    label = np.asarray(open_label(open_store(tile.workspace).zarr("labels.zarr"))[:])
    truth = tile.truth
    shape = (truth.shape[0], truth.shape[1])
    lines = jittered_lines(truth, seed)
    buffers = [iou(burnt([line.buffer(w / 2) for line in lines], shape), truth, ROAD) for w in WIDTHS]
    boxes = burnt([shapely.box(*box) for box in tile.boxes], shape)
    building, road = (iou(label == klass, truth, klass) for klass in (BUILDING, ROAD))
    return Gain(iou(boxes, truth, BUILDING), building, max(buffers), road)


def main() -> None:
    """Measure every tile and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    chosen = parser.parse_args()
    gains: dict[int, list[Gain]] = {}
    print("| tile | seed | boxes | buildings | gain | best buffer | roads | gain |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number in chosen.tiles:
            for seed in chosen.seeds:
                one = measured(prompted_tile(number, seed, Path(folder), progress=Silent()), seed)
                gains.setdefault(seed, []).append(one)
                print(
                    f"| {number} | {seed} | {one.boxes:.3f} | {one.building:.3f} | {one.building - one.boxes:+.3f} | "
                    f"{one.buffer:.3f} | {one.road:.3f} | {one.road - one.buffer:+.3f} |",
                    flush=True,
                )
    building = np.median([np.mean([g.building - g.boxes for g in each]) for each in gains.values()])
    road = np.median([np.mean([g.road - g.buffer for g in each]) for each in gains.values()])
    print(f"\nMean gain over the tiles, median of the seeds: buildings {building:+.3f}, roads {road:+.3f}.")


if __name__ == "__main__":
    main()
