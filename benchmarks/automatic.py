"""Every object that SAM sees in a window: geoloom's way against segment-anything's own generator, same SAM ViT-T.

    python -m benchmarks.automatic [--runs 3] [--points 32] [--threads 1]

Three windows of 1024 x 1024 pixels, each the middle of its scene. Both encode the picture, ask the same grid of points
and keep masks by the same thresholds, in the same process, in turn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.page import Goal, Result, number, parser, publish
from infra.settings import settings
from tasks.raster.dubai import stitch

if TYPE_CHECKING:
    import argparse

    from models.sam_first import FirstSam

SIDE = 1024
SCENES = ("dubai/tile2", "dubai/tile4", "massroads/10078675_15.jpg")
"""Of the two scenes of Massachusetts the one without white fill."""
SCORE, STABILITY, AREA = 0.8, 0.9, 64
"""What masks are kept by: geoloom's defaults."""
ALIKE = 0.9
"""Intersection over union from which two masks are the same."""
GROUND = 0.5
"""Share of the window above which a mask is no object: one of the whole window hides all others."""

Masks = NDArray[np.bool_]


def main() -> None:
    """Look at every window in both ways, in turn; compare, tell."""
    words = parser("automatic", __doc__)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--points", type=int, default=32, help="a side of the grid")
    words.add_argument("--threads", type=int, default=1, help="of torch and of the encoder; a lane has one")
    words.add_argument("--windows", type=int, default=len(SCENES), help="how many of the three")
    options = words.parse_args()
    import torch

    from models.sam import load_sam
    from models.sam_first import FirstSam
    from tasks.label_params import LabelParams
    from tasks.sam_weights import find_sam

    torch.set_num_threads(options.threads)
    sam = FirstSam(load_sam("sam-vit-t", find_sam(LabelParams())[0], threads=options.threads))
    found: list[dict[str, Any]] = []
    for name in SCENES[: options.windows]:
        picture, place = _window(name)
        seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
        for _ in range(options.runs):
            theirs, taken = _theirs(sam, picture, points=options.points)
            seconds["theirs"].append(taken)
            ours, taken = _ours(sam, picture, points=options.points)
            seconds["ours"].append(taken)
        match = compare(theirs, ours)
        found.append({"window": f"{name} {place}", "seconds": seconds, "ours": len(ours)} | match)
        print(found[-1], flush=True)
    publish(_result(found, options), options)


@dataclass(frozen=True, slots=True)
class Visible:
    """Masks of which something is seen where they are painted from the smallest to the largest."""

    masks: Masks
    """(n, y, x)."""
    pixels: NDArray[np.int64]
    """(n,) pixels at which each is the largest."""

    @classmethod
    def of(cls, masks: Masks) -> Visible:
        """The largest at each pixel of masks (n, y, x); of two as large the first."""
        area = np.count_nonzero(masks, axis=(1, 2))
        top = np.full(masks.shape[1:], -1)
        for n in np.argsort(-area, kind="stable")[::-1]:
            top[masks[n]] = n
        pixels = np.bincount(top[top >= 0], minlength=len(masks))
        return cls(masks[pixels > 0], pixels[pixels > 0])


def compare(theirs: Masks, ours: Masks) -> dict[str, int]:
    """How many of their masks (n, y, x) there are, and how many ours hold too.

    Of all; of those that are visible, and their pixels; and of those that are visible once masks of the ground are
    taken away.
    """
    shown = Visible.of(theirs)
    objects = Visible.of(theirs[theirs.mean(axis=(1, 2)) <= GROUND])
    same = matched(shown.masks, ours)
    return {
        "masks": len(theirs),
        "masks_matched": int(matched(theirs, ours).sum()),
        "visible": len(shown.masks),
        "visible_matched": int(same.sum()),
        "pixels": int(shown.pixels.sum()),
        "pixels_matched": int(shown.pixels[same].sum()),
        "objects": len(objects.masks),
        "objects_matched": int(matched(objects.masks, ours).sum()),
    }


def matched(theirs: Masks, ours: Masks) -> NDArray[np.bool_]:
    """(n,) whether ours (m, y, x) hold a mask like each of theirs (n, y, x)."""
    flat, area = ours.reshape(len(ours), int(np.prod(ours.shape[1:]))), np.count_nonzero(ours, axis=(1, 2))
    found = np.zeros(len(theirs), bool)
    for n, mask in enumerate(theirs):
        size = np.count_nonzero(mask)
        near = (area >= ALIKE * size) & (size >= ALIKE * area)  # a larger or smaller one cannot be the same
        common = np.count_nonzero(flat[near] & mask.ravel(), axis=1)
        found[n] = bool((common >= ALIKE * (area[near] + size - common)).any())
    return found


