"""Block by block, statistics are those of the whole array."""

import math

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


def count_in_numpy(plane, valid):
    """The oracle: one numpy step after the other, in double precision."""
    values = plane[valid & np.isfinite(plane)].astype(np.float64)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    edges = (0, 256) if plane.dtype == np.uint8 else (low, high)
    places = ((values - edges[0]) / ((edges[1] - edges[0]) or 1) * BINS).astype(np.int64).clip(max=BINS - 1)
    return values, (low, high), edges, np.bincount(places, minlength=BINS)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"])
@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 90)),
    seed=st.integers(0, 999),
    share=st.sampled_from([0.02, 0.7, 1]),
    spread=st.sampled_from([1, 1000, 10**9]),
    order=st.sampled_from(["C", "F", "window"]),
)
def test_a_block_is_counted_as_numpy_counts_it(dtype, shape, seed, share, spread, order):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        plane = rng.normal(-3, spread, shape).astype(dtype)
        plane[rng.random(shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    else:
        limits = np.iinfo(dtype)
        plane = rng.integers(max(-spread, limits.min), min(spread, limits.max), shape, dtype, endpoint=True)
    valid = rng.random(shape) < share
    values, range_, edges, histogram = count_in_numpy(plane, valid)
    if order == "window":
        plane, valid = np.pad(plane, 3, mode="edge")[3:-3, 3:-3], np.pad(valid, 2)[2:-2, 2:-2]
    found = count_band(np.asarray(plane, order="F" if order == "F" else None), valid)
    assert found.count == values.size
    if not values.size:
        assert not found.histogram.any()
        return
    assert (found.minimum, found.maximum) == range_
    assert found.edges == edges
    np.testing.assert_array_equal(found.histogram, histogram)
    exact = [float(v) for v in values] if np.dtype(dtype).kind == "f" else [int(v) for v in values]
    if np.dtype(dtype).itemsize <= 2:
        assert (found.total, found.squares) == (sum(exact), sum(v * v for v in exact))
    assert found.total == pytest.approx(math.fsum(exact), rel=1e-12, abs=1e-12 * math.fsum(map(abs, exact)))
    assert found.squares == pytest.approx(math.fsum(v * v for v in exact), rel=1e-12)


def test_sums_of_a_whole_shard_at_the_largest_value_are_exact():
    plane = np.full((2048, 2048), 65535, np.uint16)
    found = count_band(plane, np.ones(plane.shape, bool))
    assert (found.count, found.total, found.squares) == (1 << 22, 65535 << 22, float(65535**2 << 22))


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
