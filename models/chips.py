"""Training samples, in the source's own units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Chips:
    """A batch of square windows of scenes with their labels."""

    images: NDArray[Any]
    """(n, band, y, x), any numeric dtype, source units."""
    labels: NDArray[np.uint8]
    """(n, y, x) class ids, 255 = ignore."""
    valid: NDArray[np.bool_]
    """(n, y, x), True = data."""

    def __post_init__(self) -> None:
        """Check that the three fit together."""
        plane = (self.images.shape[0], *self.images.shape[2:])
        if self.labels.shape != plane or self.valid.shape != plane:
            raise ValueError(
                f"images are {self.images.shape}, labels {self.labels.shape}, valid {self.valid.shape}: "
                f"expected (n, band, y, x) and twice (n, y, x)"
            )
        if self.labels.dtype != np.uint8 or self.valid.dtype != np.bool_:
            raise ValueError(f"labels are {self.labels.dtype}, valid is {self.valid.dtype}: expected uint8 and bool")


Draw: TypeAlias = Callable[[int], Chips]
"""Step -> its batch: a pure function, so that a resumed training sees the batches that it would have seen."""
