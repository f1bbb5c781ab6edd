"""Objects of one chip in another: whole, with their pixels, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from models.chips import Chips
from models.paste import COUNT, pasted


@pytest.fixture
def chips():
    """One with two houses, a speck and a street to the edge; one of empty ground, its right half without data."""
    labels = np.zeros((2, 128, 128), np.uint8)
    labels[0, 10:30, 10:30] = 1
    labels[0, 60:80, 50:75] = 1
    labels[0, 5:8, 60:63] = 1
    labels[0, 100:104] = 2
    labels[1] = 3
    images = np.stack([np.full((3, 128, 128), 200, np.uint8), np.full((3, 128, 128), 50, np.uint8)])
    valid = np.ones((2, 128, 128), bool)
    valid[1, :, 64:] = False
    return Chips(images, labels, valid, np.ones((2, 4), bool))


def paste_into_second(chips):
    """Seeds until the second has got something."""
    for seed in range(20):
        found = pasted(chips, share=1.0, rng=np.random.default_rng(seed))
        if (found.labels[1] != chips.labels[1]).any():
            return found
    return None


def test_whole_objects_are_pasted_where_there_is_data(chips):
    kept = chips.images.copy(), chips.labels.copy()
    found = paste_into_second(replace(chips, sure=np.stack([np.full((128, 128), s, np.float32) for s in (0.5, 1.0)])))
    houses = np.zeros((128, 128), bool)
    houses[10:30, 10:30] = houses[60:80, 50:64] = True
    np.testing.assert_array_equal(found.labels[1], np.where(houses, 1, 3))
    np.testing.assert_array_equal(found.images[1], np.where(houses, 200, 50)[None].repeat(3, 0))
    np.testing.assert_array_equal(found.sure[1], np.where(houses, 0.5, 1.0))
    np.testing.assert_array_equal(found.labels[0], chips.labels[0])  # the ground is no object: it reaches the edge
    for before, after in zip(kept, (chips.images, chips.labels), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_class_that_labels_cannot_tell_is_not_pasted_among_them(chips):
    told = chips.told.copy()
    told[1, 1] = False
    assert paste_into_second(replace(chips, told=told)) is None


def test_no_more_than_so_many_and_only_in_a_share():
    labels = np.zeros((40, 256, 256), np.uint8)
    labels[0::2, 4:252:16, 4:252:16] = 1
    labels[0::2] = np.kron(labels[0, 4::16, 4::16], np.pad(np.ones((9, 9), np.uint8), ((3, 4), (3, 4))))[:256, :256]
    chips = Chips(np.zeros((40, 1, 256, 256), np.uint8), labels, np.ones(labels.shape, bool), np.ones((40, 2), bool))
    found = pasted(chips, share=0.5, rng=np.random.default_rng(0))
    more = (found.labels[1::2] == 1).sum(axis=(1, 2)) / 81
    assert more.max() <= COUNT
    assert 1 <= np.count_nonzero(more) <= 12  # half of them, half of those from an empty chip
    alone = chips.part(slice(0, 1))
    assert np.array_equal(pasted(alone, share=1.0, rng=np.random.default_rng(0)).labels, alone.labels)
    assert pasted(chips, share=0.0, rng=np.random.default_rng(0)).labels.sum() == labels.sum()
