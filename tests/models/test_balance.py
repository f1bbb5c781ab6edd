"""Class weights against the papers' formulas."""

import pytest
import torch

from models.balance import class_weights


def shares(weights):
    return (weights / weights[0]).tolist()


def test_every_rule_against_its_formula():
    counts = [400, 100, 0, 25]
    assert shares(class_weights(counts, "none")) == [1, 1, 0, 1]
    assert shares(class_weights(counts)) == pytest.approx([1, 2, 0, 4])
    assert shares(class_weights(counts, "inverse")) == pytest.approx([1, 4, 0, 16])
    beta = 1 - 1 / 525
    effective = [(1 - beta) / (1 - beta**n) for n in (400, 100, 25)]
    assert shares(class_weights(counts, "effective")) == pytest.approx(
        [1, effective[1] / effective[0], 0, effective[2] / effective[0]]
    )
    frequency = [400 / 525, 100 / 200, 25 / 50]  # the last two classes are met in few chips
    weights = class_weights(counts, "median", around=[525, 200, 0, 50])
    assert shares(weights) == pytest.approx([1, frequency[0] / frequency[1], 0, frequency[0] / frequency[2]])


@pytest.mark.parametrize("kind", ["none", "root", "inverse", "effective", "median"])
def test_the_mean_is_one_and_nothing_breaks_at_the_ends(kind):
    weights = class_weights([10**9, 1, 0], kind, around=[10**9, 1000, 0])
    assert weights[:2].mean() == pytest.approx(1)
    assert torch.isfinite(weights).all()
    assert (weights[:2] > 0).all()
    assert class_weights([0, 0], kind, around=[0, 0]).tolist() == [0, 0]
    assert class_weights([1, 0], kind, around=[1, 0]).tolist() == [1, 0]


def test_median_says_what_it_needs():
    with pytest.raises(ValueError, match="around"):
        class_weights([1, 2], "median")
