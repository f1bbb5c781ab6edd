"""From a source's numbers to what networks see: one function for training and for prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIMIT = 10.0
"""Standard deviations beyond which a value is cut: one hot pixel of 1e30 would turn its surroundings into NaN."""


def normalise(
    image: NDArray[Any], valid: NDArray[np.bool_], *, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """(image - mean) / std as a new array (n, band, y, x) float32, 0 where not valid or not finite, within ±10.

    Args:
        image: (n, band, y, x), any numeric dtype, source units.
        valid: (n, y, x) bool, True = data.
        mean: per band, source units.
        std: per band, source units, above 0.
    """
    centre, spread = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (mean, std))
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32 becomes infinite, which is caught below
        out = image.astype(np.float32)
        out -= centre
        out /= spread
    if image.dtype.kind == "f":
        out[~np.isfinite(out)] = 0
    np.clip(out, -LIMIT, LIMIT, out=out)
    np.copyto(out, 0, where=~valid[:, None])
    return out
