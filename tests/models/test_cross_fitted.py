"""Rough labels are mended by what they have in common, and no pixel is judged by its own."""

import numpy as np
import pytest

from models.cross_fitted import CrossFitted

RNG = np.random.default_rng(0)


def rough(count=6000, wrong=0.3, features=4):
    """Features, true labels, labels of which so many are wrong, and parts."""
    found = RNG.normal(size=(count, features)).astype(np.float32)
    true = found[:, 0] + 0.5 * found[:, 1] > 0
    return found, true, true ^ (RNG.random(count) < wrong), RNG.integers(0, 2, count)


def test_what_comes_out_is_better_than_what_went_in():
    features, true, labels, parts = rough()
    logits = CrossFitted().fit(features, labels, parts).logits(features, parts)
    assert np.mean(labels == true) < 0.75
    assert np.mean((logits > 0) == true) > 0.92


def test_labels_without_meaning_are_not_remembered():
    """By the model that saw them they would be; each is asked of the other."""
    features, _, _, parts = rough()
    labels = RNG.random(len(features)) < 0.5
    model = CrossFitted().fit(features, labels, parts)
    assert abs(np.mean((model.logits(features, parts) > 0) == labels) - 0.5) < 0.03
    assert np.mean((model.logits(features, 1 - parts) > 0) == labels) > 0.57


def test_rare_labels_count_as_much_as_common_ones():
    features, true, _, parts = rough(40_000)
    rare = true & (RNG.random(len(true)) < 0.05)
    kept = rare | ~true
    logits = CrossFitted().fit(features[kept], true[kept], parts[kept]).logits(features, parts)
    assert np.mean(logits[true] > 0) > 0.9
    assert np.mean(logits[~true] > 0) < 0.1


@pytest.mark.parametrize("few", [0, 100])
def test_where_one_part_has_too_few_of_a_label_nothing_is_learnt(few):
    """Else half of the squares would be judged by the picture, and half not."""
    features, true, _, parts = rough()
    known = true & (parts == 0)
    known[np.flatnonzero(true & (parts == 1))[:few]] = True
    model = CrossFitted().fit(features, known, parts)
    assert not model.taught
    assert np.all(model.logits(features, parts) == 0)
    assert CrossFitted().fit(features, true, parts).taught
