"""Probabilities in 254ths, as the network's last step: what leaves a model is a quarter of float32's bytes, and exact.

The planes of a pixel sum to 254 (the largest-remainder method). Remainders are integers in units of 2^-15, so that
their comparison is the same on every machine; of equal remainders the lowest class is rounded up first. Rounding up
the `missing` largest of a pixel's remainders is the same as rounding up every plane whose rank is below `missing`, and
a rank is a count of comparisons: no sorting and no branch, rows of pixels go through the vector unit.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infra.errors import GeoloomError
from models.loops import compiled

TOP = 254
"""A probability of 1."""
BITS = 15
_SCALE = np.float32(TOP << BITS)
_FAR = float(1 << 30)
_ABSURD = np.float32(_FAR)
"""Stands for NaN and infinity, whose conversion to an integer differs between machines."""


def quantise_probability(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Probabilities (n, class, y, x) as uint8, 0...254, each pixel's planes summing to 254.

    Args:
        probability: (n, class, y, x) float32 of any strides, each pixel's planes summing to 1.

    Raises:
        GeoloomError: the planes of a pixel do not sum to 1, or are no numbers.
    """
    result = np.empty(probability.shape, np.uint8)
    _refuse(_quantise(probability, result))
    return result


def quantise_on_device(probability: Tensor) -> tuple[Tensor, Tensor]:
    """The same numbers as `quantise_probability`, by torch where the tensor lies.

    Args:
        probability: (n, class, y, x) float32.

    Returns:
        (n, class, y, x) uint8 and, not waited for, the count of pixels whose planes do not sum to 1 (`check_count`).
    """
    classes = probability.shape[1]
    scaled = (probability * float(_SCALE)).round_().nan_to_num_(nan=_FAR).clamp_(-_FAR, _FAR).int()
    whole = scaled >> BITS
    missing = TOP - whole.sum(dim=1, keepdim=True, dtype=torch.int32)  # (n, 1, y, x)
    wrong = (missing.abs() > classes).sum()
    # Unique within a pixel: the lower class wins a tie.
    order = torch.arange(classes - 1, -1, -1, dtype=torch.int32, device=scaled.device).view(1, -1, 1, 1)
    key = (scaled & ((1 << BITS) - 1)) * classes + order
    for k in range(classes):
        rank = (key > key[:, k : k + 1]).sum(dim=1, keepdim=True, dtype=torch.int32)
        whole[:, k : k + 1] += rank < missing
    # Planes that sum to a little over 1 may exceed by one: the largest gives it back.
    largest = whole.argmax(dim=1, keepdim=True)
    whole.scatter_add_(1, largest, missing.clamp(max=0))
    return whole.to(torch.uint8), wrong


def check_count(wrong: int) -> None:
    """Nothing, where `wrong` pixels are none.

    Raises:
        GeoloomError: there are some.
    """
    _refuse(wrong)


def _refuse(wrong: int) -> None:
    if wrong:
        raise GeoloomError(f"The network gave {wrong} pixels whose probabilities do not sum to 1; check its weights.")


@compiled
def _quantise(probability: NDArray[np.float32], result: NDArray[np.uint8]) -> int:  # noqa: C901, PLR0912 - loops
    """Fill `result`; returns how many pixels are no probabilities (their planes are left unfinished)."""
    n, classes, height, width = probability.shape
    remainder = np.empty((classes, width), np.int32)
    missing = np.empty(width, np.int32)
    rank = np.empty(width, np.int32)
    wrong = 0
    for i in range(n):
        for y in range(height):
            missing[:] = TOP
            for k in range(classes):
                for x in range(width):
                    value = np.rint(probability[i, k, y, x] * _SCALE)
                    if not abs(value) < _ABSURD:
                        value = _ABSURD
                    scaled = np.int32(value)
                    whole = scaled >> BITS
                    remainder[k, x] = scaled & ((1 << BITS) - 1)
                    result[i, k, y, x] = np.uint8(whole)
                    missing[x] -= whole
            bad, over = 0, 0
            for x in range(width):
                bad += abs(missing[x]) > classes
                over += missing[x] < 0
            wrong += bad
            for k in range(classes):
                rank[:] = 0
                for j in range(k):
                    for x in range(width):
                        rank[x] += np.int32(remainder[j, x] >= remainder[k, x])
                for j in range(k + 1, classes):
                    for x in range(width):
                        rank[x] += np.int32(remainder[j, x] > remainder[k, x])
                for x in range(width):
                    result[i, k, y, x] += np.uint8(rank[x] < missing[x])
            if over:
                for x in range(width):
                    if missing[x] < 0:
                        best = 0
                        for k in range(1, classes):
                            if result[i, k, y, x] > result[i, best, y, x]:
                                best = k
                        result[i, best, y, x] += np.uint8(missing[x] & 255)
    return wrong
