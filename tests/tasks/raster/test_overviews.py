"""Half a raster is what 2 x 2 pixels say together, at odd edges and beside nodata too."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.raster.overviews import halve_mean, halve_mode

RASTERS = {
    "shape": st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 70)),
    "seed": st.integers(0, 999),
    "nodata": st.sampled_from([None, 255, 0]),
    "highest": st.sampled_from([1, 3, 255]),
    "order": st.sampled_from(["C", "F"]),
}


def raster(shape, seed, nodata, highest, order):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, highest, shape, np.uint8, endpoint=True)
    if nodata is not None:
        pixels[rng.random(shape) < 0.4] = nodata
    return np.asarray(pixels, order=order)


def fours(plane):
    """(y, x, pixels of 2 x 2 that are inside, row by row)."""
    for y in range(0, plane.shape[0], 2):
        for x in range(0, plane.shape[1], 2):
            yield y // 2, x // 2, [int(v) for v in plane[y : y + 2, x : x + 2].ravel()]


@settings(deadline=None, max_examples=80)
@given(**RASTERS)
def test_the_mode_is_the_commonest_and_the_first_of_equals(shape, seed, nodata, highest, order):
    pixels = raster(shape, seed, nodata, highest, order)
    result = halve_mode(pixels, nodata)
    assert result.dtype == np.uint8
    assert result.shape == (shape[0], -(-shape[1] // 2), -(-shape[2] // 2))
    for plane, half in zip(pixels, result, strict=True):
        for y, x, four in fours(plane):
            # Counter keeps the order in which values were met.
            votes = Counter(v for v in four if v != nodata).most_common(1)
            assert half[y, x] == (votes[0][0] if votes else nodata)


def mean(values, empty):
    return int(Fraction(sum(values), len(values)) + Fraction(1, 2)) if values else empty


@settings(deadline=None, max_examples=80)
@given(**RASTERS)
def test_the_mean_rounds_halves_up_and_leaves_nodata_out(shape, seed, nodata, highest, order):
    pixels = raster(shape, seed, nodata, highest, order)
    for plane, half in zip(pixels, halve_mean(pixels, nodata), strict=True):
        for y, x, four in fours(plane):
            assert half[y, x] == mean([v for v in four if v != nodata], nodata)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), height=st.integers(1, 9), width=st.integers(1, 70))
def test_alpha_says_which_colours_count(seed, height, width):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    pixels[-1] *= rng.random((height, width)) < 0.5
    result = halve_mean(pixels, None, alpha=True)
    alphas = {(y, x): four for y, x, four in fours(pixels[-1])}
    for plane, half in zip(pixels[:2], result[:2], strict=True):
        for y, x, four in fours(plane):
            assert half[y, x] == mean([v for v, a in zip(four, alphas[y, x], strict=True) if a], 0)
    assert all(result[-1, y, x] == mean(four, 0) for (y, x), four in alphas.items())


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_total_is_divided_exactly(count):
    # All totals that 1 to 4 pixels can have, a 2 x 2 each.
    totals = np.arange(254 * count + 1)
    four = np.full((4, totals.size), 255)
    for n in range(count):
        four[n] = (totals - four[:n].sum(axis=0)).clip(0, 254)
    pixels = four.reshape(2, 2, -1).transpose(0, 2, 1).reshape(1, 2, -1).astype(np.uint8)
    want = [mean([int(v) for v in column[:count]], 255) for column in four.T]
    assert halve_mean(pixels, 255)[0, 0].tolist() == want
