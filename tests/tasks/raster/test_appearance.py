"""Features of a pixel are what they say, and depend on nothing farther away than they say."""

import numpy as np
from scipy import ndimage

from tasks.raster.appearance import appearance

RNG = np.random.default_rng(0)


def test_colours_come_first_and_their_means_after_them():
    picture = RNG.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    found = appearance(picture)
    assert found.shape == (40, 50, 28)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., :3], picture / 255, atol=1e-6)
    np.testing.assert_allclose(found[..., 6:9], ndimage.gaussian_filter(picture / 255, (2, 2, 0)), atol=1e-5)


def test_a_bright_line_is_a_ridge_and_a_flat_area_is_nothing():
    picture = np.full((60, 60, 3), 50, np.uint8)
    picture[20:24] = 200
    found = appearance(picture)
    ridges = found[..., 18:27].reshape(60, 60, 3, 3)  # three widths: gradient, the greater and the lesser curvature
    on, off = ridges[21, 30], ridges[50, 30]
    assert np.abs(off).max() < 1e-4
    assert np.all(on[1:, 2] < -0.1)  # across
    assert np.all(np.abs(on[1:, 1]) < 0.01)  # along
    assert found[21, 30, 27] > 0.1  # texture
    assert found[50, 30, 27] < 0.001


def test_what_lies_farther_than_64_pixels_does_not_count():
    picture = RNG.integers(0, 256, (200, 200, 3)).astype(np.uint8)
    other = picture.copy()
    other[165:] = 0
    np.testing.assert_array_equal(appearance(picture)[:100], appearance(other)[:100])
    assert not np.array_equal(appearance(picture)[105:160], appearance(other)[105:160])
