"""geoloom against MONAI, pytorch-toolbelt, patchly, a plain rasterio loop, and the network alone.

    python -m benchmarks.peers [--size 8192] [--runs 3]

The same scene, tiles, network and threads for all; contenders run in turn, each run in a fresh warm process.
Needs the extra `bench` (`pip install -c constraints.txt -e '.[bench]'`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.limit import CORES, Form
from benchmarks.machine import measure_in_child
from benchmarks.networks import save_identity, save_unet
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import rgb_scene
from tasks.raster.gdal import rasterio

PEERS = {
    "monai": "MONAI `sliding_window_inference`, Gaussian",
    "toolbelt": "pytorch-toolbelt `TileMerger`, pyramid",
    "patchly": "patchly `Aggregator`, Gaussian, chunks",
    "loop": "rasterio and numpy, by hand",
    "geoloom": "**geoloom** (ingest, predict, classes.tif)",
    "float32": "geoloom, --precision float32",
}
TILE, MARGIN, RAMP = 512, 32, 64
OVERLAP = 2 * MARGIN + RAMP
STEP = TILE - OVERLAP
SMALL = TILE + 2 * STEP
"""Pixels a side of the scene on which all must agree exactly."""
ALIKE = 0.999
"""Share of pixels, of those that one tile covers alone, whose class must be the same: sums in another order, and
probabilities rounded to 1/254, may turn a near tie."""
Asked = dict[str, Any]
Runs = dict[str, list[dict[str, Any]]]


def main() -> None:
    """Search the limit, check that all agree, run all in turn, tell."""
    options = _options()
    if (options.size - TILE) % STEP:
        sys.exit(f"A size of {options.size} pixels gives contenders other tiles; give {TILE} and so many times {STEP}.")
    scene = rgb_scene(options.out, options.size)
    models = options.out / "models"
    unet = save_unet(models / "unet", tile=TILE, margin=MARGIN, ramp=RAMP)
    identity = save_identity(models / "identity", tile=TILE)
    tiles = ((options.size - TILE) // STEP + 1) ** 2
    common: Asked = {
        "tile": TILE,
        "overlap": OVERLAP,
        "margin": MARGIN,
        "ramp": RAMP,
        "model": str(unet),
        "scene": str(scene),
    }

    forms = _child({**common, "name": "search", "tiles": min(options.search, tiles)})["forms"]
    best, best_single = forms[0], next(f for f in forms if f["lanes"] == 1)
    form, single = (Form(f["channels_last"], f["batch"], f["lanes"]) for f in (best, best_single))
    with tempfile.TemporaryDirectory(dir=options.out, prefix="peers-") as folder:
        place = Path(folder)
        plain = rgb_scene(options.out, SMALL)
        small: Asked = {"scene": str(plain), "model": str(identity), "form": single.plain}
        exact = {n: _child({**common, **small, "name": n, "out": str(place / f"{n}.tif")}) for n in PEERS}
        wrong = {n: _differ(place / f"{n}.tif", _brightest(plain)) for n in exact}
        if any(wrong.values()):
            sys.exit(f"On a network that passes bands through, these contenders lose pixels: {wrong}")
        runs: Runs = {name: [] for name in ("limit", *PEERS)}
        for _ in range(options.runs):
            asked = {**common, "name": "limit", "tiles": tiles, "form": form.plain}
            runs["limit"].append(_child(asked))
            for name in PEERS:
                out = place / f"{name}.tif"
                runs[name].append(_child({**common, "name": name, "form": single.plain, "out": str(out)}))
        ours = _classes(place / "geoloom.tif")
        agree = {name: 1 - _differ(place / f"{name}.tif", ours) for name in PEERS}
        alone = np.ix_(*[_covered_once(options.size)] * 2)
        same = {name: float(np.mean((_classes(place / f"{name}.tif") == ours)[alone])) for name in PEERS}
    if min(same.values()) < ALIKE:
        sys.exit(f"Where one tile covers a pixel alone, contenders differ from geoloom: {same}")
    publish(_result(options, runs, agree, same, form, single, forms), options)


def _options() -> argparse.Namespace:
    words = parser("peers", __doc__)
    words.add_argument("--size", type=int, default=8192, help="pixels a side of the scene")
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--search", type=int, default=32, help="tiles to find the network's fastest form with")
    return words.parse_args()


def _child(asked: dict[str, Any]) -> dict[str, Any]:
    """One run; what torch compiles is compiled again in each, and is part of its seconds."""
    with tempfile.TemporaryDirectory(prefix="geoloom-inductor-") as cache:
        found = measure_in_child("benchmarks.peer_child", asked, environment={"TORCHINDUCTOR_CACHE_DIR": cache})
    if "seconds" in found:
        print(f"{asked['name']}: {found['seconds']:.1f} s", file=sys.stderr)
    return found


def _classes(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with rasterio.open(path) as source:
        found: np.ndarray[Any, np.dtype[np.uint8]] = source.read(1)
        return found


def _brightest(scene: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The class of every pixel by the network that passes bands through: the oracle."""
    with rasterio.open(scene) as source:
        return np.asarray(source.read().argmax(axis=0), np.uint8)


