"""What a GPU loses between pixels and probabilities: predict against the network's bare forward pass.

    python -m benchmarks.gpu [--size 16384] [--batch 16] [--batches 60] [--lanes 2] [--tile 512]

The bare pass is the network in bfloat16, channels last, over one batch that lies on the GPU already, again and again.
Predict's path takes tiles of bytes from memory, and gives back probabilities of bytes: copies both ways, normalisation,
softmax and rounding are in it. Predict is the whole step on a scene, from the cube on disk to the probabilities on
disk. All are the same network, on a machine with a GPU; elsewhere this script says so.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.mapping import Mapped, map_scene
from benchmarks.networks import save_unet
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import fresh, rgb_scene
from infra.errors import UnusableInput
from models.checkpoint import load_model
from models.predictor import Predictor
from models.runtime import Runtime, build_runner, place
from tasks.params import PredictParams, RunParams

MARGIN, RAMP = 32, 64
HALF = Runtime(arithmetic="bfloat16")
RUNTIMES = (Runtime(), Runtime(arithmetic="tensorfloat32"), HALF, Runtime("compiled", "bfloat16"))
RUNS = 3
"""The fastest counts: what is slower was something else."""


def main() -> None:
    """Time both, tell."""
    words = parser("gpu", __doc__)
    words.add_argument("--size", type=int, default=16384, help="pixels a side of the scene")
    words.add_argument("--batch", type=int, default=16)
    words.add_argument("--batches", type=int, default=60)
    words.add_argument("--lanes", type=int, default=2)
    words.add_argument("--tile", type=int, default=512)
    options = words.parse_args()
    if not torch.cuda.is_available():
        sys.exit(
            "There is no GPU that torch can use here; run this where there is one (geoloom needs CUDA and a driver)."
        )
    model = save_unet(options.out / "models" / f"unet-{options.tile}", tile=options.tile, margin=MARGIN, ramp=RAMP)
    shape = (options.batch, 3, options.tile, options.tile)
    bare = _bare(model, shape, options.batches)
    found: dict[str, float] = {}
    lost: list[str] = []
    for runtime in RUNTIMES:
        try:
            found[str(runtime)] = _path(model, runtime, shape, options.batches, options.lanes)
        except UnusableInput as error:
            lost.append(f"{runtime}: {error}")
    params = PredictParams(model=(str(model),), tile=options.tile, margin=MARGIN, ramp=RAMP)
    scene, workspace = rgb_scene(options.out, options.size), options.out / "workspaces" / "gpu"
    whole = map_scene(scene, workspace, params, run=RunParams(device="cuda"))
    fresh(workspace)
    publish(_result(bare, found, lost, whole, options), options)


def _bare(model: Path, shape: tuple[int, ...], batches: int) -> float:
    """Seconds a tile of the forward pass alone."""
    network, _ = load_model(model)
    device = place(network, "cuda")
    run = build_runner(network, HALF, shape=shape)
    image = torch.randn(*shape, device=device).contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        for _ in range(batches):
            run(image)
        torch.cuda.synchronize()

    return _fastest(forward) / (batches * shape[0])


def _path(model: Path, runtime: Runtime, shape: tuple[int, ...], batches: int, lanes: int) -> float:
    """Seconds a tile from bytes in memory to bytes in memory, so many threads at a time."""
    network, card = load_model(model)
    predict = Predictor(card, network, device="cuda", runtime=runtime)
    predict.prepare(shape[0], *shape[2:])
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, shape, np.uint8) for _ in range(4)]
    valid = np.ones((shape[0], *shape[2:]), np.bool_)

    with ThreadPoolExecutor(lanes) as pool:

        def one(number: int) -> NDArray[np.uint8]:
            return predict(images[number % len(images)], valid)

        def all_batches() -> None:
            for _ in pool.map(one, range(batches)):
                pass

        return _fastest(all_batches) / (batches * shape[0])


def _fastest(run: Any) -> float:
    run()
    seconds = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _result(
    bare: float, found: dict[str, float], lost: list[str], whole: Mapped, options: argparse.Namespace
) -> Result:
    rows = [("bare pass, bfloat16", number(1000 * bare), "1")]
    rows += [(f"predict's path, {name}", number(1000 * s), number(s / bare)) for name, s in found.items()]
    step = (whole.predict - whole.prepare) / whole.tiles
    rows.append((f"predict of {whole.tiles} tiles, {whole.runtime}", number(1000 * step), number(step / bare)))
    best = min(found.values())
    return Result(
        "gpu",
        "A GPU",
        f"Milliseconds a tile, the Unet of smp on MobileNetV2, on a {torch.cuda.get_device_name()}. The bare pass and "
        f"the path: batches of {options.batch}, {options.lanes} lanes, the fastest of {RUNS} runs. Predict: one run "
        f"over {options.size} x {options.size} pixels, without the {number(whole.prepare)} s before its first tile.",
        ("", "ms a tile", "÷ bare"),
        tuple(rows),
        {
            "seconds_a_tile": best,
            "gpu": torch.cuda.get_device_name(),
            "bare": bare,
            "paths": found,
            "refused": lost,
            "predict": step,
            "prepare": whole.prepare,
        },
        (
            Goal("predict's path in bfloat16 / bare pass", found[str(HALF)] / bare, "x", at_most=1.25),
            Goal("fastest path / bare pass", best / bare, "x", at_most=1.1),
            Goal("predict / bare pass", step / bare, "x", at_most=1.1),
        ),
        tuple(lost),
    )


if __name__ == "__main__":
    main()
