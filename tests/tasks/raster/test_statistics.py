"""Block by block, statistics are those of the whole array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.raster.statistics import BINS, QUANTILES, count_band, merge_bands

rng = np.random.default_rng(0)
PLANES = {
    "uint8": rng.normal(90, 40, (300, 400)).clip(0, 255).astype(np.uint8),
    "uint16": rng.gamma(2, 800, (300, 400)).clip(0, 65535).astype(np.uint16),
    "int16, below zero": rng.integers(-30_000, -100, (300, 400)).astype(np.int16),
    "float": rng.normal(0, 1e-3, (300, 400)).astype(np.float32),
    "float, below zero": -np.exp(rng.normal(0, 3, (300, 400))).astype(np.float32),
    "large constant": np.full((300, 400), -3e6, np.float32),
    "constant": np.full((300, 400), 7, np.uint16),
}


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("size", [64, 150, 1000])
def test_blocks_merge_to_the_statistics_of_the_whole(name, size):
    plane = PLANES[name]
    valid = np.random.default_rng(1).random(plane.shape) > 0.3
    blocks = [np.s_[r : r + size, c : c + size] for r in range(0, 300, size) for c in range(0, 400, size)]
    found = merge_bands(count_band(plane[b], valid[b]) for b in blocks)
    values = plane[valid].astype(np.float64)
    step = 1.0 if plane.dtype == np.uint8 else np.ptp(values) / BINS
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-12)
    assert found.std == pytest.approx(values.std(), rel=1e-6, abs=abs(values.mean()) * 1e-7)
    low, high = np.quantile(values, QUANTILES, method="inverted_cdf")
    assert found.low == pytest.approx(low, abs=step + 1e-12)
    assert found.high == pytest.approx(high, abs=step + 1e-12)


@pytest.mark.parametrize("name", PLANES)
def test_every_valid_pixel_is_in_the_histogram(name):
    plane = PLANES[name]
    assert count_band(plane, np.ones(plane.shape, bool)).histogram.sum() == plane.size


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=40))
def test_any_float_is_counted_and_none_that_is_not_finite(values):
    plane = np.array(values, np.float32)[None]
    found = count_band(plane, np.ones(plane.shape, bool))
    finite = plane[np.isfinite(plane)].astype(np.float64)
    assert found.count == found.histogram.sum() == finite.size
    if finite.size:
        result = merge_bands([found])
        assert result.minimum == finite.min() <= result.low <= result.high <= result.maximum == finite.max()


def test_blocks_without_data_add_nothing():
    plane = np.array([[5, 9]], np.uint8)
    none, some = count_band(plane, np.zeros((1, 2), bool)), count_band(plane, np.ones((1, 2), bool))
    assert merge_bands([none, some, none]) == merge_bands([some])
    empty = merge_bands([none, none])
    assert (empty.minimum, empty.maximum, empty.mean, empty.std, empty.low, empty.high) == (0,) * 6
