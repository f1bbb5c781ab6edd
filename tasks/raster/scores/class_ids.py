"""Class ids as the counting kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.classes import IGNORE


def as_bytes(ids: NDArray[Any], classes: int) -> NDArray[np.uint8]:
    """Integer class ids, 255 where unknown, as uint8.

    Raises:
        UnusableInput: they are no integers, or one is no class.
    """
    if ids.dtype.kind not in "iub":
        raise UnusableInput(f"Classes are {ids.dtype}: expected integer ids.")
    wrong = (ids != IGNORE) & ((ids >= classes) | (ids < 0))
    if wrong.any():
        raise UnusableInput(
            f"Class {int(ids[wrong].max())} occurs where ids end at {classes - 1}: give the class map of the labels."
        )
    return ids.astype(np.uint8, copy=False)
