"""A U-Net over EfficientNet-Lite: the network that geoloom ships, written here.

It is, to the bit and to the names of its weights, what segmentation-models-pytorch builds as
`Unet("tu-tf_efficientnet_lite0")`: either's weights load in the other. That library and what it imports (timm,
torchvision, torch's compiler) take more than a third of the time in which a command starts, and much memory in every
worker; so the one network that most runs need does without (docs/decisions/0006).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_STEM = 32
# Blocks, kernel, stride, expansion and channels of each stage: Tan and Le, EfficientNet (2019), arXiv:1905.11946,
# table 1. The Lite networks have no squeeze and excitation, and ReLU6 for swish; their stem is not widened, their first
# and last stages not deepened.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LITE = {
    "tu-tf_efficientnet_lite0": (1.0, 1.0),
    "tu-tf_efficientnet_lite1": (1.0, 1.1),
    "tu-tf_efficientnet_lite2": (1.1, 1.2),
    "tu-tf_efficientnet_lite3": (1.2, 1.4),
    "tu-tf_efficientnet_lite4": (1.4, 1.8),
}
"""The encoders by the names that segmentation-models-pytorch has for them: how much wider and deeper they are."""
_SEEN = (0, 1, 2, 4, 6)
"""Stages whose result the decoder sees: the last of each resolution."""
_DECODER = (256, 128, 64, 32, 16)
_EPSILON = 1e-3
"""Of the encoder's normalisations, as TensorFlow has it."""


_Stages = tuple[tuple[int, int, int, int, int], ...]


class LiteUNet(nn.Module):
    """Maps (n, band, y, x) float32 to logits (n, class, y, x); y and x are multiples of 32."""

    def __init__(self, bands: int, classes: int, encoder: str = "tu-tf_efficientnet_lite0") -> None:
        if encoder not in LITE:
            raise ValueError(f"the encoder is {encoder!r}, expected one of {', '.join(LITE)}")
        super().__init__()
        stages = _scaled(*LITE[encoder])
        self.encoder = _Encoder(bands, stages)
        self.decoder = _Decoder([stages[stage][-1] for stage in _SEEN])
        self.segmentation_head = nn.Sequential(nn.Conv2d(_DECODER[-1], classes, 3, padding=1))
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every pixel."""
        logits: Tensor = self.segmentation_head(self.decoder(image, self.encoder(image)))
        return logits

    def features(self, image: Tensor) -> list[Tensor]:
        """What each step of the decoder makes of an image, coarsest first, and the logits of every pixel."""
        found = self.decoder.steps(image, self.encoder(image))
        return [*found, self.segmentation_head(found[-1])]


def _scaled(width: float, depth: float) -> _Stages:
    """The stages of a wider and deeper network."""
    ends = (0, len(_STAGES) - 1)
    return tuple(
        (count if number in ends else math.ceil(count * depth), kernel, stride, expansion, _eights(channels * width))
        for number, (count, kernel, stride, expansion, channels) in enumerate(_STAGES)
    )


def _eights(channels: float) -> int:
    """The nearest multiple of 8, but not less than nine tenths."""
    nearest = max(int(channels + 4) // 8 * 8, 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class _Encoder(nn.Module):
    """What weights know as `encoder.model`."""

    def __init__(self, bands: int, stages: _Stages) -> None:
        super().__init__()
        self.model = _Lite(bands, stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.model(image)
        return features


class _Lite(nn.Module):
    """Features at a half to a 32nd of the resolution."""

    def __init__(self, bands: int, scaled: _Stages) -> None:
        super().__init__()
        self.conv_stem = _convolution(bands, _STEM, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(_STEM, _EPSILON)
        stages, inputs = nn.Sequential(), _STEM
        for count, kernel, stride, expansion, outputs in scaled:
            kind = _Expanded if expansion > 1 else _Separable
            blocks = nn.Sequential(kind(inputs, outputs, kernel, stride, expansion))
            blocks.extend(kind(outputs, outputs, kernel, 1, expansion) for _ in range(count - 1))
            stages.append(blocks)
            inputs = outputs
        self.blocks = stages

    def forward(self, image: Tensor) -> list[Tensor]:
        features = functional.relu6(self.bn1(self.conv_stem(image)))
        found = []
        for number, stage in enumerate(self.blocks):
            features = stage(features)
            if number in _SEEN:
                found.append(features)
        return found


class _Separable(nn.Module):
    """A convolution of each channel, then one over channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, _expansion: int) -> None:
        super().__init__()
        self.conv_dw = _convolution(inputs, inputs, kernel, stride=stride, groups=inputs)
        self.bn1 = nn.BatchNorm2d(inputs, _EPSILON)
        self.conv_pw = _convolution(inputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs, _EPSILON)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        deep: Tensor = self.bn2(self.conv_pw(functional.relu6(self.bn1(self.conv_dw(features)))))
        return deep + features if self.adds else deep


