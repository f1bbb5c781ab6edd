"""What a mask looks like as a vector, and what the classifier makes of it."""

import numpy as np
import pytest

from infra.errors import UnusableInput
from models.few_shot import UNDECIDED, FewShotClassifier, majority_classes, mask_features

RNG = np.random.default_rng(0)


def test_features_are_the_statistics_under_the_mask():
    """128 x 96 pixels: a cell is 2 pixels, so masks of whole cells can be averaged by hand."""
    embedding = RNG.normal(size=(256, 64, 64)).astype(np.float32)
    image = RNG.integers(0, 256, (128, 96, 3)).astype(np.uint8)
    masks = np.zeros((2, 128, 96), bool)
    masks[0, 20:60, 10:50] = True
    masks[1, 7, 5] = True  # a single pixel, smaller than a cell
    features = mask_features(embedding, image, masks, cells=(0.5, 0.5))
    assert features.shape == (2, 520)
    assert features.dtype == np.float32

    cells = embedding[:, 10:30, 5:25].reshape(256, -1)
    np.testing.assert_allclose(features[0, :256], cells.mean(1), atol=1e-5)
    np.testing.assert_allclose(features[0, 256:512], cells.std(1), atol=1e-5)
    colours = image[masks[0]] / 255
    np.testing.assert_allclose(features[0, 512:518], [*colours.mean(0), *colours.std(0)], atol=1e-6)
    np.testing.assert_allclose(features[0, 518:], [np.log(1600), 1.0], atol=1e-6)

    np.testing.assert_allclose(features[1, :256], embedding[:, 3, 2], atol=1e-6)
    np.testing.assert_allclose(features[1, 256:512], 0, atol=1e-6)


def test_a_line_is_less_compact_than_a_square_and_the_border_counts_as_an_edge():
    masks = np.zeros((2, 64, 64), bool)
    masks[0] = True
    masks[1, 30:32] = True
    embedding, image = np.zeros((256, 64, 64), np.float32), np.zeros((64, 64, 3), np.uint8)
    compact = mask_features(embedding, image, masks, cells=(1.0, 1.0))[:, 519]
    assert compact[0] == pytest.approx(1)
    assert compact[1] == pytest.approx(16 * 128 / 132**2)


def test_no_masks():
    features = mask_features(
        np.zeros((256, 64, 64), np.float32), np.zeros((64, 64, 3), np.uint8), np.zeros((0, 64, 64), bool), cells=(1, 1)
    )
    assert features.shape == (0, 520)


def test_the_class_of_a_mask_needs_a_clear_majority_of_enough_labels():
    truth = np.full((10, 10), 255, np.uint8)
    truth[0], truth[1], truth[2, :5] = 1, 2, 3
    masks = np.zeros((5, 10, 10), bool)
    masks[0, 0] = True  # class 1
    masks[1, 0:2] = True  # half and half
    masks[2, 2] = True  # class 3 on just half of it
    masks[3, 2, 2:] = True  # class 3 on less than half
    masks[4, 5:] = True  # nothing known
    assert list(majority_classes(masks, truth)) == [1, UNDECIDED, 3, UNDECIDED, UNDECIDED]
    assert list(majority_classes(masks, truth, purity=0.5))[1] in (1, 2)


def test_few_examples_of_a_rare_class_are_learnt_and_doubt_is_told():
    centres = RNG.normal(size=(3, 520)) * 0.5
    classes = np.repeat([1, 2, 4], [60, 30, 6]).astype(np.uint8)
    features = (centres[(classes // 2)] + RNG.normal(size=(96, 520))).astype(np.float32)
    given = classes.copy()
    given[::7] = UNDECIDED
    model = FewShotClassifier().fit(features, given)
    fresh = (centres[(classes // 2)] + RNG.normal(size=(96, 520))).astype(np.float32)
    found, sure = model.predict(fresh)
    assert np.mean(found[classes == 4] == 4) > 0.8
    assert np.mean(found == classes) > 0.9
    assert UNDECIDED not in found
    between = (centres[[0]] + centres[[1]]).astype(np.float32) / 2
    assert model.predict(between)[1][0] < np.median(sure)


def test_no_masks_to_class():
    model = FewShotClassifier().fit(RNG.normal(size=(4, 520)).astype(np.float32), np.array([0, 0, 1, 1], np.uint8))
    found, sure = model.predict(np.zeros((0, 520), np.float32))
    assert len(found) == len(sure) == 0


def test_one_class_is_not_enough():
    with pytest.raises(UnusableInput, match="masks of 1 class"):
        FewShotClassifier().fit(np.zeros((3, 520), np.float32), np.array([1, 1, UNDECIDED], np.uint8))
