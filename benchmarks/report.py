"""Read Dubai tile 8 with the shipped model and write its score into model.json. The only script that reads tile 8.

    python benchmarks/report.py [--model dubai]

Each reading is written down with the commit in docs/readings.md: choices are made on tiles 1 to 6, tile 8 only reports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from infra.settings import settings
from models.card import load_card
from models.checkpoint import save_card
from tasks.model import find_model
from tasks.raster.dubai import ATTRIBUTION, write_scene

READINGS = Path(__file__).resolve().parent.parent / "docs" / "readings.md"
HEAD = """# Readings of Dubai tile 8

Tile 8 is never trained or tuned on. Each time it is read, `benchmarks/report.py` adds a line here.

| when | commit | model's sha256 | mean IoU | building | road | land | vegetation | water | pixel accuracy |
|---|---|---|---|---|---|---|---|---|---|
"""
CLASSES = ("building", "road", "land", "vegetation", "water")


def main() -> None:
    """Map tile 8, score it, write the score down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="keep the workspace here")
    options = parser.parse_args()
    folder = find_model(options.model)
    card = load_card(folder)
    with tempfile.TemporaryDirectory(prefix="geoloom-report-") as scratch:
        out = options.out or Path(scratch) / "map"
        scene, truth = write_scene(settings().data_dir / "dubai", 8, Path(scratch))
        words = ["map", str(scene), "--out", str(out), "--model", str(folder), "--evaluate.truth", str(truth), "--json"]
        command = [sys.executable, "-m", "flows.cli", *words]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout.strip().splitlines()[-1])
        scores = json.loads((out / "products" / "scores.json").read_text())
    iou = dict(zip(scores["classes"], scores["iou"], strict=True))
    found = {
        "iou": {name: iou[name] for name in CLASSES},
        "mean_iou": scores["mean_iou"],
        "pixel_accuracy": scores["pixel_accuracy"],
        "data": f"{ATTRIBUTION}, tile 8",
    }
    save_card(folder, card.model_copy(update={"scores": card.scores | {"dubai_tile_8": found}}))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, stdout=subprocess.PIPE, text=True)
    row = [f"{datetime.now(UTC):%Y-%m-%d %H:%M}", commit.stdout.strip(), card.weights_sha256[:12]]
    row += [f"{v:.3f}" for v in (scores["mean_iou"], *found["iou"].values(), scores["pixel_accuracy"])]
    text = READINGS.read_text() if READINGS.exists() else HEAD
    READINGS.write_text(text + "| " + " | ".join(row) + " |\n")
    print("\n".join(f"{name:<12} {value:.3f}" for name, value in found["iou"].items()))
    print(f"{'mean':<12} {scores['mean_iou']:.3f}\n{'pixels':<12} {scores['pixel_accuracy']:.3f}")


if __name__ == "__main__":
    main()
