"""How much each class weighs in the loss: rare ones are drowned by equal weights, and rule it by the full inverse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.recipe import Balance


def class_weights(counts: Sequence[int], kind: Balance = "root", *, around: Sequence[int] | None = None) -> Tensor:
    """Weights (class,) float32 with mean 1 over the classes that occur; a class without a pixel weighs 0.

    With f the frequency of a class, as a share of the labelled pixels:

    - none: all classes alike.
    - root: 1 / √f (Mahajan and others 2018, arXiv:1805.00932, section 2.2).
    - inverse: 1 / f.
    - effective: (1 - β) / (1 - β^n) for n pixels of the class, β = 1 - 1 / N with N all labelled pixels (Cui and others
      2019, arXiv:1901.05555, equations 4 and 5): nearly the inverse for rare classes, flatter for common ones.
    - median: median frequency / f, frequencies being shares of the pixels of those chips only in which the class occurs
      (Eigen and Fergus 2015, arXiv:1411.4734, section 6.3.2): a class is not rare for being seldom met.

    Args:
        counts: labelled pixels of each class, in the order of their ids.
        kind: the rule.
        around: labelled pixels of all classes in the chips where each class occurs; needed by `median`.
    """
    pixels = torch.as_tensor(list(counts), dtype=torch.float64)
    present = pixels > 0
    if not present.any():
        return torch.zeros(len(pixels))
    n = pixels.clamp(min=1)
    if kind == "none":
        raw = torch.ones_like(n)
    elif kind == "root":
        raw = n.rsqrt()
    elif kind == "inverse":
        raw = 1 / n
    elif kind == "effective":
        raw = -1 / torch.expm1(n * torch.log1p(-1 / pixels.sum().clamp(min=2)))
    else:
        if around is None:
            raise ValueError("median weights need the pixels around each class")
        raw = torch.as_tensor(list(around), dtype=torch.float64) / n
    weights = torch.where(present, raw, 0.0)
    return (weights / weights[present].mean()).float()
