"""The temperature is found again where it is known."""

import numpy as np
import pytest
import torch
from torch import nn

from models.card import ModelCard
from models.chips import Chips
from models.temperature import fit_temperature

CARD = ModelCard(
    architecture="tiny", bands=("a", "b", "c"), mean=(0,) * 3, std=(1,) * 3, classes=("other", "x", "y"),
    colours=((0, 0, 0),) * 3, stride=1, tile=64, margin=0, ramp=1,
)  # fmt: skip


class Bold(nn.Module):
    """A network whose logits are its bands, so many times what they should be."""

    def __init__(self, times):
        super().__init__()
        self.times = nn.Parameter(torch.tensor(times))

    def forward(self, image):
        return image * self.times


def chips(*, known=True):
    """Labels drawn as the bands' softmax says."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (4, 3, 64, 64)).astype(np.float32)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((4, 1, 64, 64)) > share.cumsum(axis=1)).sum(axis=1).astype(np.uint8)
    valid = np.ones((4, 64, 64), bool)
    valid[:, :8] = False
    return Chips(logits, labels if known else np.full_like(labels, 255), valid, np.ones((4, 3), bool))


@pytest.mark.parametrize("times", [0.6, 1.0, 2.5])
def test_the_temperature_undoes_what_made_a_network_bold(times):
    found = fit_temperature(Bold(times).eval(), [chips()], CARD)
    assert found.temperature == pytest.approx(times, rel=0.06)
    assert found.likelihood[1] <= found.likelihood[0] + 1e-6
    assert found.error[1] < 0.02
    if times == 2.5:
        assert found.error[0] > 0.1


def test_without_labels_there_is_none():
    assert fit_temperature(Bold(1.0).eval(), [chips(known=False)], CARD) is None
    assert fit_temperature(Bold(1.0).eval(), [], CARD) is None
