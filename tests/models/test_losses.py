"""Losses against answers worked out by hand or by a slow reference, and against what training must survive."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from models.losses import boundary, cross_entropy, focal, fold, lovasz, segmentation_loss, soft_dice
from models.recipe import LossRecipe

TERMS = ("cross_entropy", "focal", "dice", "lovasz", "boundary")
ALL = LossRecipe(**dict.fromkeys(TERMS, 1.0), smoothing=0.1)


def only(term, **more):
    return LossRecipe(**(dict.fromkeys(TERMS, 0.0) | {term: 1.0}), **more)


def logits_of(probability):
    return torch.log(torch.tensor(probability, dtype=torch.float64))


@pytest.fixture
def lesson():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 7, generator=generator)
    truth = torch.randint(0, 3, (2, 5, 7), generator=generator)
    truth[0, :2] = 255
    return logits, truth


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_torchs_where_torch_has_an_answer(lesson, smoothing):
    logits, truth = lesson
    expected = functional.cross_entropy(logits, truth, ignore_index=255, label_smoothing=smoothing)
    assert cross_entropy(logits, truth, smoothing=smoothing).item() == pytest.approx(expected.item())
    weights = torch.tensor([1.0, 0.5, 2.0])
    expected = functional.cross_entropy(logits, truth, weight=weights, ignore_index=255)
    assert cross_entropy(logits, truth, weights=weights).item() == pytest.approx(expected.item())


def test_focal_by_hand():
    p = [[[0.9, 0.4, 0.5]], [[0.1, 0.6, 0.5]]]
    truth = torch.tensor([[[0, 0, 255]]])
    expected = -(0.1**2 * math.log(0.9) + 0.6**2 * math.log(0.4)) / 2
    assert focal(logits_of([p]), truth).item() == pytest.approx(expected, rel=1e-5)
    assert focal(logits_of([p]), truth, gamma=0).item() == pytest.approx(cross_entropy(logits_of([p]), truth).item())


def test_dice_by_hand():
    """Two pixels of class 0 (p = 0.8, 0.6), one of class 1 (p = 0.5), none of class 2, one ignored."""
    p = [[[0.8, 0.6, 0.3, 0.1]], [[0.1, 0.3, 0.5, 0.8]], [[0.1, 0.1, 0.2, 0.1]]]
    truth = torch.tensor([[[0, 0, 1, 255]]])
    first = 1 - 2 * (0.8 + 0.6) / (0.8**2 + 0.6**2 + 0.3**2 + 2)
    second = 1 - 2 * 0.5 / (0.1**2 + 0.3**2 + 0.5**2 + 1)
    assert soft_dice(logits_of([p]), truth).item() == pytest.approx((first + second) / 2)


def test_lovasz_of_hard_predictions_is_one_less_iou(lesson):
    """What makes it an extension: where probabilities are 0 or 1, it is the Jaccard distance itself."""
    _, truth = lesson
    guess = torch.randint(0, 3, truth.shape, generator=torch.Generator().manual_seed(3))
    logits = 200.0 * functional.one_hot(guess, 3).movedim(-1, 1)
    known = truth != 255
    pairs = [((truth == k) & known, (guess == k) & known) for k in range(3)]
    distances = [1 - (a & b).sum() / (a | b).sum() for a, b in pairs]
    assert lovasz(logits, truth).item() == pytest.approx(np.mean(distances), rel=1e-5)


def test_lovasz_is_the_papers_sum(lesson):
    """Equation 9 with the set function itself: the gain in Jaccard loss of each pixel, from the worst error on."""
    logits, truth = lesson
    known = (truth != 255).flatten()
    p = logits.softmax(dim=1).movedim(1, 0).flatten(1)[:, known].double().numpy()
    labels = truth.flatten()[known].numpy()
    total = []
    for klass in range(3):
        wanted = set(np.flatnonzero(labels == klass).tolist())
        errors = np.abs((labels == klass) - p[klass])
        value, wrong, before = 0.0, set(), 0.0
        for pixel in np.argsort(-errors).tolist():
            wrong.add(pixel)
            now = len(wrong) / len(wanted | wrong)
            value, before = value + errors[pixel] * (now - before), now
        total.append(value)
    assert lovasz(logits, truth).item() == pytest.approx(np.mean(total), rel=1e-5)


def test_boundaries_by_scipy():
    """Hard predictions: F1 of the rims within 2 pixels, by morphology."""
    truth = np.zeros((1, 32, 32), np.int64)
    truth[0, 8:20, 8:20] = 1
    guess = np.zeros_like(truth)
    guess[0, 9:24, 8:19] = 1
    terms = []
    for klass in (0, 1):
        rims = [(m == klass) & ndimage.binary_dilation(m != klass, np.ones((3, 3))) for m in (truth[0], guess[0])]
        near = [ndimage.binary_dilation(rim, np.ones((5, 5))) for rim in rims]
        precision, recall = (rims[1] & near[0]).sum() / rims[1].sum(), (rims[0] & near[1]).sum() / rims[0].sum()
        terms.append(1 - 2 * precision * recall / (precision + recall))
    logits = 200.0 * functional.one_hot(torch.from_numpy(guess), 2).movedim(-1, 1)
    assert boundary(logits, torch.from_numpy(truth)).item() == pytest.approx(np.mean(terms), rel=1e-4)
    assert 0.05 < np.mean(terms) < 0.95


@pytest.mark.parametrize("term", TERMS)
def test_a_perfect_prediction_costs_nothing(term):
    truth = torch.tensor([[[0, 1], [2, 255]]])
    logits = 100.0 * functional.one_hot(torch.where(truth == 255, 1, truth), 3).movedim(-1, 1)
    assert segmentation_loss(logits, truth, only(term)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0.0, 1.0])])
@pytest.mark.parametrize("label", [255, 1])
@pytest.mark.parametrize("term", TERMS)
def test_nothing_to_learn_from_costs_nothing_and_moves_nothing(term, weights, label):
    """All ignored, or all of a class that weighs 0: the loss is finite, and 0 where all is ignored."""
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = segmentation_loss(logits, torch.full((1, 4, 4), label), only(term), weights=weights)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    if label == 255:
        assert loss.item() == 0
        assert not logits.grad.any()


@pytest.mark.parametrize("term", TERMS)
def test_ignored_pixels_have_no_gradient_and_no_say(term):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3, 8, 12, generator=generator)
    truth = torch.randint(0, 3, (1, 8, 12), generator=generator)
    truth[..., 6:] = 255
    whole = logits.clone().requires_grad_()
    weights = torch.tensor([0.5, 1.0, 1.5])
    loss = segmentation_loss(whole, truth, only(term), weights=weights)
    loss.backward()
    cropped = segmentation_loss(logits[..., :6], truth[..., :6], only(term), weights=weights)
    assert loss.item() == pytest.approx(cropped.item(), rel=1e-5)
    assert not whole.grad[..., 6:].any()
    assert (whole.grad[..., :6].abs().sum(dim=1) > 0).float().mean() > 0.6


@pytest.mark.parametrize("term", ["cross_entropy", "focal", "dice", "boundary"])
def test_a_pixel_that_is_not_sure_counts_for_less(lesson, term):
    """A weight of 0 is as good as ignored; all weights alike change nothing."""
    logits, truth = lesson
    plain = segmentation_loss(logits, truth, only(term)).item()
    half = torch.full(truth.shape, 0.5)
    assert segmentation_loss(logits, truth, only(term), sure=half).item() == pytest.approx(plain, rel=1e-5)
    sure = torch.ones(truth.shape)
    sure[1, 3:] = 0
    ignored = torch.where(sure > 0, truth, 255)
    expected = segmentation_loss(logits, ignored, only(term)).item()
    assert segmentation_loss(logits, truth, only(term), sure=sure).item() == pytest.approx(expected, rel=1e-5)


def test_half_precision_logits_are_summed_in_full():
    logits, truth = torch.zeros(1, 2, 300, 300, dtype=torch.bfloat16), torch.zeros(1, 300, 300, dtype=torch.int64)
    assert segmentation_loss(logits, truth, only("cross_entropy")).item() == pytest.approx(math.log(2), abs=1e-5)


def test_a_class_that_labels_never_tell_is_not_background():
    """The first sample knows class 1 only: 2 and 3 are `other` to it, and no push parts them; the second knows all."""
    logits = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(2), requires_grad=True)
    told = torch.tensor([[True, True, False, False], [True, True, True, True]])
    p, folded = logits.softmax(dim=1), fold(logits, told).softmax(dim=1)
    assert torch.allclose(folded[0, 0], p[0, [0, 2, 3]].sum(dim=0))
    assert torch.allclose(folded[0, 1], p[0, 1])
    assert not folded[0, 2:].any()
    assert torch.allclose(folded[1], p[1])
    truth = torch.zeros(2, 3, 3, dtype=torch.int64)
    segmentation_loss(logits, truth, ALL, told=told).backward()
    push = logits.grad
    assert torch.isfinite(push).all()
    share = p[0, [0, 2, 3]] / p[0, [0, 2, 3]].sum(dim=0)  # they move together: none is told from the others
    assert torch.allclose(push[0, [0, 2, 3]] / push[0, [0, 2, 3]].sum(dim=0), share, atol=1e-4)


def test_labels_without_a_rest_are_left_as_they_are():
    """Labels that ignore what they do not know: a road is surely no water, even where water is never labelled."""
    logits = torch.randn(1, 3, 2, 2)
    assert torch.equal(fold(logits, torch.tensor([[False, True, False]])), logits)


@pytest.mark.parametrize("wrong", [{"dice": -1}, {"smoothing": 1.0}, {"cross_entropy": 0.0, "dice": 0.0}])
def test_a_recipe_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"greater|less|weight"):
        LossRecipe(**wrong)
