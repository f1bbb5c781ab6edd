"""Statistics of bands over many windows: what numpy finds over all pixels at once."""

import numpy as np
import pytest

from tasks.raster.band_tally import PERCENTILES, BandTally


def windows_of(dtype, seed=0):
    rng = np.random.default_rng(seed)
    low, high = (-3000, 9000) if np.dtype(dtype).kind in "if" else (0, 60000)
    if np.dtype(dtype).itemsize == 1:
        low, high = max(low, np.iinfo(dtype).min), np.iinfo(dtype).max
    for shape in ((50, 70), (1, 3), (64, 64), (33, 8)):
        plane = rng.integers(low, high, shape).astype(dtype)
        yield (plane / 7 if np.dtype(dtype).kind == "f" else plane).astype(dtype), rng.random(shape) < 0.7


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_integers_are_exact(dtype):
    tally = BandTally(np.dtype(dtype))
    for plane, where in windows_of(dtype):
        tally.add(plane, where)
    values = np.concatenate([plane[where] for plane, where in windows_of(dtype)]).astype(np.int64)
    found = tally.summary()
    assert (found.count, found.minimum, found.maximum) == (len(values), values.min(), values.max())
    assert found.mean == int(values.sum()) / len(values)
    assert found.std == pytest.approx(values.std(), rel=1e-12)
    for percent in PERCENTILES:
        assert found.percentiles[f"{percent}"] == np.percentile(values, percent, method="inverted_cdf")


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint32"])
def test_wide_pixels_are_exact_but_for_their_percentiles(dtype):
    tally = BandTally(np.dtype(dtype))
    for plane, where in windows_of(dtype):
        tally.add(plane, where)
    values = np.concatenate([plane[where] for plane, where in windows_of(dtype)]).astype(np.float64)
    found = tally.summary()
    assert (found.count, found.minimum, found.maximum) == (len(values), values.min(), values.max())
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.std == pytest.approx(values.std(), rel=1e-9)
    step = np.ptp(values) / 4096
    for percent in PERCENTILES:
        assert found.percentiles[f"{percent}"] == pytest.approx(np.percentile(values, percent), abs=3 * step)


def test_nothing_valid_is_told():
    for dtype in (np.uint8, np.float32):
        tally = BandTally(np.dtype(dtype))
        tally.add(np.ones((4, 4), dtype), np.zeros((4, 4), bool))
        assert tally.summary().to_json() == {
            "count": 0, "mean": None, "std": None, "minimum": None, "maximum": None, "percentiles": {}
        }  # fmt: skip
