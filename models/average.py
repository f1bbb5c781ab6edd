"""The exponential average of a network's weights: steadier than the last ones, at the price of a copy."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """A second network, in evaluation mode, whose weights follow the first one's.

    Every tensor of floats is averaged, BatchNorm's statistics too. The decay begins small, min(decay, (1 + k) /
    (10 + k)) after k updates, so that the random weights of the beginning are forgotten (as in TensorFlow's
    ExponentialMovingAverage).
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, *, step: int) -> None:
        """Follow the weights that step number `step`, counted from 0, has left."""
        decay = min(self.decay, (1 + step) / (10 + step))
        source = network.state_dict()
        for name, tensor in self.network.state_dict().items():
            if tensor.is_floating_point() and decay > 0:
                tensor.lerp_(source[name], 1 - decay)
            else:
                tensor.copy_(source[name])
