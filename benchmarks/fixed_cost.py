"""What a command costs before there is any work: one tile through `geoloom predict`, and `geoloom --help`.

python -m benchmarks.fixed_cost [--model default] [--runs 5]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.mapping import ingest
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import fresh, rgb_scene

SIZE = 512
TORCH = 'python -c "import torch"'
"""What a machine is told by: more than half of what predict takes to start."""
COMMAND = Path(sys.executable).with_name("geoloom")


def main() -> None:
    """Time the commands, each on a copy of the same workspace, tell."""
    words = parser("fixed_cost", __doc__)
    words.add_argument("--model", default="default")
    words.add_argument("--runs", type=int, default=5)
    options = words.parse_args()
    scene = rgb_scene(options.out, SIZE)
    kept, workspace = (options.out / "workspaces" / name for name in ("tile", "tile_run"))
    ingest(scene, kept)
    found: dict[str, list[float]] = {}
    for _ in range(options.runs):
        shutil.copytree(kept, fresh(workspace))
        whole = options.out / "workspaces" / "tile_map"
        for name, line in {
            "geoloom --help": [COMMAND, "--help"],
            "geoloom predict, one tile": [COMMAND, "predict", str(workspace), "--model", options.model, "--quiet"],
            "geoloom mosaic, one tile": [COMMAND, "mosaic", str(workspace), "--quiet"],
            "geoloom ingest, one tile": [COMMAND, "ingest", str(scene), "--out", str(fresh(whole)), "--quiet"],
            TORCH: [sys.executable, "-c", "import torch"],
        }.items():
            begun = time.perf_counter()
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
            found.setdefault(name, []).append(time.perf_counter() - begun)
    seconds = {name: median(times) for name, times in found.items()}
    result = Result(
        "fixed_cost",
        "What a command costs",
        f"Whole commands, from the shell's call to the end, on a scene of {SIZE} x {SIZE} pixels with the model "
        f"{options.model}. Median of {options.runs} runs.",
        ("command", "seconds", "slowest"),
        tuple((f"`{name}`", number(seconds[name]), number(max(times))) for name, times in found.items()),
        {"seconds": seconds, "runs": found},
        (
            Goal("`geoloom predict` of one tile", seconds["geoloom predict, one tile"], "s", at_most=6),
            Goal("`geoloom --help`", seconds["geoloom --help"], "s", at_most=1),
        ),
    )
    publish(result, options)


if __name__ == "__main__":
    main()
