"""How sure labels made from vectors are: counted on Dubai's tiles 1 to 6, fitted there, and checked tile by tile.

    python -m benchmarks.certainty [--tiles 1 2 3 4 5 6] [--seeds 0 1] [--write]

Vectors are buildings' boxes with every edge moved by up to 15 % and one in ten left out, and roads' centre lines with
every vertex moved by up to 6 pixels; `--write` keeps the table that the labelling uses (tasks/raster/certainty.json).
Each tile is also judged by the table of the other five: that is what can be expected of a scene never seen.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.prompts import Prompted, prompted
from infra.progress import Silent
from infra.store import open_store
from tasks.label_params import LabelParams
from tasks.raster.blend import TOP
from tasks.raster.certainty import FILE, SHAPE, table_of
from tasks.raster.classes import IGNORE
from tasks.raster.grid import ground_resolution, shape_of, windows, within
from tasks.raster.reliability import Reliability
from tasks.raster.vectors import read_shapes
from tasks.sam_view import SamView
from tasks.vector_labeler import VectorLabeler
from tasks.vector_lessons import learnt_here
from tasks.workspace import open_workspace

HOME = Path(__file__).resolve().parents[1] / "tasks" / "raster" / FILE


def counts_of(tile: Prompted) -> NDArray[np.int64]:
    """Pixels of a tile, wrong and right, by cell: (2, cells)."""
    workspace = open_workspace(open_store(tile.workspace))
    cube = workspace.cube()
    view = SamView.of(workspace.store, cube, LabelParams(), device="cpu")
    shapes = read_shapes(tile.vectors, workspace.grid, workspace.classes, vector_class=None, road_width=tile.road_width)
    labeler = VectorLabeler(
        view, shapes, learnt_here(view, shapes), misplaced=tile.misplaced / (ground_resolution(cube.grid) or 1.0)
    )
    counts = np.zeros((2, int(np.prod(SHAPE))), np.int64)
    for window in windows((cube.grid.shape[0], cube.grid.shape[1]), labeler.window):
        place = view.around(window)
        inner = within(window, place)
        seen = labeler.look(window)
        truth = tile.truth[window]
        truth = np.where(np.isin(truth, [1, 2, IGNORE]), truth, 0)
        label = seen.label[inner]
        known = (label != IGNORE) & (truth != IGNORE) & cube.read(window, bands=())[1]
        cell, right = seen.cells()[inner][known], (label == truth)[known]
        for outcome in (0, 1):
            counts[outcome] += np.bincount(cell[right == outcome], minlength=counts.shape[1])
        assert shape_of(window) == label.shape
    return counts


def judged(counts: NDArray[np.int64], share: NDArray[np.float64]) -> Reliability:
    """Pixels of a tile by the confidence that a table gives them."""
    found = Reliability()
    confidence = np.round(share * TOP).astype(np.intp)
    for outcome in (0, 1):
        np.add.at(found.counts[outcome], confidence, counts[outcome])
    return found


def main() -> None:
    """Count, fit, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--keep", type=Path, help="a folder for the workspaces: another run finds what SAM saw")
    parser.add_argument("--write", action="store_true", help="keep the table")
    chosen = parser.parse_args()
    counts = {}
    with tempfile.TemporaryDirectory() as passing:
        folder = chosen.keep or Path(passing)
        for number in chosen.tiles:
            for seed in chosen.seeds:
                tile = prompted(f"dubai/{number}", seed, folder, progress=Silent())
                counts[number, seed] = counts_of(tile)
                print(f"tile {number}, seed {seed}: {counts[number, seed].sum():,} pixels", flush=True)
    print("| tile | pixels | right | calibration error | AUROC |\n|---|---|---|---|---|")
    for number in chosen.tiles:
        own = np.sum([c for (n, _), c in counts.items() if n == number], axis=0)
        others = [c for (n, _), c in counts.items() if n != number]
        if not others:
            continue
        # A large tile must not drown the others: each counts for as much.
        share = table_of(np.sum([c * (1e7 / c.sum()) for c in others], axis=0).astype(np.int64))
        found = judged(own, share)
        right = own[1].sum() / own.sum()
        print(f"| {number} | {own.sum():,} | {right:.3f} | {found.error:.3f} | {found.separation:.3f} |")
    if chosen.write:
        share = table_of(np.sum([c * (1e7 / c.sum()) for c in counts.values()], axis=0).astype(np.int64))
        document = {"of": f"Dubai tiles {chosen.tiles}, seeds {chosen.seeds}", "share": np.round(share, 4).tolist()}
        HOME.write_text(json.dumps(document) + "\n")
        print(f"written to {HOME.name}")


if __name__ == "__main__":
    main()
