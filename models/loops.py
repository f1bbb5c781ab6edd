"""Loops over pixels and weights as machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(kernel: Kernel) -> Kernel:
    """Compile at the first call, without Python's lock, and keep it: beside its file, else for the user, else not.

    `fastmath` stays off: NaN must be seen, and sums must not be reordered.
    """
    try:
        return cast("Kernel", njit(nogil=True, cache=True)(kernel))
    except RuntimeError:  # numba's "no locator available": neither folder can be written
        return cast("Kernel", njit(nogil=True)(kernel))
