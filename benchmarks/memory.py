"""Peak memory and speed of every step on a large world, each step a process of its own.

    python benchmarks/memory.py [--size 8000] [--out bench]

Prints a table and writes it to docs/benchmarks.md. The network is tiny: what is measured is geoloom, not torch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from models.card import ModelCard
from models.checkpoint import save_model
from models.registry import build
from tasks.raster.classes import DEFAULT_CLASSES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
LIMIT_MB = 2000


def main() -> None:
    """Make the world, run the steps, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8000)
    parser.add_argument("--out", type=Path, default=Path("bench"))
    options = parser.parse_args()
    scene, workspace, model = (options.out / name for name in ("world.tif", "workspace", "tiny"))
    _save_tiny(model)
    steps = [
        ("world", ["--size", str(options.size), "--seed", "1", "--out", str(scene)]),
        ("ingest", [str(scene), "--out", str(workspace)]),
        ("predict", [str(workspace), "--model", str(model)]),
        ("mosaic", [str(workspace)]),
        ("evaluate", [str(workspace), "--truth", str(scene.with_name("world_truth.tif"))]),
    ]
    results = [_run(name, words) for name, words in steps]
    megapixels = options.size**2 / 1e6
    lines = [
        "# Benchmarks",
        "",
        f"`python benchmarks/memory.py --size {options.size}` on {_machine()}: a world of {options.size}² RGB pixels "
        "through every step, each a process of its own; the network is three small convolutions.",
        "",
        "| step | seconds | MPix/s | peak MB |",
        "|---|---|---|---|",
        *(_row(result, megapixels) for result in results),
        "",
    ]
    PAGE.write_text("\n".join(lines))
    print("\n".join(lines))
    over = [r["command"] for r in results if r["peak_rss_mb"] >= LIMIT_MB]
    if over:
        sys.exit(f"over {LIMIT_MB} MB: {', '.join(over)}")


def _row(result: dict[str, Any], megapixels: float) -> str:
    seconds = result["wall_s"]
    return f"| {result['command']} | {seconds:.1f} | {megapixels / seconds:.2f} | {result['peak_rss_mb']:.0f} |"


def _run(name: str, words: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", name, *words, "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _save_tiny(folder: Path) -> None:
    torch.manual_seed(0)
    classes = DEFAULT_CLASSES
    card = ModelCard(
        architecture="tiny",
        bands=("red", "green", "blue"),
        mean=(127.5,) * 3,
        std=(64.0,) * 3,
        classes=classes.names,
        colours=tuple(c.colour for c in classes.classes),
        stride=1,
        tile=512,
        margin=8,
        ramp=8,
    )
    save_model(folder, build("tiny", {}, bands=3, classes=len(classes)), card)


def _machine() -> str:
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{os.cpu_count()} cores ({platform.machine()}), {versions}"


if __name__ == "__main__":
    main()
