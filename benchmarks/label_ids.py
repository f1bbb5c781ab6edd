"""Whether objects are whole where windows and blocks of a labelling meet, and the same whoever labels.

    python -m benchmarks.label_ids [--size 2600] [--windows 128,256,384,512] [--worlds town,blobs,cells] [--no-sam]

A labeler that sees every object as it is labels worlds of known objects, with windows of several sizes, on several
clusters. An object with two ids is split, an id on two objects is doubled. Then SAM finds every object of a part of a
Dubai tile on the same clusters: there is no truth for what it sees, but its ids must be the same.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import answer, asked, measure_in_child
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import fresh

CLUSTERS = {"one lane": ("lanes", 1), "two lanes": ("lanes", 2), "two processes": ("processes", 2)}
ARRAYS = ("label", "instance", "confidence")
TILE, ROWS, COLUMNS = 4, 1024, 1920
"""Of Dubai, and pixels of its middle: one column of windows lies in a second block."""


def main() -> None:
    """Label every world in all forms, each in a process of its own; count, tell."""
    document = asked()
    if document is not None:
        answer(_label(document))
        return
    words = parser("label_ids", __doc__)
    words.add_argument("--size", type=int, default=2600, help="pixels a side; blocks are 1536")
    words.add_argument("--windows", type=lambda text: [int(n) for n in text.split(",")], default=[128, 256, 384, 512])
    words.add_argument(
        "--worlds", type=lambda text: [w for w in text.split(",") if w], default=["town", "blobs", "cells"]
    )
    words.add_argument("--points", type=int, default=16, help="a side of the grid that SAM is asked at")
    words.add_argument("--no-sam", action="store_true")
    options = words.parse_args()
    from benchmarks.exact import WORLDS, exact_world, read_world

    if unknown := set(options.worlds) - set(WORLDS):
        words.error(f"there is no world {', '.join(unknown)}; choose of {', '.join(WORLDS)}")
    found = []
    for world in options.worlds:
        scene, kept = exact_world(world, options.out, options.size)
        for window in options.windows:
            described = options.out / "exact.json"
            described.write_text(json.dumps({"truth": str(kept.resolve()), "window": window}))
            asking = {"scene": str(scene), "exact": str(described.resolve())}
            made, differ, seconds = _on_all(options.out, asking)
            run = {"world": world, "window": window, "differ": differ, "seconds": seconds}
            found.append(run | count(read_world(kept)[1], made["instance"], made["piece"]))
            print(found[-1], flush=True)
    sam = None
    if not options.no_sam:
        made, differ, seconds = _on_all(options.out, {"scene": str(_dubai(options.out)), "points": options.points})
        ids = [len(np.unique(made[name])) - 1 for name in ("piece", "instance")]
        sam = {"differ": differ, "pieces": ids[0], "objects": ids[1], "seconds": seconds}
        print(sam, flush=True)
    publish(_result(found, sam, options.size), options)


def count(objects: NDArray[np.uint32], found: NDArray[np.uint32], pieces: NDArray[np.uint32]) -> dict[str, int]:
    """What became of objects.

    Args:
        objects: (y, x) their ids in truth, 0 = none.
        found: (y, x) the ids that they were given.
        pieces: (y, x) the ids that windows gave, before they were put together.
    """
    return {
        "objects": len(np.unique(objects[objects > 0])),
        "cut": _several(objects, pieces),
        "split": _several(objects, found),
        "doubled": _several(found, objects),
        "missed": int(np.count_nonzero((objects > 0) != (found > 0))),
    }


def _several(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> int:
    """How many ids of one (y, x) meet more than one of the other."""
    both = (one > 0) & (other > 0)
    pairs = np.unique(np.stack([one[both], other[both]], axis=1), axis=0)
    return int(np.count_nonzero(np.unique(pairs[:, 0], return_counts=True)[1] > 1))


def _on_all(out: Path, asking: dict[str, Any]) -> tuple[dict[str, NDArray[Any]], int, dict[str, float]]:
    """Labels of the first cluster, pixels at which those of any other differ, and seconds of each."""
    first: dict[str, NDArray[Any]] = {}
    differ, seconds = 0, {}
    for name, (cluster, workers) in CLUSTERS.items():
        workspace = fresh(out / "workspaces" / "label_ids")
        document = asking | {"workspace": str(workspace), "cluster": cluster, "workers": workers}
        done = measure_in_child("benchmarks.label_ids", document, environment={"OMP_NUM_THREADS": "1"})
        seconds[name] = done["seconds"]
        made = _labels(workspace)
        first = first or made
        differ += int(np.any([made[name] != first[name] for name in ARRAYS], axis=0).sum())
        fresh(workspace)
    return first, differ, seconds


def _labels(workspace: Path) -> dict[str, NDArray[Any]]:
    from infra.store import open_store
    from tasks.raster.labels import open_labels

    group = open_labels(open_store(str(workspace)).zarr("labels.zarr"))
    return {name: np.asarray(group[name]) for name in (*ARRAYS, "piece")}


def _dubai(out: Path) -> Path:
    from benchmarks.scenes import write_rgb
    from infra.settings import settings
    from tasks.raster.dubai import stitch

    scene = out / f"dubai_{TILE}_{ROWS}.tif"
    folder = settings().data_dir / "dubai"
    if not folder.is_dir():
        sys.exit(f"The Dubai scenes are not at {folder}; set GEOLOOM_DATA_DIR to where they are, or give --no-sam.")
    if not scene.is_file():
        image, _ = stitch(folder, TILE)
        top, left = (image.shape[1] - ROWS) // 2, (image.shape[2] - COLUMNS) // 2
        write_rgb(scene, image[:, top : top + ROWS, left : left + COLUMNS])
    return scene


def _label(document: dict[str, Any]) -> dict[str, Any]:
    import tasks.label  # noqa: F401 - imports are not what is measured
    from benchmarks.mapping import ingest
    from flows import steps
    from infra.progress import Silent
    from tasks.label_params import LabelParams
    from tasks.params import RunParams

    workspace = Path(document["workspace"])
    ingest(Path(document["scene"]), workspace)
    params = LabelParams(method=("automatic",), points=document.get("points", 16))
    if "exact" in document:
        from benchmarks.exact import label_exactly, open_exact, stand_in

        # Few-shot is the method that numbers for itself and starts from a file: here one that describes the labeler.
        params = LabelParams(method=("few-shot",), examples=document["exact"])
        stand_in("tasks.label", prepared=lambda way, *_, **__: way, label_block=label_exactly)
        stand_in("tasks.label_block", open_labeler=open_exact)
    run = RunParams(cluster=document["cluster"], workers=document["workers"], device="cpu")
    begun = time.perf_counter()
    done = steps.label(params, str(workspace), run=run, progress=Silent())
    return {"seconds": time.perf_counter() - begun, "blocks": done.units_run}


def _result(found: list[dict[str, Any]], sam: dict[str, Any] | None, size: int) -> Result:
    counted = ("objects", "cut", "split", "doubled", "missed", "differ")
    rows = [
        (run["world"], str(run["window"]), *(f"{run[name]:,}" for name in counted),
         *(number(run["seconds"][name]) for name in CLUSTERS))
        for run in found
    ]  # fmt: skip
    total = {name: sum(run[name] for run in found) for name in counted}
    goals = []
    if found:
        goals += [Goal(f"objects {name}", total[name], at_most=0) for name in ("split", "doubled")]
        goals.append(Goal("pixels that differ with the workers", total["differ"], at_most=0))
    notes = []
    if sam is not None:
        goals.append(Goal("pixels that differ with the workers, SAM", sam["differ"], at_most=0))
        times = ", ".join(f"{name} {number(s)} s" for name, s in sam["seconds"].items())
        notes.append(
            f"SAM ViT-T, every object of {ROWS} x {COLUMNS} pixels in the middle of Dubai's tile {TILE}: "
            f"{sam['pieces']:,} pieces became {sam['objects']:,} objects; {times}."
        )
    return Result(
        "label_ids",
        "Objects across the edges of windows",
        f"Worlds of {size} x {size} pixels labelled by a labeler that sees every object as it is and numbers what it "
        "sees of each window for itself. Cut are objects of which windows made several pieces; split those that were "
        "left with several ids; doubled ids on more than one object; missed pixels with an id and no object, or the "
        "other way round; differ pixels whose label, id or confidence is another than with one lane. The town has "
        "buildings and roads, which touch; blobs wind through many windows; cells all touch others of their class.",
        ("world", "window px", *counted, *(f"{name}, s" for name in CLUSTERS)),
        tuple(rows),
        {"runs": found, "sam": sam, "total": total},
        tuple(goals),
        tuple(notes),
    )


if __name__ == "__main__":
    main()
