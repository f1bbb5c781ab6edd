"""The ways there are to run a network over a scene too big for it, each as its own documentation shows it.

Each takes the same RGB GeoTIFF and the same network and writes one deflate GeoTIFF of classes; each returns how many
tiles went through the network. All blend class probabilities, with the weights that their library offers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio  # not through geoloom's door: what a user would import
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor

Forward = Callable[[Tensor], Tensor]
"""Normalised tiles (n, band, y, x) float32 to probabilities (n, class, y, x) float32."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What all of them are told: the tiles, the network's normalisation, and how many tiles it takes together."""

    tile: int
    overlap: int
    batch: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def monai(scene: Path, out: Path, forward: Forward, *, plan: Plan) -> int:
    """MONAI's `sliding_window_inference` with a Gaussian, on the whole scene as one float32 tensor."""
    from monai.inferers.utils import sliding_window_inference

    count = _Counting(forward)
    image, profile = _read(scene)
    batch = torch.from_numpy(_normalise(image, plan))[None]
    del image
    probability = sliding_window_inference(
        batch, (plan.tile, plan.tile), plan.batch, count, overlap=plan.overlap / plan.tile, mode="gaussian"
    )
    assert isinstance(probability, Tensor)
    _write(out, profile, probability[0].argmax(dim=0).numpy().astype(np.uint8))
    return count.tiles


def toolbelt(scene: Path, out: Path, forward: Forward, *, plan: Plan) -> int:
    """pytorch-toolbelt's `ImageSlicer` and `TileMerger` with its pyramid weights, on the whole scene."""
    from pytorch_toolbelt.inference.tiles import ImageSlicer, TileMerger

    count = _Counting(forward)
    image, profile = _read(scene)
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
    slicer = ImageSlicer(pixels.shape[:2], plan.tile, plan.tile - plan.overlap, weight="pyramid")
    merger = TileMerger(slicer.target_shape, plan.classes, slicer.weight)
    tiles = slicer.split(pixels)
    for first in range(0, len(tiles), plan.batch):
        some = np.stack([tile.transpose(2, 0, 1) for tile in tiles[first : first + plan.batch]])
        merger.integrate_batch(
            count(torch.from_numpy(_normalise(some, plan))), slicer.crops[first : first + plan.batch]
        )
    merged = merger.merge().argmax(dim=0).numpy().astype(np.uint8)
    _write(out, profile, slicer.crop_to_orignal_size(merged))
    return count.tiles


def patchly(scene: Path, out: Path, forward: Forward, *, plan: Plan) -> int:
    """The `GridSampler` and `Aggregator` of patchly with a Gaussian, by chunks where the scene is larger than one."""
    from patchly.aggregator import Aggregator
    from patchly.sampler import GridSampler, SamplingMode

    count = _Counting(forward)
    image, profile = _read(scene)
    size = image.shape[1:]
    step = plan.tile - plan.overlap
    chunk = (4 * plan.tile, 4 * plan.tile) if min(size) >= 4 * plan.tile else None
    classes = np.zeros(size, np.uint8)
    sampler = GridSampler(
        image=image, spatial_size=size, patch_size=(plan.tile, plan.tile), step_size=(step, step), chunk_size=chunk,
        spatial_first=False, mode=SamplingMode.SAMPLE_EDGE,
    )  # fmt: skip
    options: dict[str, Any] = {"weights": "gaussian", "softmax_dim": 0, "spatial_first": False}
    if chunk is None:
        aggregator = Aggregator(sampler=sampler, output_size=(plan.classes, *size), **options)
    else:
        aggregator = Aggregator(sampler=sampler, output=classes, **options)
    for first in range(0, len(sampler), plan.batch):
        some = [sampler[i] for i in range(first, min(first + plan.batch, len(sampler)))]
        result = count(torch.from_numpy(_normalise(np.stack([patch for patch, _ in some]), plan))).numpy()
        for probability, (_, box) in zip(result, some, strict=True):
            aggregator.append(probability, box)
    _write(out, profile, np.asarray(aggregator.get_output()).astype(np.uint8))
    return count.tiles


def loop(scene: Path, out: Path, forward: Forward, *, plan: Plan) -> int:
    """The loop that a user writes with rasterio and numpy: windows in, sums and weights of the whole scene, argmax."""
    count = _Counting(forward)
    ramp = np.minimum(np.arange(plan.tile) + 1, plan.overlap) / plan.overlap
    side = (ramp * ramp[::-1]).astype(np.float32)
    weight = side[:, None] * side
    with rasterio.open(scene) as source:
        profile = source.profile
        total = np.zeros((plan.classes, source.height, source.width), np.float32)
        weights = np.zeros((source.height, source.width), np.float32)
        places = [
            (top, left)
            for top in _starts(source.height, plan.tile, plan.overlap)
            for left in _starts(source.width, plan.tile, plan.overlap)
        ]
        for first in range(0, len(places), plan.batch):
            some = places[first : first + plan.batch]
            read = [source.read(window=Window(left, top, plan.tile, plan.tile)) for top, left in some]
            result = count(torch.from_numpy(_normalise(np.stack(read), plan))).numpy()
            for probability, (top, left) in zip(result, some, strict=True):
                total[:, top : top + plan.tile, left : left + plan.tile] += probability * weight
                weights[top : top + plan.tile, left : left + plan.tile] += weight
    total /= weights
    _write(out, profile, total.argmax(axis=0).astype(np.uint8))
    return count.tiles


LOOPS: dict[str, Callable[..., int]] = {"monai": monai, "toolbelt": toolbelt, "patchly": patchly, "loop": loop}


class _Counting:
    """A network that counts the tiles it is given."""

    def __init__(self, forward: Forward) -> None:
        self.forward, self.tiles = forward, 0

    def __call__(self, batch: Tensor) -> Tensor:
        self.tiles += len(batch)
        return self.forward(batch)


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    return [*range(0, length - tile, tile - overlap), length - tile]


def _normalise(image: NDArray[np.uint8], plan: Plan) -> NDArray[np.float32]:
    """(..., band, y, x) uint8 to float32."""
    shape = (-1, 1, 1)
    pixels = image.astype(np.float32)
    pixels -= np.reshape(np.asarray(plan.mean, np.float32), shape)
    pixels /= np.reshape(np.asarray(plan.std, np.float32), shape)
    return pixels


def _read(scene: Path) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    with rasterio.open(scene) as source:
        return source.read(), source.profile


def _write(out: Path, profile: dict[str, Any], classes: NDArray[np.uint8]) -> None:
    kept = {name: profile[name] for name in ("height", "width", "crs", "transform")}
    with rasterio.open(
        out, "w", driver="GTiff", count=1, dtype="uint8", compress="deflate", tiled=True, blockxsize=512,
        blockysize=512, **kept,
    ) as target:  # fmt: skip
        target.write(classes, 1)