class _Expanded(nn.Module):
    """The same between a convolution to more channels and one to fewer: an inverted residual."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * inputs
        self.conv_pw = _convolution(inputs, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner, _EPSILON)
        self.conv_dw = _convolution(inner, inner, kernel, stride=stride, groups=inner)
        self.bn2 = nn.BatchNorm2d(inner, _EPSILON)
        self.conv_pwl = _convolution(inner, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs, _EPSILON)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        deep: Tensor = functional.relu6(self.bn1(self.conv_pw(features)))
        deep = functional.relu6(self.bn2(self.conv_dw(deep)))
        deep = self.bn3(self.conv_pwl(deep))
        return deep + features if self.adds else deep


class _Decoder(nn.Module):
    """From the coarsest features to the image's resolution, each finer one joined on the way."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        *finer, deepest = seen
        skips = [*reversed(finer), 0]
        steps = pairwise((deepest, *_DECODER))
        self.blocks = nn.ModuleList(_Join(a + skip, b) for (a, b), skip in zip(steps, skips, strict=True))

    def forward(self, image: Tensor, features: list[Tensor]) -> Tensor:
        *finer, deep = features
        for block in self.blocks:
            deep = _joined(block, deep, finer, image)
        finest: Tensor = deep
        return finest

    def steps(self, image: Tensor, features: list[Tensor]) -> list[Tensor]:
        """What each block gives."""
        *finer, deep = features
        found = []
        for block in self.blocks:
            deep = _joined(block, deep, finer, image)
            found.append(deep)
        return found


def _joined(block: nn.Module, deep: Tensor, finer: list[Tensor], image: Tensor) -> Tensor:
    """One step finer; the features that are joined are taken off the list."""
    skip = finer.pop() if finer else None
    deep = functional.interpolate(deep, size=(image if skip is None else skip).shape[2:], mode="nearest")
    joined: Tensor = block(deep if skip is None else torch.cat([deep, skip], dim=1))
    return joined


class _Join(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _normalised(inputs, outputs)
        self.conv2 = _normalised(outputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        joined: Tensor = self.conv2(self.conv1(features))
        return joined


class _Halving(nn.Conv2d):
    """A convolution of stride 2 that pads as TensorFlow does: more after the image than before it."""

    def forward(self, image: Tensor) -> Tensor:  # y and x are even
        before = (self.kernel_size[0] - 2) // 2
        after = self.kernel_size[0] - 2 - before
        return super().forward(functional.pad(image, (before, after, before, after)))


def _convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride > 1:
        return _Halving(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)


def _normalised(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _initialise(network: LiteUNet) -> None:
    """Random weights as those libraries draw them: by the fan of each part's kind."""
    for module in network.encoder.modules():
        if isinstance(module, nn.Conv2d):
            fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0, (2 / fan) ** 0.5)
    for module in network.decoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
    for module in network.segmentation_head:
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
