"""Pixels between those that were asked."""

import numpy as np
import pytest

from tasks.raster.halves import fill_between


@pytest.mark.parametrize("shape", [(7, 9), (8, 6, 3), (1, 5), (2, 2), (1, 1)])
def test_an_even_slope_is_found_again(shape):
    rows, cols = np.indices(shape[:2]).astype(np.float32)
    slope = rows + 10 * cols
    # Beyond the last even row or column there is nothing to go by.
    expected = np.minimum(rows, (shape[0] - 1) // 2 * 2) + 10 * np.minimum(cols, (shape[1] - 1) // 2 * 2)
    values = np.full(shape, 999, np.float32)
    more = (slice(None),) * 2 + (None,) * (len(shape) - 2)
    values[::2, ::2] = slope[more][::2, ::2]
    fill_between(values)
    np.testing.assert_array_equal(values, np.broadcast_to(expected[more], shape))
