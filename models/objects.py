"""Objects as Mask R-CNN learns them: what is one, and where nobody knows whether there is one."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import masks_to_boxes

from models.metrics import IGNORE

Target: TypeAlias = dict[str, Tensor]
"""torchvision's: `boxes` (n, 4) x0, y0, x1, y1, `labels` (n,), `masks` (n, y, x); `ignored` (y, x) bool is ours."""
LEAST = 16
"""Pixels below which an object is too small to be learnt: its pixels are ignored, and places around it hold none."""


def target_of(labels: Tensor, objects: Tensor) -> Target:
    """The objects of one chip.

    Args:
        labels: (y, x) int64, 255 = ignore.
        objects: (y, x) int64 ids, 0 = none; each of one class.
    """
    unknown = labels == IGNORE
    objects = objects.masked_fill(unknown, 0)
    ids, sizes = objects[objects > 0].unique(return_counts=True)  # type: ignore[no-untyped-call]
    masks = objects == ids[sizes >= LEAST][:, None, None]  # (n, y, x)
    boxes = masks_to_boxes(masks)
    boxes[:, 2:] += 1  # to the far edge of the last pixel
    first = masks.flatten(1).byte().argmax(dim=1) if len(masks) else torch.zeros(0, dtype=torch.int64).to(labels)
    ignored = unknown | torch.isin(objects, ids[sizes < LEAST])
    return {"boxes": boxes, "labels": labels.flatten()[first], "masks": masks.byte(), "ignored": ignored}


def mostly_unknown(boxes: Tensor, ignored: Tensor) -> Tensor:
    """(n,) whether more than half of the pixels in boxes (n, 4) are ignored (y, x), by an integral image.

    Never all of them: from no place at all nothing can be learnt, and torchvision's mean of nothing is no number.
    """
    if not ignored.any() or not len(boxes):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    height, width = ignored.shape
    total = torch.nn.functional.pad(ignored.float().cumsum(0).cumsum(1), (1, 0, 1, 0))
    x0, x1 = (boxes[:, n].round().long().clamp(0, width) for n in (0, 2))
    y0, y1 = (boxes[:, n].round().long().clamp(0, height) for n in (1, 3))
    inside = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
    share = inside / ((x1 - x0) * (y1 - y0)).clamp(min=1)
    unknown = share > 0.5  # noqa: PLR2004
    unknown[share.argmin()] = False
    return unknown


class Places(RegionProposalNetwork):  # type: ignore[misc]  # torchvision has no types
    """Proposes places; those on unlabelled ground are not wrong."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What each anchor should say: 1 for an object, 0 for none, -1 where that is not told."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for mine, some, target in zip(labels, anchors, targets, strict=True):
            mine[(mine == 0) & mostly_unknown(some, target["ignored"])] = -1.0
        return labels, boxes


class Boxes(RoIHeads):  # type: ignore[misc]
    """Looks at places; those on unlabelled ground are not learnt from."""

    def select_training_samples(
        self, proposals: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """The places to learn from, and what they should become."""
        known = [p[~mostly_unknown(p, target["ignored"])] for p, target in zip(proposals, targets, strict=True)]
        return super().select_training_samples(known, targets)  # type: ignore[no-any-return]
