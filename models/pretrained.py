"""ImageNet weights for the encoder of a network, from a file that the user has."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from infra.errors import UnusableInput

_HEAD = 8  # conv_head, its BatchNorm (5 tensors), classifier weight and bias: a segmentation encoder has none of them


def load_imagenet(network: nn.Module, path: Path) -> None:
    """Fill the EfficientNet-Lite0 encoder of a network, in place, with ImageNet weights.

    The file is the one EfficientNet-PyTorch users know as `efficientnet-lite0-57934424.pth`: its tensors are named
    differently from timm's, but stand in the same order, so they are matched by place, and each shape is checked. It
    was trained on RGB scaled to [-1, 1]. For other than three bands the first convolution becomes the mean over RGB,
    repeated and scaled by 3 / bands, so that its response to grey keeps its size.

    Raises:
        UnusableInput: the file is missing, damaged, or does not fit the network's encoder.
    """
    encoder = getattr(getattr(network, "encoder", None), "model", None)
    if not isinstance(encoder, nn.Module):
        raise UnusableInput(
            "ImageNet weights fit lite-unet and networks with the encoder tu-tf_efficientnet_lite0: this one is another"
        )
    source = [tensor for tensor in _read(path).values() if isinstance(tensor, Tensor)][:-_HEAD]
    target = encoder.state_dict()
    if len(source) != len(target):
        raise UnusableInput(
            f"{path} has {len(source)} tensors for an encoder and this one has {len(target)}: "
            "use efficientnet-lite0-57934424.pth with lite-unet or the encoder tu-tf_efficientnet_lite0"
        )
    loaded: dict[str, Tensor] = {}
    for place, ((name, old), new) in enumerate(zip(target.items(), source, strict=True)):
        fitted = _fit_bands(new, old.shape[1]) if place == 0 else new
        if fitted.shape != old.shape:
            raise UnusableInput(
                f"{path}: tensor {place} is {tuple(new.shape)} and {name} is {tuple(old.shape)}: the file is not for "
                "this encoder; use efficientnet-lite0-57934424.pth with lite-unet or tu-tf_efficientnet_lite0"
            )
        loaded[name] = fitted
    encoder.load_state_dict(loaded, strict=True)


def _fit_bands(stem: Tensor, bands: int) -> Tensor:
    """First convolution (out, 3, y, x) as (out, bands, y, x)."""
    if bands == stem.shape[1]:
        return stem
    return stem.mean(dim=1, keepdim=True).repeat(1, bands, 1, 1) * (stem.shape[1] / bands)


def _read(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise UnusableInput(f"{path} is not a file: give the path of efficientnet-lite0-57934424.pth")
    promised = re.search(r"-([0-9a-f]{8})\.pth$", path.name)  # torch.hub's habit: the name ends in the sha256's start
    if promised and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(promised[1]):
        raise UnusableInput(f"{path} is damaged: its sha256 does not start with {promised[1]}; get the file again")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnusableInput(f"{path} holds no weights that can be read safely: {str(error).splitlines()[0]}") from error
    if not isinstance(tensors, dict):
        raise UnusableInput(f"{path} holds a {type(tensors).__name__}, expected named tensors")
    return tensors
