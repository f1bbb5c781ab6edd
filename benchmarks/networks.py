"""The networks that are measured with, saved as models: a real one, a tiny one, and one that passes bands through."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from models.card import ModelCard
from models.checkpoint import load_model, save_model
from models.registry import build, network_stride

BANDS = ("red", "green", "blue")
CLASSES = ("other", "building", "road")
COLOURS = ((233, 229, 220), (214, 69, 65), (74, 74, 84))
SPREAD = 3.0
"""Standard deviation of random networks' logits: as they are drawn they are nearly equal, and ties blur comparisons."""


def save_unet(folder: Path, *, tile: int, margin: int, ramp: int) -> Path:
    """The Unet of smp on MobileNetV2, three classes, weights from a fixed seed: what real runs are timed with.

    Its normalisations are fitted to noise in one pass, and its last layer is scaled, so that the classes of a scene
    differ; neither changes what a pass costs.
    """
    if (folder / "model.json").is_file():
        return folder
    torch.manual_seed(0)
    arguments: dict[str, JsonValue] = {"encoder": "mobilenet_v2"}
    network = build("smp-unet", arguments, bands=len(BANDS), classes=len(CLASSES))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics of the one pass that follows
        network.train()(_sample())
    _spread(network.eval())
    return _save(folder, network, "smp-unet", arguments, tile=tile, margin=margin, ramp=ramp)


def save_tiny(folder: Path, *, tile: int = 512, margin: int = 8, ramp: int = 8, bands: tuple[str, ...] = BANDS) -> Path:
    """Three small convolutions with random weights: what is measured with it is geoloom, not torch."""
    if (folder / "model.json").is_file():
        return folder
    torch.manual_seed(0)
    network = build("tiny", {}, bands=len(bands), classes=len(CLASSES))
    _spread(network, len(bands))
    return _save(folder, network, "tiny", {}, tile=tile, margin=margin, ramp=ramp, bands=bands)


def _sample(bands: int = len(BANDS)) -> Tensor:
    """Smooth noise as tiles are after normalisation."""
    return nn.functional.interpolate(torch.randn(4, bands, 64, 64), scale_factor=4.0, mode="bilinear")


def _spread(network: nn.Module, bands: int = len(BANDS)) -> None:
    """Scale the last layer so that the logits of noise have a mean of 0 and a standard deviation of SPREAD."""
    head = [m for m in network.modules() if isinstance(m, nn.Conv2d)][-1]
    assert head.bias is not None
    with torch.no_grad():
        logits: Tensor = network(_sample(bands))
        gain, middle = SPREAD / logits.std(dim=(0, 2, 3)), logits.mean(dim=(0, 2, 3))
        head.weight *= gain[:, None, None, None]
        head.bias.copy_((head.bias - middle) * gain)


def save_identity(folder: Path, *, tile: int, margin: int = 0, ramp: int = 0) -> Path:
    """A network whose logits are its bands, so that the class of a pixel is the number of its brightest band.

    Levels are normalised to within ten (the limit that models cut at), shifted above zero for the ReLUs, and stretched
    again, so that two levels that differ by one give probabilities of 0.73 and 0.27.
    """
    if (folder / "model.json").is_file():
        return folder
    spread = 13.0
    width: dict[str, JsonValue] = {"width": len(BANDS)}
    network = build("tiny", width, bands=len(BANDS), classes=len(CLASSES))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for layer, gain, shift in zip(layers, (1.0, 1.0, spread), (10.0, 0.0, 0.0), strict=True):
            layer.weight.zero_()
            layer.weight[range(len(BANDS)), range(len(BANDS)), 1, 1] = gain
            assert layer.bias is not None
            layer.bias.fill_(shift)
    return _save(folder, network, "tiny", width, tile=tile, margin=margin, ramp=ramp, std=spread)


def one_batch(folder: Path, *, batch: int = 1) -> nn.Module:
    """A saved network after one batch of its tiles, as every process has it before a clock runs."""
    network, card = load_model(folder)
    with torch.inference_mode():
        network(torch.zeros(batch, len(card.bands), card.tile, card.tile))
    return network


def _save(
    folder: Path,
    network: nn.Module,
    architecture: str,
    arguments: dict[str, JsonValue],
    *,
    tile: int,
    margin: int,
    ramp: int,
    std: float = 64.0,
    bands: tuple[str, ...] = BANDS,
) -> Path:
    card = ModelCard.model_validate(
        {
            "architecture": architecture,
            "arguments": arguments,
            "bands": bands,
            "mean": (127.5,) * len(bands),
            "std": (std,) * len(bands),
            "classes": CLASSES,
            "colours": COLOURS,
            "stride": network_stride(architecture, arguments),
            "tile": tile,
            "margin": margin,
            "ramp": ramp,
            # Known, so that it is not measured in every run. Nobody trained these: it is taken for the worst.
            "disagreement": 1.0,
        }
    )
    save_model(folder, network, card)
    return folder
