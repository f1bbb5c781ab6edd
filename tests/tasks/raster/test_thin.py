"""Thinning is the field's, to the pixel, and looks no further than it says."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import thin as reference

from tasks.raster.thin import ROUND, thin


def blobs(seed, shape=(180, 210)):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random(shape), rng.uniform(1, 6))
    return noise > np.quantile(noise, rng.uniform(0.4, 0.8))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rounds", [1, 4, 100])
def test_it_is_scikit_images(seed, rounds):
    area = blobs(seed)
    np.testing.assert_array_equal(thin(area, rounds=rounds), reference(area, max_num_iter=rounds))


@pytest.mark.parametrize("seed", range(6))
def test_so_many_rounds_depend_on_so_much_around(seed):
    area, rounds = blobs(seed), 7
    reach = ROUND * rounds
    part = thin(area[40:150, 30:170], rounds=rounds)
    inside = part[reach:-reach, reach:-reach]
    whole = thin(area, rounds=rounds)[40 + reach : 150 - reach, 30 + reach : 170 - reach]
    np.testing.assert_array_equal(inside, whole)


def test_nothing_is_nothing():
    assert not thin(np.zeros((5, 7), bool), rounds=3).any()
