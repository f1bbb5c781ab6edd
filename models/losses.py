"""What training makes small: a weighted sum of terms, each blind to ignored pixels.

Every term takes logits (n, class, y, x) of any float type and a truth (n, y, x) int64 with 255 = ignore, is a scalar,
and is 0 with a gradient of 0 where every pixel is ignored. What a class is compared with over the whole batch (Dice,
Lovász, boundaries) counts only for classes that occur in the batch's truth: an absent one would score 1 whatever small
probability it gets, and is left to the cross-entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.metrics import IGNORE
from models.recipe import LossRecipe

_NEAR = 5
"""Pixels a side of the square in which a boundary counts as found."""


def segmentation_loss(
    logits: Tensor,
    truth: Tensor,
    recipe: LossRecipe,
    *,
    weights: Tensor | None = None,
    sure: Tensor | None = None,
    told: Tensor | None = None,
    total: Tensor | None = None,
) -> Tensor:
    """The sum of the recipe's terms.

    Args:
        logits: (n, class, y, x), any float.
        truth: (n, y, x) int64, 255 = ignore.
        recipe: the terms' weights.
        weights: (class,) float32 of the cross-entropy and the focal loss; all 1 if None.
        sure: (n, y, x) float32, 0..1: how much each pixel counts, in every term but Lovász; all 1 if None.
        told: (n, class) bool: the classes that each sample's labels can tell; all if None. See `fold`.
        total: a scalar, what the cross-entropy and the focal loss are divided by: `weight_of`'s sum over these samples
            if None. A part of a batch is given its share of the whole one's, so that the parts' losses add up to it.
    """
    logits = logits.float() if told is None else fold(logits.float(), told)
    weighed = {"weights": weights, "sure": sure, "total": total}
    loss = logits.new_zeros(())
    if recipe.cross_entropy:
        loss = loss + recipe.cross_entropy * cross_entropy(logits, truth, smoothing=recipe.smoothing, **weighed)
    if recipe.focal:
        loss = loss + recipe.focal * focal(logits, truth, gamma=recipe.gamma, **weighed)
    if recipe.dice:
        loss = loss + recipe.dice * soft_dice(logits, truth, sure=sure)
    if recipe.lovasz:
        loss = loss + recipe.lovasz * lovasz(logits, truth)
    if recipe.boundary:
        loss = loss + recipe.boundary * boundary(logits, truth, sure=sure)
    return loss


def fold(logits: Tensor, told: Tensor) -> Tensor:
    """Logits of the classes as each sample's labels can tell them: what they never label is `other`, class 0, to them.

    A data set of roads calls a building `other`, and a network that says building there is not wrong. The probability
    of `other` becomes that of any class that is not told, theirs 0: the marginal loss of Shi and others (2021),
    arXiv:2007.03868, section 3.2. Samples whose labels do not tell `other` ignore the rest, and are left as they are.
    """
    away = (~told & told[:, :1])[:, :, None, None].expand_as(logits)
    if not away.any():
        return logits
    lowest = torch.finfo(logits.dtype).min
    merged = torch.where(away, logits, lowest)
    merged = torch.cat([logits[:, :1], merged[:, 1:]], dim=1).logsumexp(dim=1, keepdim=True)
    return torch.cat([merged, torch.where(away, lowest, logits)[:, 1:]], dim=1)


def cross_entropy(
    logits: Tensor,
    truth: Tensor,
    *,
    weights: Tensor | None = None,
    sure: Tensor | None = None,
    total: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean of -log p(truth) over the labelled pixels, each weighed by its class and by how sure it is.

    Label smoothing as Szegedy and others (2016), arXiv:1512.00567, section 7: a share of -log p of the truth is that of
    all classes alike; here of those only that can be at all (see `fold`).
    """
    return _mean(_negative_log(logits, truth, smoothing=smoothing), weight_of(truth, weights, sure), total)


def focal(
    logits: Tensor,
    truth: Tensor,
    *,
    gamma: float = 2.0,
    weights: Tensor | None = None,
    sure: Tensor | None = None,
    total: Tensor | None = None,
) -> Tensor:
    """Mean of -(1 - p)^gamma log p: Lin and others (2017), arXiv:1708.02002, equation 5, with classes for alpha."""
    nll = _negative_log(logits, truth)
    missed = -torch.expm1(-nll)  # 1 - p, exact where p is nearly 1
    return _mean(missed.clamp(min=1e-8).pow(gamma) * nll, weight_of(truth, weights, sure), total)


def weight_of(truth: Tensor, weights: Tensor | None = None, sure: Tensor | None = None) -> Tensor:
    """(n, y, x) how much each pixel counts in the cross-entropy and the focal loss: by its class and how sure it is."""
    known = truth != IGNORE
    weight = known.float() if weights is None else known * weights[torch.where(known, truth, 0)]
    return weight if sure is None else weight * sure


