"""Whether tile edges can be found: the shipped model in tiles against one pass over a whole real scene.

    python -m benchmarks.seams [--model default]

Four windows of 2048 x 2048 pixels of the Dubai scenes side by side, since no single one that models may be looked at
on is as large; where they meet, both passes see the same pixels. Needs some 8 GB of memory for the whole pass.
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import answer, asked, forget_peak, measure_in_child, peak_mb, resident_mb
from benchmarks.mapping import map_scene
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import write_rgb
from infra.settings import settings
from models.card import ModelCard, load_card
from tasks.model import find_model
from tasks.params import PredictParams
from tasks.raster.dubai import stitch
from tasks.raster.gdal import rasterio

SIZE = 4096
WINDOWS = ((4, 0, 0), (5, 0, 0), (5, 1126, 1330), (6, 0, 0))
"""Dubai tile, first row and first column of each quarter."""
TOP = 254
"""A probability of 1, as geoloom stores it."""


def main() -> None:
    """Map the scene in tiles and in one pass, compare, tell."""
    document = asked()
    if document is not None:
        answer(_whole_pass(document))
        return
    words = parser("seams", __doc__)
    words.add_argument("--model", default="default")
    for name in ("tile", "margin", "ramp"):
        words.add_argument(f"--{name}", type=int, help="the model's own by default")
    options = words.parse_args()
    folder = find_model(options.model)
    card = load_card(folder)
    given = {name: getattr(options, name) for name in ("tile", "margin", "ramp")}
    own = {name: getattr(card, name) if value is None else value for name, value in given.items()}
    scene = _scene(options.out)
    params = PredictParams(model=(str(folder),), precision="float32", **own)
    done = map_scene(scene, options.out / "workspaces" / "seams", params, products=("classes", "probability"))
    classes, tiled = (_pixels(done.products / f"{name}.tif") for name in ("classes", "probability"))

    passed = options.out / "whole.npy"
    whole = measure_in_child("benchmarks.seams", {"model": str(folder), "scene": str(scene), "out": str(passed)})
    once = np.load(passed)
    passed.unlink()
    # Of the unrounded probabilities, so that what rounding does counts against geoloom.
    differ = float(np.mean(classes[0] != np.load(passed.with_suffix(".classes.npy"))))
    passed.with_suffix(".classes.npy").unlink()
    axis = Edges.cut(SIZE, stride=card.stride, **own)
    in_tiles, in_one = gradients(tiled, axis), gradients(once, axis)
    publish(_result(options.model, card, own, differ, in_tiles, in_one, whole), options)


@dataclass(frozen=True, slots=True)
class Edges:
    """Which steps from one pixel to the next, along one axis, lie where one tile hands over to another."""

    ramp: NDArray[np.bool_]
    """(length - 1,) where weights change at all."""
    middle: NDArray[np.bool_]
    """(length - 1,) the two steps in the middle of each ramp, where both tiles weigh the same."""

    @classmethod
    def cut(cls, length: int, *, tile: int, margin: int, ramp: int, stride: int) -> Edges:
        """From the tiling's own rule, written down a second time: docs/design.md, section 2."""
        step = (tile - 2 * margin - ramp) // stride * stride
        padded = -(-length // stride) * stride
        starts = [*range(0, padded - tile, step), padded - tile][1:] if padded > tile else []
        places = np.arange(length - 1)
        inside, middle = np.zeros(length - 1, bool), np.zeros(length - 1, bool)
        for start in starts:
            first = start + margin
            inside |= (places >= first - 1) & (places < first + ramp)
            middle |= (places >= first + ramp // 2 - 1) & (places <= first + ramp // 2)
        return cls(inside, middle)


def gradients(planes: NDArray[np.uint8], edges: Edges) -> dict[str, float]:
    """Mean step of the probability between neighbouring pixels, in 1/254: in ramps, in their middles, elsewhere.

    Args:
        planes: (class, y, x), y and x of the same length.
        edges: of both axes.
    """
    places = {"ramp": edges.ramp, "middle": edges.middle, "elsewhere": ~edges.ramp}
    sums = dict.fromkeys(places, 0.0)
    counts = dict.fromkeys(places, 0)
    for plane in planes:
        for axis in (0, 1):
            profile = np.abs(np.diff(plane.astype(np.int16), axis=axis)).mean(axis=1 - axis)
            for name, where in places.items():
                sums[name] += float(profile[where].sum())
                counts[name] += int(where.sum())
    return {name: sums[name] / max(counts[name], 1) for name in places}


def _scene(out: Path) -> Path:
    scene = out / f"dubai_{SIZE}.tif"
    if scene.is_file():
        return scene
    half = SIZE // 2
    folder = settings().data_dir / "dubai"
    if not folder.is_dir():
        sys.exit(f"The Dubai scenes are not at {folder}; set GEOLOOM_DATA_DIR to where they are.")
    quarters = []
    for tile, top, left in WINDOWS:
        image, _ = stitch(folder, tile)
        quarters.append(image[:, top : top + half, left : left + half])
    pixels = np.concatenate([np.concatenate(quarters[i : i + 2], axis=2) for i in (0, 2)], axis=1)
    assert pixels.shape == (3, SIZE, SIZE)
    return write_rgb(scene, pixels)


def _pixels(path: Path) -> NDArray[np.uint8]:
    """(band, y, x)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as source:
            return np.asarray(source.read(), np.uint8)


def _whole_pass(document: dict[str, Any]) -> dict[str, Any]:
    """One pass over all pixels: writes probabilities in 1/254 (class, y, x) and classes (y, x); its memory."""
    import torch

    from models.checkpoint import load_model

    torch.set_num_threads(2)
    network, card = load_model(Path(document["model"]))
    image = torch.from_numpy(_pixels(Path(document["scene"])))[None].float()
    for band, (mean, std) in enumerate(zip(card.mean, card.std, strict=True)):
        image[0, band] = (image[0, band] - mean) / std
    held = resident_mb()
    forget_peak()
    begun = time.perf_counter()
    with torch.inference_mode():
        layout = torch.channels_last
        network = network.to(memory_format=layout)
        probability = network(image.contiguous(memory_format=layout)).softmax(dim=1)[0].numpy()
    taken = time.perf_counter() - begun
    peak = peak_mb() - held
    out = Path(document["out"])
    np.save(out.with_suffix(".classes.npy"), probability.argmax(axis=0).astype(np.uint8))
    np.save(out, np.rint(probability * TOP).astype(np.uint8))
    return {"seconds": taken, "peak_mb": peak}


def _result(
    model: str,
    card: ModelCard,
    own: dict[str, int],
    differ: float,
    in_tiles: dict[str, float],
    in_one: dict[str, float],
    whole: dict[str, Any],
) -> Result:
    rows, ratios = [], {}
    for name, found in (("tiles", in_tiles), ("one pass", in_one)):
        ratios[name] = {place: found[place] / found["elsewhere"] for place in ("ramp", "middle")}
        values = (found["ramp"], found["middle"], found["elsewhere"], *ratios[name].values())
        rows.append((name, *(f"{v:.4f}" for v in values)))
    relative = {place: ratios["tiles"][place] / ratios["one pass"][place] for place in ("ramp", "middle")}
    rows.append(("tiles / one pass", "", "", "", *(f"{v:.4f}" for v in relative.values())))
    return Result(
        "seams",
        "Seams",
        f"The model {model} ({card.architecture}) at tile {own['tile']}, margin {own['margin']}, ramp {own['ramp']} "
        f"over {SIZE} x {SIZE} pixels of the Dubai scenes, against one pass over all of them, which needed "
        f"{number(whole['peak_mb'] / 1000)} GB. The gradient is the mean step of the stored probabilities from one "
        "pixel to the next, in 1/254: where weights pass from one tile to another (ramp), in the middle of those "
        "places, and elsewhere. What the scene itself has at those places shows in the one pass; the last line is "
        "without it.",
        ("", "ramp", "middle", "elsewhere", "ramp / elsewhere", "middle / elsewhere"),
        tuple(rows),
        {
            "model": card.weights_sha256,
            **own,
            "differ": differ,
            "gradients": {"tiles": in_tiles, "one pass": in_one},
            "ratios": ratios | {"relative": relative},
            "whole_pass": whole,
        },
        (
            Goal("pixels of another class than in one pass", 100 * differ, "%", at_most=0.5),
            Goal("gradient across tile edges / elsewhere, the scene's own taken out", relative["ramp"], at_least=0.98,
                 at_most=1.02),
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
