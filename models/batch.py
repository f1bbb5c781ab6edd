"""Chips as networks see them: tensors on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.card import ModelCard
from models.chips import Chips
from models.metrics import IGNORE
from models.normalise import normalise


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples to learn from."""

    images: Tensor
    """(n, band, y, x) float32, normalised, 0 where there is no data."""
    labels: Tensor
    """(n, y, x) int64, 255 = ignore, and where there is no data."""
    valid: Tensor
    """(n, y, x) bool, True = data."""
    told: Tensor
    """(n, class) bool: as `Chips.told`."""
    sure: Tensor | None
    """(n, y, x) float32, 0..1; all alike if None."""
    objects: Tensor | None = None
    """(n, y, x) int64, as `Chips.objects`; 0 where there is no data."""

    def parts(self, count: int) -> Iterator[Batch]:
        """The samples in so many parts, as even as can be; fewer where there are fewer samples."""
        n = len(self.images)
        for index in range(min(count, n)):
            which = slice(index * n // min(count, n), (index + 1) * n // min(count, n))
            sure = None if self.sure is None else self.sure[which]
            objects = None if self.objects is None else self.objects[which]
            yield Batch(self.images[which], self.labels[which], self.valid[which], self.told[which], sure, objects)

    @classmethod
    def of(cls, chips: Chips, card: ModelCard, device: torch.device) -> Batch:
        """Chips, normalised as the card says."""
        images = torch.from_numpy(normalise(chips.images, chips.valid, mean=card.mean, std=card.std))
        valid, told = torch.from_numpy(chips.valid).to(device), torch.from_numpy(chips.told).to(device)
        labels = torch.from_numpy(chips.labels).to(device).long().masked_fill(~valid, IGNORE)
        sure = None if chips.sure is None else torch.from_numpy(chips.sure).to(device)
        objects = None
        if chips.objects is not None:
            objects = torch.from_numpy(chips.objects).to(device).long().masked_fill(~valid, 0)
        return cls(images.to(device), labels, valid, told, sure, objects)