def soft_dice(logits: Tensor, truth: Tensor, *, sure: Tensor | None = None) -> Tensor:
    """1 - 2 Σpg / (Σp² + Σg²), averaged over the classes that occur in the batch's truth; 0 where none does.

    Milletari, Navab, Ahmadi: V-Net (2016), arXiv:1606.04797, section 3, for each class over the whole batch.
    """
    classes = logits.shape[1]
    known = truth != IGNORE
    weight = known.float() if sure is None else known * sure
    p = logits.float().softmax(dim=1)
    p_true = p.gather(1, torch.where(known, truth, 0)[:, None])[:, 0]  # (n, y, x): probability of the true class
    where = torch.where(known, truth, classes).flatten()  # ignored pixels go to a bin of their own
    both = torch.zeros(classes + 1, device=p.device).scatter_add(0, where, (p_true * weight).flatten())[:classes]
    count = torch.zeros(classes + 1, device=p.device).scatter_add(0, where, weight.flatten())[:classes]
    present = count > 0
    squares = (p.square() * weight[:, None]).sum(dim=(0, 2, 3))
    dice = 2 * both / torch.where(present, squares + count, 1.0)
    return _over_classes(1 - dice, present)


def lovasz(logits: Tensor, truth: Tensor) -> Tensor:
    """The Lovász extension of 1 - IoU, averaged over the classes that occur in the batch's truth.

    Berman, Triki, Blaschko: The Lovász-Softmax loss (2018), arXiv:1705.08790, equation 9 and algorithm 1.
    """
    known = (truth != IGNORE).flatten()
    labels = truth.flatten()[known]
    p = logits.float().softmax(dim=1).movedim(1, 0).flatten(1)[:, known]  # (class, pixels)
    terms = []
    for klass in torch.bincount(labels).nonzero().flatten().tolist():
        hit = (labels == klass).float()
        errors, order = (hit - p[klass]).abs().sort(descending=True)
        hit = hit[order]
        total = hit.sum()
        both = total - hit.cumsum(0)
        jaccard = 1 - both / (total + (1 - hit).cumsum(0))
        terms.append((errors * torch.diff(jaccard, prepend=jaccard.new_zeros(1))).sum())
    return torch.stack(terms).mean() if terms else 0.0 * logits.float().sum()


def boundary(logits: Tensor, truth: Tensor, *, sure: Tensor | None = None) -> Tensor:
    """1 - F1 of the pixels at the classes' boundaries, averaged over the classes that have any in the batch's truth.

    Bokhovkin, Burnaev: Boundary loss for remote sensing imagery semantic segmentation (2019), arXiv:1905.07852,
    equations 5 to 9: a boundary is what a 3 x 3 maximum adds to the complement; one that lies within 2 pixels of the
    other's counts as found.
    """
    known = (truth != IGNORE if sure is None else (truth != IGNORE) & (sure > 0))[:, None].float()
    weight = known if sure is None else known * sure[:, None]
    hot = functional.one_hot(torch.where(truth == IGNORE, 0, truth), logits.shape[1]).movedim(-1, 1).float()

    def edges(inside: Tensor) -> Tensor:
        outside = (1 - inside) * known  # the unknown is no class's outside
        return (functional.max_pool2d(outside, 3, stride=1, padding=1) - outside) * known

    def near(line: Tensor) -> Tensor:
        return functional.max_pool2d(line, _NEAR, stride=1, padding=_NEAR // 2)

    found, wanted = edges(logits.float().softmax(dim=1)), edges(hot)
    everywhere = (0, 2, 3)
    count = (wanted * weight).sum(everywhere)
    present = count > 0
    precision = (found * near(wanted) * weight).sum(everywhere) / (found * weight).sum(everywhere).clamp(min=1e-6)
    recall = (wanted * near(found) * weight).sum(everywhere) / torch.where(present, count, 1.0)
    return _over_classes(1 - 2 * precision * recall / (precision + recall).clamp(min=1e-6), present)


def _negative_log(logits: Tensor, truth: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """(n, y, x) -log p of each pixel's truth; of any class where it is ignored."""
    log_p = logits.float().log_softmax(dim=1)
    nll = -log_p.gather(1, torch.where(truth != IGNORE, truth, 0)[:, None])[:, 0]
    if smoothing:
        possible = logits > torch.finfo(torch.float32).min
        uniform = -torch.where(possible, log_p, 0.0).sum(dim=1) / possible.sum(dim=1)
        nll = (1 - smoothing) * nll + smoothing * uniform
    return nll


def _mean(values: Tensor, weight: Tensor, total: Tensor | None) -> Tensor:
    total = weight.sum() if total is None else total
    return (values * weight).sum() / torch.where(total > 0, total, 1.0)


def _over_classes(values: Tensor, present: Tensor) -> Tensor:
    return torch.where(present, values, 0.0).sum() / present.sum().clamp(min=1)
