"""How much better labels are than the prompts they are made from.

    python -m benchmarks.labels [--scenes dubai whu atlanta massroads vegas] [--seeds 0 1 2 3 4]

Buildings' boxes have every edge moved by up to 15 % of the side and one in ten is left out; roads' centre lines have
every vertex moved by up to 6 pixels, or 2 m where there are metres (`benchmarks/prompts.py`). The gain is the IoU of
the labels less that of the boxes themselves, and for roads less that of the best of all buffers of one width, which is
chosen by the truth. `--scenes` takes names of single scenes too (`benchmarks/samples.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from benchmarks.page import Goal, Result, parser, publish
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


def labelled(workspace: str, params: LabelParams) -> NDArray[np.uint8]:
    """Label a workspace; (y, x) the class ids."""
    steps.label(params, workspace, run=RunParams(), progress=Silent())
    label: NDArray[np.uint8] = np.asarray(open_label(open_store(workspace).zarr("labels.zarr"))[:])
    return label


def measured(tile: Prompted) -> Gain:
    """Label a scene by its prompts, and compare."""
    params = LabelParams(
        method=("vectors",), prompts=tile.vectors, road_width=tile.road_width, misplaced=tile.misplaced, from_truth=True
    )
    label = labelled(tile.workspace, params)
    truth = tile.truth
    shape = (truth.shape[0], truth.shape[1])
    building = road = None
    if tile.boxes:
        building = iou(burnt(tile.boxes, shape), truth, BUILDING), iou(label == BUILDING, truth, BUILDING)
    if tile.lines:
        buffers = (burnt([line.buffer(width / 2) for line in tile.lines], shape) for width in WIDTHS)
        road = max(iou(buffer, truth, ROAD) for buffer in buffers), iou(label == ROAD, truth, ROAD)
    return Gain(building, road)


def _all_seeds(asked: tuple[str, list[int], Path]) -> tuple[str, list[Gain]]:
    """A scene by all its prompts, in a process of its own."""
    name, seeds, folder = asked
    gains = []
    for seed in seeds:
        gains.append(measured(prompted(name, seed, folder, progress=Silent())))
        print(name, seed, gains[-1], flush=True)
    return name, gains


def main() -> None:
    """Measure every scene and seed, tell."""
    words = parser("labels", __doc__)
    words.add_argument("--scenes", nargs="+", default=list(SETS))
    words.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    words.add_argument("--processes", type=int, default=2, help="of one thread each, a scene at a time")
    options = words.parse_args()
    folder = options.out / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    groups = {group: SETS.get(group, (group,)) for group in options.scenes}
    asked = [(name, options.seeds, folder) for names in groups.values() for name in names]
    with get_context("spawn").Pool(options.processes, initializer=_one_thread) as pool:
        found = dict(sorted(pool.imap_unordered(_all_seeds, asked)))
    publish(_result(groups, found, options.seeds), options)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _result(groups: Mapping[str, Sequence[str]], found: Mapping[str, list[Gain]], seeds: list[int]) -> Result:
    rows = [
        (name, *_cells([g.building for g in gains]), *_cells([g.road for g in gains])) for name, gains in found.items()
    ]
    goals = []
    for what, least in (("building", 0.15), ("road", 0.05)):
        for group, names in groups.items():
            of = [[pair for g in found[name] if (pair := getattr(g, what)) is not None] for name in names]
            if any(of):
                means = np.mean([[labels - prompts for prompts, labels in gains] for gains in of if gains], axis=0)
                prompt = "boxes" if what == "building" else "the best buffer"
                goals.append(
                    Goal(f"{group}, {what}s: IoU above that of {prompt}", float(np.median(means)), at_least=least)
                )
    about = (
        "Labels made from vectors that lie wrong, on whole scenes, by SAM ViT-T; IoU, medians of "
        f"{len(seeds)} fixed seeds. Boxes of buildings have every edge moved by up to 15 % of the side, and one in ten "
        "is missing; lines of roads have every vertex moved by up to 6 pixels on Dubai, 2 m elsewhere. The best buffer "
        "is the best of all widths by the truth. A goal is the mean over the scenes, median of the seeds. The truth of "
        "Massachusetts and Vegas are lines drawn with a width, not drawn roads."
    )
    head = ("scene", "boxes", "buildings", "gain", "best buffer", "roads", "gain")
    data = {name: [{"building": g.building, "road": g.road} for g in gains] for name, gains in found.items()}
    return Result("labels", "Labels from vectors that lie wrong", about, head, tuple(rows), data, tuple(goals))


def _cells(pairs: Sequence[tuple[float, float] | None]) -> tuple[str, str, str]:
    known = [(one, other, other - one) for one, other in (pair for pair in pairs if pair is not None)]
    if not known:
        return "", "", ""
    prompts, labels, gain = np.median(known, axis=0)
    return f"{prompts:.3f}", f"{labels:.3f}", f"{gain:+.3f}"


if __name__ == "__main__":
    main()
