"""What is made of a batch before a network sees it, and what of the network's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.batch import Batch
from models.losses import segmentation_loss, weight_of
from models.recipe import TrainSettings

if TYPE_CHECKING:
    from models.augment import Views

OWN_LOSS = "losses"
"""The method of networks that know better than logits how wrong they are: `losses(images, labels, objects)`."""


class Lesson:
    """How a network learns from a batch."""

    def __init__(self, settings: TrainSettings, device: torch.device) -> None:
        self._settings = settings
        self._weights = None if settings.class_weights is None else torch.tensor(settings.class_weights, device=device)
        self._views: dict[int, Views] = {}

    def view(self, batch: Batch) -> Batch:
        """Another view of each sample."""
        how, seen = self._settings.augment, batch.images.shape[-1]
        if how is None:
            return batch
        from models.augment import Views  # kornia takes a second and 100 MB: only who trains pays

        if seen not in self._views:
            self._views[seen] = Views(how, chip=self._settings.chip, seen=seen)
        return self._views[seen](batch)

    def learn(self, network: nn.Module, batch: Batch, fabric: Fabric) -> float:
        """Add up the gradients of a batch, part by part; returns its loss."""
        network.train()
        value = 0.0
        parts = list(batch.parts(self._settings.accumulate))
        own = weight_of(batch.labels, self._weights, batch.sure).sum()
        total = cast("Tensor", fabric.all_reduce(own, reduce_op="mean"))  # over the processes
        for number, part in enumerate(parts, 1):
            share = len(part.images) / len(batch.images)
            with fabric.no_backward_sync(network, enabled=number < len(parts)):  # type: ignore[arg-type]  # it is Fabric's
                loss = self.loss(network, part, total=total * share) * share
                fabric.backward(loss)
            value += loss.item()
        return value

    def loss(
        self, network: nn.Module, batch: Batch, *, logits: Tensor | None = None, total: Tensor | None = None
    ) -> Tensor:
        """How wrong a network is, a scalar: by its own loss where it has one, else by the recipe's.

        Args:
            network: asked for its own loss, or for logits where they are not given.
            batch: with `objects` where the network learns those.
            logits: (n, class, y, x) of the batch, where they are known already.
            total: what labelled pixels weigh, see `models.losses.segmentation_loss`.
        """
        images = batch.images.contiguous(memory_format=torch.channels_last)
        if hasattr(network, OWN_LOSS):
            assert batch.objects is not None  # who draws chips asks `models.registry.learns_objects`
            own: Tensor = getattr(network, OWN_LOSS)(images, batch.labels, batch.objects)
            return own
        told = None if bool(batch.told.all()) else batch.told
        return segmentation_loss(
            network(images) if logits is None else logits, batch.labels, self._settings.loss, weights=self._weights,
            sure=batch.sure, told=told, total=total,
        )  # fmt: skip