def _covered_once(size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which pixels of an axis lie in one tile only."""
    places = np.arange(size)
    tiles = np.arange(0, size - TILE + 1, STEP)[:, None]
    return np.asarray(((places >= tiles) & (places < tiles + TILE)).sum(axis=0) == 1)


def _differ(path: Path, other: np.ndarray[Any, np.dtype[np.uint8]]) -> float:
    return float(np.mean(_classes(path) != other))


def _result(
    options: argparse.Namespace,
    runs: Runs,
    agree: dict[str, float],
    same: dict[str, float],
    form: Form,
    single: Form,
    forms: list[dict[str, Any]],
) -> Result:
    seconds = {name: median(r["seconds"] for r in found) for name, found in runs.items()}
    peaks = {name: median(r["peak_mb"] for r in runs[name]) for name in PEERS}
    counts = {name: runs[name][0]["tiles"] for name in PEERS}
    rest = {name: taken for name, taken in seconds.items() if name not in ("limit", "geoloom", "float32")}
    megapixels = options.size**2 / 1e6
    rows = [
        (
            PEERS[name],
            str(counts[name]),
            number(seconds[name]),
            number(megapixels / seconds[name]),
            number(seconds[name] / seconds["limit"]),
            number(peaks[name]),
            f"{same[name]:.3%}",
            f"{agree[name]:.1%}",
        )
        for name in sorted(PEERS, key=lambda n: seconds[n])
    ]
    tiles = runs["limit"][0]["tiles"]
    bare = ("the network alone, tiles in memory", str(tiles), number(seconds["limit"]))
    rows.append((*bare, number(megapixels / seconds["limit"]), "1.00", "", "", ""))
    parts = {p: median(r[p] for r in runs["geoloom"]) for p in ("ingest", "predict", "prepare", "mosaic")}
    fastest, leanest = min(rest, key=lambda n: rest[n]), min(rest, key=lambda n: peaks[n])
    runtime = runs["geoloom"][-1]["runtime"]
    spread = max(max(r["seconds"] for r in found) / min(r["seconds"] for r in found) for found in runs.values())
    return Result(
        "peers",
        "Against others",
        f"A world of {options.size} x {options.size} pixels, RGB, as a tiled deflate GeoTIFF in; a deflate GeoTIFF of "
        f"classes out. The Unet of smp on MobileNetV2, {TILE} px tiles overlapping by {OVERLAP} px, float32, {CORES} "
        f"threads. Median of {options.runs} runs, taken in turn, each in a fresh process with imports done and one "
        "batch through the network; whatever is compiled is compiled within the time shown. Memory is the peak over "
        "what that warm process held. That all do the same was checked: on a network without context they gave the "
        f"same class in every pixel ({SMALL} x {SMALL}); on this one, classes are geoloom's where one tile covers a "
        "pixel alone (same). Where tiles overlap each blends in its own way, and weights that nobody trained see far: "
        "there they differ (all).",
        ("contender", "tiles", "seconds", "MPix/s", "x the network alone", "peak MB", "same", "all"),
        tuple(rows),
        {
            "size": options.size,
            "tiles": tiles,
            "tiles_run": counts,
            "seconds": seconds,
            "runs": {name: [r["seconds"] for r in found] for name, found in runs.items()},
            "peak_mb": peaks,
            "agreement": agree,
            "agreement_alone": same,
            "runtime": runtime,
            "parts": parts,
            "form": form.plain,
            "peer_form": single.plain,
            "forms": forms,
        },
        (
            Goal(
                "geoloom, --precision float32 / the network alone", seconds["float32"] / seconds["limit"], at_most=1.08
            ),
            Goal("geoloom / the network alone", seconds["geoloom"] / seconds["limit"], at_most=0.5),
            Goal("MONAI's seconds / geoloom's", seconds["monai"] / seconds["geoloom"], at_least=2.2),
            Goal("the loop's seconds / geoloom's", seconds["loop"] / seconds["geoloom"], at_least=1.9),
            Goal(f"seconds of the fastest other ({fastest}) / geoloom", rest[fastest] / seconds["geoloom"], at_least=1),
            Goal(f"memory of the leanest other ({leanest}) / geoloom", peaks[leanest] / peaks["geoloom"], at_least=1),
        ),
        (
            f"Of geoloom's seconds, ingest takes {number(parts['ingest'])}, predict {number(parts['predict'])} (with "
            f"{number(parts['prepare'])} before the first tile: the network is measured, and compiled or rewritten "
            f"where that pays), the GeoTIFF {number(parts['mosaic'])}. It ran the network as: {runtime}.",
            f"The network alone was fastest as {form}; the contenders ran it as {single}, the fastest of one lane, and "
            f"geoloom as its plan says. The longest run of a contender took at most {spread:.2f} x its shortest.",
        ),
    )


if __name__ == "__main__":
    main()
