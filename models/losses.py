"""What training makes small: weighted cross-entropy plus soft Dice, blind to ignored pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = 255
"""The label of a pixel whose class is unknown."""


def class_weights(counts: Sequence[int]) -> Tensor:
    """Weights (class,) float32 that fall with the square root of a class's frequency, with mean 1 over present classes.

    The full inverse lets one rare class rule the gradient, equal weights let it drown; the root lies between (Mahajan
    and others 2018, arXiv:1805.00932, section 2.2). A class without a pixel weighs 0.

    Args:
        counts: labelled pixels of each class, in the order of their ids.
    """
    pixels = torch.as_tensor(list(counts), dtype=torch.float64)
    present = pixels > 0
    if not present.any():
        return torch.zeros(len(pixels))
    weights = torch.where(present, pixels.clamp(min=1).rsqrt(), 0.0)
    return (weights / weights[present].mean()).float()


def cross_entropy(logits: Tensor, truth: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean of -log p(truth) over the labelled pixels, each weighed by its class; 0, with a gradient of 0, without any.

    Args:
        logits: (n, class, y, x), any float.
        truth: (n, y, x) int64, 255 = ignore.
        weights: (class,) float32; all 1 if None.
    """
    if weights is None:
        weights = torch.ones(logits.shape[1], device=logits.device)
    total = functional.cross_entropy(logits.float(), truth, weight=weights, ignore_index=IGNORE, reduction="sum")
    # torch's own mean divides by this same sum, and is NaN where it is 0.
    weight = functional.pad(weights, (0, IGNORE + 1 - len(weights)))[truth].sum()
    return total / torch.where(weight > 0, weight, 1.0)


def soft_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - 2 Σpg / (Σp² + Σg²), averaged over the classes that occur in the batch's truth; 0 where none does.

    Milletari, Navab, Ahmadi: V-Net (2016), arXiv:1606.04797, section 3, for each class over the whole batch. A class
    that is absent from the truth would score 1 whatever small probability it gets: it is left to the cross-entropy.

    Args:
        logits: (n, class, y, x), any float.
        truth: (n, y, x) int64, 255 = ignore.
    """
    classes = logits.shape[1]
    known = truth != IGNORE
    p = logits.float().softmax(dim=1) * known[:, None]
    p_true = p.gather(1, torch.where(known, truth, 0)[:, None])[:, 0]  # (n, y, x): probability of the true class
    where = torch.where(known, truth, classes).flatten()  # ignored pixels go to a bin of their own
    both = torch.zeros(classes + 1, device=p.device).scatter_add(0, where, p_true.flatten())[:classes]
    count = torch.bincount(where, minlength=classes + 1)[:classes]
    present = count > 0
    squares = p.square().sum(dim=(0, 2, 3))
    dice = 2 * both / torch.where(present, squares + count, 1.0)
    return torch.where(present, 1 - dice, 0.0).sum() / present.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, truth: Tensor, *, weights: Tensor | None = None, dice: float = 1.0) -> Tensor:
    """Weighted cross-entropy + `dice` x soft Dice: a scalar, 0 with a gradient of 0 where every pixel is ignored."""
    loss = cross_entropy(logits, truth, weights=weights)
    return loss + dice * soft_dice(logits, truth) if dice else loss
