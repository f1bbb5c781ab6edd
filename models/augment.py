"""Other views of a batch: turned, mirrored, nearer and farther, lit otherwise, out of focus, with holes.

Image, labels and what else is known of each pixel go together, labels by the nearest pixel. Kornia does it on whole
batches. Everything random is drawn from torch's generator on the CPU, which the caller seeds: the views of a step are a
function of that seed, on every device.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import kornia.augmentation as K  # noqa: N812 - as its documentation calls it
import torch
from kornia.augmentation.random_generator.base import RandomGeneratorBase
from kornia.constants import DataKey, Resample
from torch import Tensor

from models.batch import Batch
from models.metrics import IGNORE
from models.recipe import AugmentRecipe


class Views:
    """Makes a view of each sample of a batch; all that is random comes from torch's own generator."""

    def __init__(self, how: AugmentRecipe, *, chip: int, seen: int) -> None:
        """Prepare.

        Args:
            how: how far views may stray.
            chip: pixels a side of what comes out.
            seen: pixels a side of what goes in, `chip` or more: what lies around is there to be zoomed out to.
        """
        self._turns = how.turn
        low, high = how.zoom
        area = tuple(min(chip / zoom / seen, 1.0) ** 2 for zoom in (high, low))
        crop = K.RandomResizedCrop((chip, chip), scale=area, ratio=(1.0, 1.0), align_corners=False)
        flips = [K.RandomHorizontalFlip(p=0.5), K.RandomVerticalFlip(p=0.5)] if how.turn else []
        nearest: dict[Any, Any] = {DataKey.MASK: {"resample": Resample.NEAREST, "align_corners": None}}
        self._move = K.AugmentationSequential(crop, *flips, data_keys=["input", "mask"], extra_args=nearest)
        self._light = K.ImageSequential(
            _Relight(how),
            K.RandomGaussianBlur((3, 3), (0.3, 1.5), p=how.blur),
            K.RandomGaussianNoise(std=how.noise_strength, p=how.noise),
        )
        self._holes = K.RandomErasing(scale=(0.01, 0.08), p=how.cutout) if how.cutout else None

    def __call__(self, batch: Batch) -> Batch:
        """A view of each sample; images that are 0 and labels that are 255 where the new `valid` is False."""
        bands = batch.images.shape[1]
        holed = not bool(batch.valid.all())
        images = batch.images
        if holed:  # what is data is moved as the image is
            images = torch.cat([images, batch.valid[:, None].to(images.dtype)], dim=1)
        more = [part for part in (batch.sure, batch.objects) if part is not None]
        masks = torch.stack([part.to(images.dtype) for part in (batch.labels, *more)], dim=1)
        images, masks = self._move(images, masks)
        if self._turns:
            for number in torch.rand(len(images)).round().nonzero().flatten().tolist():
                for part in (images, masks):
                    part[number] = part[number].mT.clone()
        if holed:
            images, valid = images[:, :bands], images[:, bands:] > 1 - 1e-4  # all that a pixel was made of is data
        else:
            valid = torch.ones_like(images[:, :1], dtype=torch.bool)
        if self._holes is not None:
            valid = self._holes(valid.to(images.dtype)) > 0
        images = self._light(_filled(images, valid)).masked_fill(~valid, 0.0)
        labels = masks[:, 0].round().long().masked_fill(~valid[:, 0], IGNORE)
        sure = None if batch.sure is None else masks[:, 1]
        objects = None if batch.objects is None else masks[:, -1].round().long().masked_fill(~valid[:, 0], 0)
        return replace(batch, images=images, labels=labels, valid=valid[:, 0], sure=sure, objects=objects)


def _filled(images: Tensor, valid: Tensor) -> Tensor:
    """Images whose pixels without data are the mean of those with: they have no part in what light does to these."""
    if bool(valid.all()):
        return images
    count = valid.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return images.where(valid, images.masked_fill(~valid, 0.0).sum(dim=(2, 3), keepdim=True) / count)


class _Light(RandomGeneratorBase):
    """Draws the light of each sample: kornia's generators draw numbers, ours as many as there are bands."""

    def __init__(self, how: AugmentRecipe) -> None:
        super().__init__()
        self.how = how

    def make_samplers(self, device: torch.device, dtype: torch.dtype) -> None:
        """Nothing to prepare."""

    def forward(self, batch_shape: tuple[int, ...], same_on_batch: bool = False) -> dict[str, Tensor]:  # noqa: ARG002, FBT001, FBT002
        """Exponent, gain and shift of samples (n, band or 1, 1, 1)."""
        n, bands = batch_shape[:2]

        def draw(most: float, *shape: int) -> Tensor:
            return (2 * torch.rand(*shape, 1, 1) - 1) * most

        gain = (1 + draw(self.how.contrast, n, 1)) * (1 + draw(self.how.colour, n, bands))
        shift = draw(self.how.brightness, n, 1) + draw(self.how.colour, n, bands)
        return {"power": draw(math.log(self.how.gamma), n, 1).exp(), "gain": gain, "shift": shift}


class _Relight(K.IntensityAugmentationBase2D):
    """Another sun: a tone curve between each sample's extremes, another gain and shift of all bands and of each.

    Kornia's own colours are for RGB in 0..1; this is for any number of bands, normalised.
    """

    def __init__(self, how: AugmentRecipe) -> None:
        super().__init__(p=1.0)
        self._param_generator = _Light(how)

    def apply_transform(
        self,
        input: Tensor,  # noqa: A002 - kornia's name
        params: dict[str, Tensor],
        flags: dict[str, Any],  # noqa: ARG002
        transform: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        """The images in another light."""
        power, gain, shift = (params[name].to(input) for name in ("power", "gain", "shift"))
        darkest = input.amin(dim=(1, 2, 3), keepdim=True)
        span = (input.amax(dim=(1, 2, 3), keepdim=True) - darkest).clamp(min=1e-3)
        toned = ((input - darkest) / span).clamp(0, 1).pow(power) * span + darkest
        middle = toned.mean(dim=(2, 3), keepdim=True)
        return (toned - middle) * gain + (middle + shift)
