"""Losses against answers worked out by hand, and against what training must survive."""

import pytest
import torch
from torch.nn import functional

from models.losses import class_weights, cross_entropy, segmentation_loss, soft_dice


def logits_of(probability):
    return torch.log(torch.tensor(probability, dtype=torch.float64))


def test_weights_fall_with_the_root_of_the_frequency():
    weights = class_weights([400, 100, 0, 25])
    assert weights[2] == 0
    assert weights[[0, 1, 3]].mean() == pytest.approx(1)
    assert (weights / weights[0]).tolist() == pytest.approx([1, 2, 0, 4])
    assert class_weights([0, 0]).tolist() == [0, 0]


def test_cross_entropy_is_torchs_where_torch_has_an_answer():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 7, generator=generator)
    truth = torch.randint(0, 3, (2, 5, 7), generator=generator)
    truth[0, :2] = 255
    weights = torch.tensor([1.0, 0.5, 2.0])
    expected = functional.cross_entropy(logits, truth, weight=weights, ignore_index=255)
    assert cross_entropy(logits, truth, weights=weights).item() == pytest.approx(expected.item())
    expected = functional.cross_entropy(logits, truth, ignore_index=255)
    assert cross_entropy(logits, truth).item() == pytest.approx(expected.item())


def test_dice_by_hand():
    """Two pixels of class 0 (p = 0.8, 0.6), one of class 1 (p = 0.5), none of class 2, one ignored."""
    p = [[[0.8, 0.6, 0.3, 0.1]], [[0.1, 0.3, 0.5, 0.8]], [[0.1, 0.1, 0.2, 0.1]]]
    truth = torch.tensor([[[0, 0, 1, 255]]])
    first = 1 - 2 * (0.8 + 0.6) / (0.8**2 + 0.6**2 + 0.3**2 + 2)
    second = 1 - 2 * 0.5 / (0.1**2 + 0.3**2 + 0.5**2 + 1)
    assert soft_dice(logits_of([p]), truth).item() == pytest.approx((first + second) / 2)


def test_a_perfect_prediction_costs_nothing():
    truth = torch.tensor([[[0, 1], [2, 255]]])
    logits = 100.0 * functional.one_hot(torch.where(truth == 255, 1, truth), 3).permute(0, 3, 1, 2)
    assert segmentation_loss(logits, truth).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0.0, 1.0])])
@pytest.mark.parametrize("label", [255, 1])
def test_nothing_to_learn_from_costs_nothing_and_moves_nothing(weights, label):
    """All ignored, or all of a class that weighs 0: the loss is finite, and 0 where all is ignored."""
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = segmentation_loss(logits, torch.full((1, 4, 4), label), weights=weights, dice=1.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    if label == 255:
        assert loss.item() == 0
        assert not logits.grad.any()


def test_ignored_pixels_have_no_gradient_and_no_say():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3, 4, 6, generator=generator)
    truth = torch.randint(0, 3, (1, 4, 6), generator=generator)
    truth[..., 3:] = 255
    weights = class_weights([5, 3, 1])
    whole = logits.clone().requires_grad_()
    loss = segmentation_loss(whole, truth, weights=weights)
    loss.backward()
    cropped = segmentation_loss(logits[..., :3], truth[..., :3], weights=weights)
    assert loss.item() == pytest.approx(cropped.item(), rel=1e-6)
    assert not whole.grad[..., 3:].any()
    assert whole.grad[..., :3].abs().min() > 0


def test_half_precision_logits_are_summed_in_full():
    logits = torch.zeros(1, 2, 300, 300, dtype=torch.bfloat16)
    assert segmentation_loss(logits, torch.zeros(1, 300, 300, dtype=torch.int64), dice=0).item() == pytest.approx(
        0.6931, abs=1e-4
    )
