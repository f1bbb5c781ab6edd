"""Predict: a model over a whole cube, tile by tile, blended without a seam."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from dask.delayed import delayed

from infra.cluster import Cluster
from infra.device import choose_device
from infra.progress import Progress, counting
from infra.storage import make_folder, replacing, require_free
from models.card import load_card
from models.predictor import Precision, Predictor, load_predictor
from tasks.model import find_model, fit_bands
from tasks.params import PredictParams
from tasks.raster import probability as prob
from tasks.raster.grid import ground_resolution
from tasks.raster.tiling import Block, cut_scene
from tasks.workspace import open_workspace

BATCH = {"cpu": 1, "cuda": 8}
RESCALE_OVER = 1.25


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a prediction made."""

    probability: str
    model: str
    tiles_total: int
    tiles_run: int
    blocks: int
    trained_here: bool
    """True where the model was trained on this very scene, so that scores on it are no evidence."""


def predict(params: PredictParams, out: Path, *, cluster: Cluster, device: str, progress: Progress) -> Predicted:
    """Run a model over the workspace's cube.

    Raises:
        UnusableInput: no workspace or model, or the model does not fit the cube.
        UnwritableOutput: the workspace cannot be written.
    """
    workspace = open_workspace(out)
    cube = workspace.cube()
    model = find_model(params.model)
    card = load_card(model)
    bands = fit_bands(card, cube)
    device = choose_device(device)
    if card.disagreement is not None and params.margin is not None and params.margin < card.margin:
        progress.note(
            f"A margin of {params.margin} is under the model's own {card.margin}, where tiles change "
            f"{card.disagreement:.2%} of the pixels: tile edges may show."
        )
    _warn_of_scale(card.resolution, ground_resolution(cube.grid), progress)

    shape = (cube.grid.shape[0], cube.grid.shape[1])
    tiling = cut_scene(
        shape,
        tile=params.tile or card.tile,
        margin=card.margin if params.margin is None else params.margin,
        ramp=card.ramp if params.ramp is None else params.ramp,
        stride=card.stride,
        shard=prob.SHARD,
    )
    require_free(out, shape[0] * shape[1] * len(card.classes))
    strips = workspace.root / "strips"
    shutil.rmtree(strips, ignore_errors=True)
    make_folder(strips)
    learnt = card.lineage.get("fingerprints")
    seen = isinstance(learnt, list) and any(
        f in learnt for f in (cube.fingerprint, *(s.fingerprint for s in workspace.sources))
    )
    if seen:
        progress.note("The model was trained on this very scene: its scores here are no evidence of its quality.")
    about = {
        "trained_here": seen,
        "model": card.weights_sha256,
        "cube": cube.fingerprint,
        "colours": [list(c) for c in card.colours],
    }
    try:
        with replacing(workspace.probability_path) as path:
            prob.create_probability(path, cube.grid, classes=tuple(card.classes), shard=tiling.block, attributes=about)
            weaving = prob.Weaving(tiling, workspace.cube_path, bands, path, strips, len(card.classes), BATCH[device])
            network = (model, card.weights_sha256, device, params.precision)
            with counting(progress, "predict", total=len(list(tiling.blocks())), unit="blocks") as bar:
                run = cluster.run(_graph(weaving, network), done=bar.advance)
    finally:
        shutil.rmtree(strips, ignore_errors=True)
    return Predicted(str(workspace.probability_path), str(model), tiling.count, sum(run), len(run), trained_here=seen)


Network = tuple[Path, str, str, Precision]
"""Folder, hash of the weights, device, precision: what makes a network the same in every process."""


def _graph(weaving: prob.Weaving, network: Network) -> list[Any]:
    """One Dask task a block; each waits for the blocks whose tiles reach into it."""
    task = delayed(_predict_block, pure=False)
    jobs: dict[Block, Any] = {}
    for block in weaving.tiling.blocks():
        jobs[block] = task(weaving, block, network, [jobs[b] for b in weaving.tiling.upstream(block)])
    return list(jobs.values())


def _predict_block(weaving: prob.Weaving, block: Block, network: Network, _after: list[int]) -> int:
    import torch

    torch.set_num_threads(1)  # a lane is one thread: two lanes of one were measured as fast as one of two
    with _LOADING:
        predictor = _load(network)
    return prob.weave_block(weaving, block, predictor)


_LOADING = Lock()
"""Lanes share one network: the first loads it, the others wait."""


@lru_cache(maxsize=1)
def _load(network: Network) -> Predictor:
    folder, _, device, precision = network
    return load_predictor(folder, device=device, precision=precision)


def _warn_of_scale(trained: float | None, here: float | None, progress: Progress) -> None:
    if trained and here and not 1 / RESCALE_OVER <= here / trained <= RESCALE_OVER:
        progress.note(
            f"The scene has {here:.2f} m a pixel and the model was trained at {trained:.2f} m; expect a weaker map."
        )
