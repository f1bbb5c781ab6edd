"""What a network that maps scenes makes of a picture: what it was trained on elsewhere says much of new places, too."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.card import ModelCard
from models.lite_unet import LiteUNet
from models.normalise import normalise

_FINEST = 3
"""Steps of the decoder that are looked at: at the picture's resolution, a half and a quarter of it."""


class DeepLook:
    """Features of pixels out of the decoder of a network for RGB."""

    def __init__(self, network: LiteUNet, card: ModelCard) -> None:
        """Look through a network, which is not changed."""
        self._network, self._card = network, card

    @torch.inference_mode()
    def __call__(self, picture: NDArray[np.uint8], valid: NDArray[np.bool_], *, step: int) -> NDArray[np.float32]:
        """What it makes of one of every so many rows and columns.

        Args:
            picture: (y, x, 3) uint8 RGB.
            valid: (y, x) where it has data.
            step: a pixel is looked at where its row and column are multiples of it.

        Returns:
            (v, u, d): the finest features first, then each class's logit above the mean of all.
        """
        rows, cols = picture.shape[:2]
        more = [(0, -side % self._card.stride) for side in (rows, cols)]
        image = np.pad(picture, (*more, (0, 0)), mode="edge").transpose(2, 0, 1)[None]
        known = np.pad(valid, more, mode="edge")[None]
        seen = normalise(image, known, mean=self._card.mean, std=self._card.std)
        device = next(self._network.parameters()).device
        *steps, logits = self._network.features(torch.from_numpy(seen).to(device))
        parts = [*steps[: -_FINEST - 1 : -1], logits - logits.mean(dim=1, keepdim=True)]
        looked = [
            functional.interpolate(part, size=image.shape[2:], mode="bilinear")[0, :, :rows:step, :cols:step]
            for part in parts
        ]
        found: NDArray[np.float32] = torch.cat(looked).permute(1, 2, 0).cpu().numpy()
        return found
