"""The rarest class, with chips drawn for it and weights in the loss, and without: Dubai's tiles 1 to 6.

    python -m benchmarks.rare_class [--seeds 0,1,2] [--steps 300] [--fold 25] [--threads 1] [--recipes usual,both]

The first recipe is what the others, the last above all, are compared with. The runs are those of `benchmarks.ablation`,
kept and resumed as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import rasterio

from benchmarks.ablation import CLASSES, RECIPES, TILES, iou_of, run
from benchmarks.page import Goal, Result, number, parser, publish


def main() -> None:
    """Train what is missing, tell."""
    words = parser("rare_class", __doc__)
    words.add_argument("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[0, 1, 2])
    words.add_argument("--steps", type=int, default=300)
    words.add_argument("--fold", default="25")
    words.add_argument("--threads", type=int, default=None)
    words.add_argument("--recipes", type=lambda text: text.split(","), default=["usual", "weighed", "drawn", "both"])
    options = words.parse_args()
    found: dict[str, list[dict[str, float]]] = {recipe: [] for recipe in options.recipes}
    for seed in options.seeds:
        for recipe in options.recipes:
            iou = iou_of([run(options.out, recipe, options.fold, seed, options.steps, options.threads)])
            found[recipe].append(iou)
            print(recipe, seed, *(number(value) for value in iou.values()), flush=True)
    publish(_result(found, _shares(options.out, options.fold), options.fold, options.seeds, options.steps), options)


def _shares(out: Path, fold: str) -> dict[str, float]:
    """Of each class, among the labelled pixels that are learnt from."""
    counts = np.zeros(256, np.int64)
    for tile in TILES:
        if str(tile) not in fold:
            with rasterio.open(out / "scenes" / f"dubai_{tile}_truth.tif") as source:
                counts += np.bincount(source.read(1).ravel(), minlength=256)
    own = counts[1 : 1 + len(CLASSES)]
    return dict(zip(CLASSES, (own / own.sum()).tolist(), strict=True))


def _result(
    found: dict[str, list[dict[str, float]]], shares: dict[str, float], fold: str, seeds: Sequence[int], steps: int
) -> Result:
    rarest = min(shares, key=lambda name: shares[name])
    rows = []
    for recipe, runs in found.items():
        own = [one[rarest] for one in runs]
        means = [mean(one.values()) for one in runs]
        cells = [", ".join(f"{value:.3f}" for value in own), f"{mean(own):.3f}", f"{mean(means):.3f}"]
        rows.append((recipe, RECIPES[recipe][0], *cells))
    plain, *_, best = found.values()
    gain = mean(one[rarest] - other[rarest] for one, other in zip(best, plain, strict=True))
    return Result(
        "rare_class",
        "The rarest class",
        f"{steps} steps on Dubai's tiles other than {' and '.join(fold)}, scored on those; seeds "
        f"{', '.join(map(str, seeds))}. "
        f"There {rarest} is the rarest class, with {shares[rarest]:.1%} of the labelled pixels.",
        ("recipe", "what", f"IoU of {rarest}, by seed", "mean", "mean IoU of all classes"),
        tuple(rows),
        {"rarest": rarest, "shares": shares, "iou": found},
        (Goal(f"{rarest}: {list(found)[-1]} above {next(iter(found))}, mean of the seeds", gain, at_least=0.0),),
    )


if __name__ == "__main__":
    main()
