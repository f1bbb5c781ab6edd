"""One run of one contender in a process of its own: warm (imports done, one batch through the network), then timed.

Its only argument is a JSON object that names the contender and everything it needs; its last line is another.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import limit
from benchmarks.limit import Form
from benchmarks.machine import Watch, resident_mb
from models.checkpoint import load_model

LIBRARIES = {
    "monai": ("monai.inferers",),
    "toolbelt": ("pytorch_toolbelt.inference.tiles",),
    "patchly": ("patchly.sampler", "patchly.aggregator"),
}
"""Imported before the clock runs: every contender is warm."""
PARTS = ("ingest", "predict", "prepare", "mosaic", "runtime")
"""What is told of a run of geoloom beside its seconds."""


def main() -> None:
    """Read what to run, run it, print what it took."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    run = {"search": _search, "limit": _limit, "geoloom": _geoloom, "float32": _geoloom}.get(asked["name"], _peer)
    print(json.dumps(run(asked)))


def _search(asked: dict[str, Any]) -> dict[str, Any]:
    """Which form of a forward pass is the fastest: on a few tiles, each form in turn."""
    network, _ = load_model(Path(asked["model"]))
    tiles = limit.tiles_in_memory(asked["tiles"], tile=asked["tile"])
    return {"forms": [{**form.plain, "seconds": taken} for form, taken in limit.fastest(network, tiles)]}


def _limit(asked: dict[str, Any]) -> dict[str, Any]:
    """The network alone, on as many tiles as the scene has."""
    network, _ = load_model(Path(asked["model"]))
    tiles = limit.tiles_in_memory(asked["tiles"], tile=asked["tile"])
    return {"seconds": limit.seconds(network, tiles, Form(**asked["form"])), "tiles": len(tiles)}


def _peer(asked: dict[str, Any]) -> dict[str, Any]:
    from benchmarks import peer_loops

    for module in LIBRARIES.get(asked["name"], ()):
        import_module(module)
    network, card = load_model(Path(asked["model"]))
    form = Form(**asked["form"])
    plan = peer_loops.Plan(asked["tile"], asked["overlap"], form.batch, len(card.classes), card.mean, card.std)
    torch.set_num_threads(limit.CORES)
    forward = _probabilities(network, form)
    with torch.inference_mode():
        forward(limit.tiles_in_memory(plan.batch, tile=plan.tile))
    held = resident_mb()
    with Watch() as watch, torch.inference_mode():
        begun = time.perf_counter()
        tiles = peer_loops.LOOPS[asked["name"]](Path(asked["scene"]), Path(asked["out"]), forward, plan=plan)
        taken = time.perf_counter() - begun
    return {"seconds": taken, "tiles": tiles, "held_mb": held, "peak_mb": watch.together - held}


def _probabilities(network: nn.Module, form: Form) -> Callable[[Tensor], Tensor]:
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)

    def forward(batch: Tensor) -> Tensor:
        logits: Tensor = network(batch.contiguous(memory_format=layout))
        return logits.softmax(dim=1)

    return forward


def _geoloom(asked: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.mapping import map_scene
    from benchmarks.networks import one_batch
    from tasks.params import PredictParams

    for module in ("tasks.ingest", "tasks.predict", "tasks.mosaic"):
        import_module(module)
    folder = Path(asked["model"])
    torch.set_num_threads(1)
    network = one_batch(folder)
    tiles = {name: asked[name] for name in ("tile", "margin", "ramp")}
    params = PredictParams(model=(str(folder),), precision="float32" if asked["name"] == "float32" else "auto", **tiles)
    held = resident_mb()
    del network
    with Watch() as watch:
        done = map_scene(Path(asked["scene"]), Path(asked["out"]).with_suffix(""), params)
    (done.products / "classes.tif").rename(asked["out"])
    parts = {name: value for name, value in asdict(done).items() if name in PARTS}
    return {"seconds": done.seconds, "tiles": done.tiles, "held_mb": held, "peak_mb": watch.together - held} | parts


if __name__ == "__main__":
    main()
