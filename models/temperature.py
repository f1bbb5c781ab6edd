"""How sure a network may be: one divisor of its logits, fitted where it never learnt.

Guo et al.: On Calibration of Modern Neural Networks (2017), arXiv:1706.04599, section 4.2. It moves no class: the
largest probability stays the largest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import JsonValue
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional

from models.batch import Batch
from models.card import ModelCard
from models.chips import Chips
from models.losses import fold
from models.metrics import IGNORE

_LOWEST, _HIGHEST = 0.25, 4.0
_THIN = 2
"""Every second row and column counts: neighbours say the same."""
_BINS = 15


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature, and what it changes; nats a pixel, and shares of 1."""

    temperature: float
    likelihood: tuple[float, float]
    """Negative log-likelihood without and with it."""
    error: tuple[float, float]
    """Expected calibration error in 15 bins without and with it."""

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, as they stand among a model's scores."""
        return {"temperature": self.temperature, "likelihood": list(self.likelihood), "error": list(self.error)}


@torch.inference_mode()
def fit_temperature(network: nn.Module, batches: Sequence[Chips], card: ModelCard) -> Calibration | None:
    """The temperature under which labels are likeliest; None where no pixel is labelled.

    Args:
        network: from normalised images to logits, in evaluation mode.
        batches: labelled chips that it did not learn from.
        card: its bands and classes.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    device = next(network.parameters()).device
    for chips in batches:
        batch = Batch.of(chips, card, device)
        logits = network(batch.images.contiguous(memory_format=torch.channels_last)).float()
        parts.append((logits[..., ::_THIN, ::_THIN].cpu(), batch.labels[..., ::_THIN, ::_THIN].cpu(), batch.told.cpu()))
    if not any(bool((labels != IGNORE).any()) for _, labels, _ in parts):
        return None
    found = minimize_scalar(
        lambda log: _likelihood(parts, math.exp(log)),
        bounds=(math.log(_LOWEST), math.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    best = round(math.exp(found.x), 3)
    return Calibration(
        best,
        (_likelihood(parts, 1.0), _likelihood(parts, best)),
        (_error(parts, 1.0), _error(parts, best)),
    )


def _likelihood(parts: Sequence[tuple[Tensor, Tensor, Tensor]], temperature: float) -> float:
    total, count = 0.0, 0
    for logits, labels, told in parts:
        total += functional.cross_entropy(
            fold(logits / temperature, told), labels, ignore_index=IGNORE, reduction="sum"
        ).item()
        count += int((labels != IGNORE).sum())
    return total / count


def _error(parts: Sequence[tuple[Tensor, Tensor, Tensor]], temperature: float) -> float:
    """Pixels' mean distance of confidence and accuracy, bin by bin (Naeini et al. 2015)."""
    sure, right, counts = (torch.zeros(_BINS, dtype=torch.float64) for _ in range(3))
    for logits, labels, told in parts:
        known = labels != IGNORE
        top, klass = fold(logits / temperature, told).softmax(dim=1).max(dim=1)
        place = (top[known] * _BINS).long().clamp(max=_BINS - 1)
        for table, values in ((sure, top[known]), (right, klass[known] == labels[known]), (counts, place >= 0)):
            table.index_add_(0, place, values.double())
    return float((sure - right).abs().sum() / counts.sum())
