"""What is asked of every other pixel of every other row, for all: a quarter of the work where it is smoothed anyway."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fill_between(values: NDArray[np.float32]) -> None:
    """Give pixels of odd rows and columns the mean of their neighbours in even ones; the last ones, what lies before.

    Args:
        values: (y, x, ...), known where row and column are even; filled in place.
    """
    for axis in (values[:, ::2], values.swapaxes(0, 1)):
        axis[1:-1:2] = (axis[:-2:2] + axis[2::2]) / 2
        if len(axis) % 2 == 0:
            axis[-1] = axis[-2]
