"""Read Dubai tile 8. The only script that does.

    python -m benchmarks.report model [--model default] [--ensemble A B]
        map it, score the map, and write the score into model.json; once more with test-time augmentation and by all
    python -m benchmarks.report labels [--seeds 0 1 2 3 4]   label it by wrong vectors, and score labels and confidence
    python -m benchmarks.report few-shot [--draws 0 1 2] [--steps 1000]   label it by windows of it; train on the same

Each reading is written down with the commit in docs/readings.md: choices are made on tiles 1 to 6, tile 8 only reports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.page import commit
from infra.progress import Silent
from infra.settings import settings
from models.card import load_card
from models.checkpoint import save_card
from tasks.model import find_model
from tasks.raster.certainty import known_table
from tasks.raster.dubai import ATTRIBUTION, write_scene

READINGS = Path(__file__).resolve().parent.parent / "docs" / "readings.md"
CLASSES = ("building", "road", "land", "vegetation", "water")


def write_down(what: str, *cells: str) -> None:
    """Add a reading to the table under a heading."""
    row = "| " + " | ".join([f"{datetime.now(UTC):%Y-%m-%d %H:%M}", commit(), *cells]) + " |\n"
    before, heading, rest = READINGS.read_text().partition(f"\n## {what}\n")
    table, line, after = rest.partition("\n## ")
    READINGS.write_text(before + heading + table.rstrip("\n") + "\n" + row + line + after)
    print(row, end="", flush=True)


def read_model(name: str, others: Sequence[str]) -> None:
    """Map the tile, score the map, write the score into the model's card; then by more looks, and more models."""
    folder = find_model(name)
    card = load_card(folder)
    found = _mapped(str(folder))
    save_card(folder, card.model_copy(update={"scores": card.scores | {"dubai_tile_8": found}}))
    _write_scores(card.weights_sha256[:12], "one look", found)
    _write_scores(card.weights_sha256[:12], "eight looks", _mapped(str(folder), "--predict.tta"))
    if others:
        names = ",".join([str(folder), *(str(find_model(other)) for other in others)])
        found = _mapped(names, "--predict.tta")
        _write_scores(card.weights_sha256[:12], f"eight looks, {1 + len(others)} models", found)


def _mapped(models: str, *more: str) -> dict[str, Any]:
    """The scores of a map of the tile."""
    with tempfile.TemporaryDirectory(prefix="geoloom-report-") as scratch:
        out = Path(scratch) / "map"
        scene, truth = write_scene(settings().data_dir / "dubai", 8, Path(scratch))
        words = ["map", str(scene), "--out", str(out), "--model", models, "--evaluate.truth", str(truth), "--json"]
        subprocess.run([sys.executable, "-m", "flows.cli", *words, *more], check=True)
        scores = json.loads((out / "products" / "scores.json").read_text())
    iou = dict(zip(scores["classes"], scores["iou"], strict=True))
    return {
        "iou": {name: iou[name] for name in CLASSES},
        "mean_iou": scores["mean_iou"],
        "pixel_accuracy": scores["pixel_accuracy"],
        "data": f"{ATTRIBUTION}, tile 8",
    }


def _write_scores(sha256: str, how: str, found: dict[str, Any]) -> None:
    values = (found["mean_iou"], *found["iou"].values(), found["pixel_accuracy"])
    write_down("The model", sha256, how, *(f"{value:.3f}" for value in values))


def read_labels(seeds: Sequence[int]) -> None:
    """Label the tile by boxes and lines that are wrong, and score the labels and their confidence."""
    from benchmarks.certainty import counts_of, judged
    from benchmarks.labels import measured
    from benchmarks.prompts import prompted

    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            tile = prompted("dubai/8", seed, Path(folder), progress=Silent())
            gain = measured(tile)
            assert gain.building is not None
            assert gain.road is not None
            sure = judged(counts_of(tile), known_table() / 254)
            cells = [f"{a:.3f} | {b:.3f} | {b - a:+.3f}" for a, b in (gain.building, gain.road)]
            write_down("Labels by vectors", str(seed), *cells, f"{sure.error:.3f}", f"{sure.separation:.3f}")


def read_few_shot(draws: Sequence[int], steps: int) -> None:
    """Label the tile by a few windows of it, and by a network that was trained on the same windows."""
    from benchmarks.few_shot import readings

    with tempfile.TemporaryDirectory() as folder:
        for draw in draws:
            for one in readings(8, draw, Path(folder), network=steps):
                scores = (f"{value:.3f}" for value in (one.building, one.road, (one.building + one.road) / 2))
                write_down("A few labelled windows", str(draw), str(one.windows)[1:-1], one.by, *scores)


def main() -> None:
    """Read what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("model", "labels", "few-shot"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--ensemble", nargs="+", default=[], help="model: more models, whose mean is read, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000, help="few-shot: of training; 0 for none")
    options = parser.parse_args()
    commit()  # what is measured, whatever is committed meanwhile
    if options.what == "model":
        read_model(options.model, options.ensemble)
    elif options.what == "labels":
        read_labels(options.seeds)
    else:
        read_few_shot(options.draws, options.steps)


if __name__ == "__main__":
    main()
