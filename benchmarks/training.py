"""What a training step costs beside the network's bare forward and backward pass.

    python -m benchmarks.training [--steps 30] [--rounds 3] [--device cpu] [--encoder tu-tf_efficientnet_lite0]

The bare pass is the network in the same precision, channels last, with a plain cross-entropy, over one batch that lies
in memory already, again and again: no optimizer, no views, no reading. Geoloom's step is the whole of it, as `geoloom
train` runs it by default: chips read from the cube, normalised, turned, zoomed and lit anew, the loss with its terms,
the gradient's norm, AdamW, the average of the weights. Both alternate, and the median step of each counts.
"""

from __future__ import annotations

import time
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from torch.nn import functional

from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import fresh
from flows import steps
from infra.cluster import cores
from infra.progress import Silent
from models.batch import Batch
from models.metrics import IGNORE
from models.ranks import ALONE, open_fabric
from models.recipe import TrainSettings
from models.train import train as run_loop
from tasks.label_params import LabelParams
from tasks.params import ClusterParams, IngestParams, RunParams, TrainParams, WorldParams
from tasks.train import DRAWING
from tasks.train_begin import begin
from tasks.train_chips import drawer
from tasks.train_fields import open_fields
from tasks.train_settings import settings_of

SIZE = 2048
GOALS = {"cpu": 0.9, "cuda": 0.85}


def main() -> None:
    """Time both, tell."""
    words = parser("training", __doc__)
    words.add_argument("--steps", type=int, default=30, help="of a round")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--device", default="cpu", choices=tuple(GOALS))
    words.add_argument("--batch", type=int, default=8)
    words.add_argument("--chip", type=int, default=256)
    words.add_argument("--encoder", default="tu-tf_efficientnet_lite0")
    options = words.parse_args()
    workspace = _workspace(options.out)
    params = TrainParams(batch=options.batch, chip=options.chip, encoder=options.encoder, steps=options.steps)
    fields = open_fields(params, [workspace])
    network, card = begin(params, fields, None, progress=Silent())
    settings = settings_of(params, fields, device=options.device)
    draw = drawer(params, fields, ALONE)
    bare, ours = list[float](), list[float]()
    for round_ in range(options.rounds):
        folder = fresh(options.out / "models" / "training")
        folder.mkdir(parents=True)
        done = run_loop(
            network, card, draw=draw, validate=(), settings=settings, folder=folder, progress=_Quiet(),
            device=options.device, threads=1 if options.device == "cpu" else min(cores(), DRAWING),
        )  # fmt: skip
        ends = [0.0, *(step.seconds for step in done.history.steps)]
        ours += [b - a for a, b in pairwise(ends[2:])]  # the first two build what later ones use
        batch = Batch.of(draw(round_), card, torch.device("cpu"))
        bare += _bare(network, batch, settings, device=options.device)
    publish(_result(bare, ours, settings, options), options)


def _workspace(out: Any) -> str:
    """A procedural world with its truth for labels."""
    scene, workspace = out / "scenes" / f"training-{SIZE}.tif", out / "workspaces" / "training"
    if not scene.is_file():
        scene.parent.mkdir(parents=True, exist_ok=True)
        steps.make_world(WorldParams(size=SIZE), scene, progress=Silent())
    fresh(workspace)
    steps.ingest(IngestParams(scenes=(str(scene),)), str(workspace), run=ClusterParams(), progress=Silent())
    truth = scene.with_name(f"{scene.stem}_truth.tif")
    steps.label(LabelParams(method=("truth",), truth=str(truth)), str(workspace), run=RunParams(), progress=Silent())
    return str(workspace)


def _bare(network: torch.nn.Module, batch: Batch, settings: TrainSettings, *, device: str) -> list[float]:
    """Seconds of each pass over one batch in memory, cut to what the network sees."""
    fabric = open_fabric(device, settings.precision, ALONE)
    wrapped = fabric.setup(network)
    wrapped.train()
    side = settings.chip
    images, labels = (
        move_data_to_device(part[..., :side, :side], fabric.device) for part in (batch.images, batch.labels)
    )
    images = images.contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(settings.steps):
        begun = time.perf_counter()
        loss = functional.cross_entropy(wrapped(images), labels, ignore_index=IGNORE)
        fabric.backward(loss)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
        network.zero_grad()
    return seconds[2:]


class _Quiet:
    def advance(self, amount: float = 1.0) -> None:
        """Nothing is shown."""

    def say(self, text: str) -> None:
        """Nothing is shown."""


def _result(bare: list[float], ours: list[float], settings: TrainSettings, options: Any) -> Result:
    ratio = median(bare) / median(ours)
    rows = tuple(
        (
            name,
            number(1000 * median(times)),
            number(options.batch / median(times)),
            number(median(bare) / median(times)),
        )
        for name, times in (("bare forward and backward", bare), ("a step of geoloom train", ours))
    )
    return Result(
        "training",
        "A training step",
        f"lite-unet over {options.encoder}, {options.batch} chips of {options.chip}², {settings.precision}, on "
        f"{options.device} with {torch.get_num_threads()} threads; {options.rounds} rounds of {options.steps} "
        "steps, in turns, the median of all.",
        ("", "ms a step", "images/s", "÷ bare"),
        rows,
        {"bare": bare, "ours": ours, "ratio": ratio},
        (Goal("images/s of a step ÷ bare", ratio, at_least=GOALS[options.device]),),
    )


if __name__ == "__main__":
    main()
