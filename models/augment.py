"""Other views of a batch: turned, mirrored, zoomed, lit otherwise, out of focus.

Image, labels and valid go together. Everything random comes from one generator, made from (seed, step): step k sees
the same views whether training ran through or was resumed before k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.losses import IGNORE

_BLURRED, _GRAINY = 0.25, 0.25
"""Shares of the samples that are blurred and that get noise."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far views may stray; images are normalised, so 1 is a band's standard deviation."""

    zoom: tuple[float, float] = (0.7, 1.4)
    """Smallest and largest magnification: scenes differ in ground metres a pixel."""
    brightness: float = 0.3
    """Largest shift of all bands."""
    colour: float = 0.15
    """Largest shift of a single band, and largest change of its gain."""
    contrast: float = 0.3
    """Largest change of all bands' gain."""
    gamma: float = 1.5
    """Largest exponent of the tone curve; the smallest is its inverse."""
    noise: float = 0.1
    """Largest standard deviation of added noise."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        low, high = self.zoom
        if not 0 < low <= high:
            raise ValueError(f"zoom is {self.zoom}: expected 0 < smallest <= largest")
        if min(self.brightness, self.colour, self.contrast, self.noise) < 0 or self.gamma < 1:
            raise ValueError(f"{self}: expected shifts of 0 or more and a gamma of 1 or more")


def step_generator(seed: int, step: int) -> torch.Generator:
    """A CPU generator that depends on the seed and the step alone; neighbouring steps are unrelated."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def augment(
    images: Tensor,
    labels: Tensor,
    *,
    valid: Tensor,
    generator: torch.Generator,
    how: Augmentation | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Another view of each sample of a batch of square chips: (images, labels, valid), in the shapes given.

    Args:
        images: (n, band, y, x) float32, normalised, 0 where not valid; y equals x.
        labels: (n, y, x) integers, 255 = ignore.
        valid: (n, y, x) bool.
        generator: on the CPU, whatever the device, so that a view does not depend on the device.
        how: how far views may stray.

    Returns:
        Images that are 0 where the new valid is False, labels that are 255 there.
    """
    how = how or Augmentation()
    if images.shape[-2] != images.shape[-1]:
        raise ValueError(f"chips are {tuple(images.shape[-2:])} pixels: expected squares, which can be turned")
    symmetries = _draw(generator, len(images), 0, 8).int().tolist()
    views = [_turn(*sample) for sample in zip(images, labels, valid, symmetries, strict=True)]
    images, labels, valid = (torch.stack(parts) for parts in zip(*views, strict=True))
    images, labels, valid = _zoom(images, labels, valid, how=how, generator=generator)
    images = _relight(images, how=how, generator=generator)
    images = _defocus(images, how=how, generator=generator)
    return images.masked_fill(~valid[:, None], 0.0), labels.masked_fill(~valid, IGNORE), valid


def _draw(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _turn(image: Tensor, label: Tensor, valid: Tensor, symmetry: int) -> tuple[Tensor, Tensor, Tensor]:
    """One of the square's 8 symmetries, exactly: transposed where bit 4 is set, then mirrored by bits 1 and 2."""
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if symmetry & bit]
    a, b, c = (part.transpose(-1, -2) if symmetry & 4 else part for part in (image, label, valid))
    return a.flip(axes), b.flip(axes), c.flip(axes)


def _zoom(
    images: Tensor, labels: Tensor, valid: Tensor, *, how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Magnified about a random point: images bilinear, labels nearest; what lies outside the chip is mirrored in.

    A pixel is valid only if all that it was interpolated from is.
    """
    n = len(images)
    low, high = (math.log(bound) for bound in how.zoom)
    if low == high == 0:
        return images, labels, valid
    reach = _draw(generator, n, low, high).neg().exp()  # share of the chip that is seen
    shift = (1 - reach).clamp(min=0) * _draw(generator, 2 * n, -1, 1).reshape(2, n)
    zero = torch.zeros(n)
    theta = torch.stack([reach, zero, shift[0], zero, reach, shift[1]], dim=1).reshape(n, 2, 3).to(images.device)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)

    def sample(planes: Tensor, mode: str) -> Tensor:
        return functional.grid_sample(planes, grid, mode=mode, padding_mode="reflection", align_corners=False)

    planes = torch.cat([images, valid[:, None].to(images.dtype)], dim=1)
    sampled = sample(planes, "bilinear")
    zoomed = sample(labels[:, None].to(images.dtype), "nearest")[:, 0].round().to(labels.dtype)
    return sampled[:, :-1], zoomed, sampled[:, -1] > 1 - 1e-4


def _relight(images: Tensor, *, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Another sun: a tone curve between each sample's extremes, another gain and shift of all bands and of each."""
    n, bands = images.shape[:2]
    power = _draw(generator, n, -math.log(how.gamma), math.log(how.gamma)).exp()
    gain = 1 + _draw(generator, n, -how.contrast, how.contrast)[:, None]
    gain = gain * (1 + _draw(generator, n * bands, -how.colour, how.colour).reshape(n, bands))
    shift = _draw(generator, n, -how.brightness, how.brightness)[:, None]
    shift = shift + _draw(generator, n * bands, -how.colour, how.colour).reshape(n, bands)
    power, gain, shift = (x.reshape(n, -1, 1, 1).to(images.device) for x in (power, gain, shift))
    darkest = images.amin(dim=(1, 2, 3), keepdim=True)
    span = (images.amax(dim=(1, 2, 3), keepdim=True) - darkest).clamp(min=1e-3)
    toned = ((images - darkest) / span).clamp(0, 1).pow(power) * span + darkest
    middle = toned.mean(dim=(2, 3), keepdim=True)
    return (toned - middle) * gain + (middle + shift)


def _defocus(images: Tensor, *, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Some samples are blurred (3x3 binomial, in part), some others get noise."""
    n, bands = images.shape[:2]
    luck, strength = _draw(generator, n, 0, 1), _draw(generator, n, 0, 1)
    out = images.clone()
    binomial = torch.tensor([1.0, 2.0, 1.0], device=images.device) / 4
    kernel = torch.outer(binomial, binomial).expand(bands, 1, 3, 3)
    for sample in range(n):
        amount = float(strength[sample])
        if luck[sample] < _BLURRED:
            soft = functional.conv2d(
                functional.pad(images[sample : sample + 1], (1, 1, 1, 1), "replicate"), kernel, groups=bands
            )
            out[sample] = torch.lerp(images[sample], soft[0], amount)
        elif luck[sample] < _BLURRED + _GRAINY:
            grain = torch.randn(images.shape[1:], generator=generator).to(images.device)
            out[sample] += how.noise * amount * grain
    return out