def _window(name: str) -> tuple[NDArray[np.uint8], str]:
    """The middle of a scene, (y, x, 3), and where that is."""
    path = settings().data_dir / name
    if not path.exists():
        sys.exit(f"There is no {path}; set GEOLOOM_DATA_DIR to where the sample data are.")
    if path.is_dir():
        image, _ = stitch(path.parent, int(path.name.removeprefix("tile")))
        pixels = image.transpose(1, 2, 0)
    else:
        pixels = np.asarray(Image.open(path).convert("RGB"))
    top, left = ((n - SIDE) // 2 for n in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE]), f"row {top}, column {left}"


def _theirs(sam: FirstSam, picture: NDArray[np.uint8], *, points: int) -> tuple[Masks, float]:
    """Masks (n, y, x) of the package's generator, and its seconds."""
    from segment_anything import SamAutomaticMaskGenerator

    begun = time.perf_counter()
    records = SamAutomaticMaskGenerator(
        sam.network, points_per_side=points, pred_iou_thresh=SCORE, stability_score_thresh=STABILITY,
        min_mask_region_area=AREA,
    ).generate(picture)  # fmt: skip
    taken = time.perf_counter() - begun
    # It fills holes and removes islands of fewer pixels, but keeps a mask that is no larger.
    kept = [record["segmentation"] for record in records if record["area"] >= AREA]
    return np.array(kept, bool).reshape(-1, *picture.shape[:2]), taken


def _ours(sam: FirstSam, picture: NDArray[np.uint8], *, points: int) -> tuple[Masks, float]:
    """The same of geoloom."""
    from models.sam_automatic import automatic_masks
    from models.segmenter import open_window

    begun = time.perf_counter()
    regions = automatic_masks(
        open_window(sam, picture), points_per_side=points, least_score=SCORE, least_stability=STABILITY,
        least_area=AREA,
    )  # fmt: skip
    return regions.masks, time.perf_counter() - begun


def _result(found: list[dict[str, Any]], options: argparse.Namespace) -> Result:
    rows = [_row(run["window"], run, {k: median(v) for k, v in run["seconds"].items()}) for run in found]
    counted = ("masks", "visible", "pixels", "objects")
    total = {name: sum(run[name] for run in found) for name in ("ours", *counted, *(f"{n}_matched" for n in counted))}
    seconds = {name: sum(median(run["seconds"][name]) for run in found) for name in ("theirs", "ours")}
    rows.append(_row("together", total, seconds))
    return Result(
        "automatic",
        "Every object: beside segment-anything's generator",
        f"Windows of {SIDE} x {SIDE} pixels, a grid of {options.points} x {options.points} points, SAM ViT-T, "
        f"{options.threads} thread(s), predicted IoU of at least {SCORE}, stability of at least {STABILITY}, no mask, "
        f"hole or island of less than {AREA} pixels. A mask of the generator's is matched where geoloom has one of IoU "
        f"{ALIKE} or more with it. Visible are its masks that are its largest at some pixel; by pixels, each counts as "
        f"many as it is the largest at. One mask of the whole window hides all others: objects are those visible once "
        f"masks of more than {GROUND:.0%} of the window are taken away. Seconds are from picture to masks, the "
        f"encoding in both; median of {options.runs} run(s) of both in turn.",
        ("window", "geoloom's masks", "its masks, matched", "visible, matched", "by pixels %", "objects, matched",
         "its s", "geoloom's s", "ratio"),
        tuple(rows),
        {"windows": found, "total": total | {"seconds": seconds}},
        (
            *(
                Goal(f"{name} matched", 100 * total[f"{key}_matched"] / max(total[key], 1), "%", at_least=95)
                for name, key in (("visible masks", "visible"), ("objects", "objects"))
            ),
            Goal("geoloom's time / the generator's", seconds["ours"] / seconds["theirs"], at_most=0.5),
        ),
    )  # fmt: skip


def _row(name: str, run: Mapping[str, Any], seconds: Mapping[str, float]) -> tuple[str, ...]:
    share = {key: 100 * run[f"{key}_matched"] / max(run[key], 1) for key in ("masks", "visible", "pixels", "objects")}
    return (
        name,
        str(run["ours"]),
        *(f"{run[key]}, {number(share[key])} %" for key in ("masks", "visible")),
        number(share["pixels"]),
        f"{run['objects']}, {number(share['objects'])} %",
        number(seconds["theirs"]),
        number(seconds["ours"]),
        number(seconds["ours"] / seconds["theirs"]),
    )


if __name__ == "__main__":
    main()
