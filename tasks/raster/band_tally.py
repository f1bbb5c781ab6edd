"""What the values of a band come to over many windows, in one pass: exact where they are integers of 8 or 16 bits."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.raster.statistics import BandCount, count_band, count_values, quantiles

PERCENTILES = (2, 25, 50, 75, 98)


@dataclass(frozen=True, slots=True)
class BandSummary:
    """A band in numbers; NaN where no pixel is valid."""

    count: int
    """Valid, finite pixels."""
    mean: float
    std: float
    """Of the population: divided by the count."""
    minimum: float
    maximum: float
    percentiles: dict[str, float]
    """The least value that so many percent of the pixels do not exceed; of floats and 32-bit integers to a step of
    1/4096 of their range in a window."""

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON, None for NaN."""
        found = {k: v for k, v in asdict(self).items() if k != "percentiles"} | {"percentiles": dict(self.percentiles)}
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found.items()}


@dataclass(slots=True)
class BandTally:
    """Adds up the windows of one band; sums of integers are integers, so their order does not matter."""

    dtype: np.dtype[Any]
    _often: NDArray[np.int64] = field(init=False)
    """By value, in the order of their bits; empty for wide dtypes."""
    _parts: list[BandCount] = field(default_factory=list)

    def __post_init__(self) -> None:
        narrow = self.dtype.kind in "iu" and self.dtype.itemsize <= 2  # noqa: PLR2004 - 65,536 values at most
        self._often = np.zeros(1 << 8 * self.dtype.itemsize if narrow else 0, np.int64)

    def add(self, plane: NDArray[Any], where: NDArray[np.bool_]) -> None:
        """Count the pixels of a plane (y, x) where (y, x) says so."""
        if len(self._often):
            self._often += count_values(plane.view(f"u{plane.itemsize}"), where)
        else:
            self._parts.append(count_band(plane, where))

    def summary(self) -> BandSummary:
        """What all windows came to."""
        return _of_integers(self.dtype, self._often) if len(self._often) else _of_parts(self._parts)


_NOTHING = BandSummary(0, math.nan, math.nan, math.nan, math.nan, {})


def _of_integers(dtype: np.dtype[Any], often: NDArray[np.int64]) -> BandSummary:
    values = np.arange(len(often), dtype=f"u{dtype.itemsize}").view(dtype).astype(np.int64)
    order = np.argsort(values)
    values, often = values[order], often[order]
    found = np.flatnonzero(often)
    if not len(found):
        return _NOTHING
    pairs = [(int(values[n]), int(often[n])) for n in found]
    count = sum(n for _, n in pairs)
    total, squares = sum(v * n for v, n in pairs), sum(v * v * n for v, n in pairs)
    below = np.cumsum(often)
    percentiles = {f"{p}": float(values[np.searchsorted(below, -(-p * count // 100))]) for p in PERCENTILES}
    std = math.sqrt(squares * count - total * total) / count
    return BandSummary(count, total / count, std, pairs[0][0], pairs[-1][0], percentiles)


def _of_parts(parts: list[BandCount]) -> BandSummary:
    used = [part for part in parts if part.count]
    if not used:
        return _NOTHING
    count = sum(part.count for part in used)
    mean = math.fsum(part.total for part in used) / count
    variance = max(math.fsum(part.squares for part in used) / count - mean * mean, 0.0)
    low, high = min(part.minimum for part in used), max(part.maximum for part in used)
    found = (min(max(q, low), high) for q in quantiles(used, [p / 100 for p in PERCENTILES]))
    percentiles = {f"{p}": q for p, q in zip(PERCENTILES, found, strict=True)}
    return BandSummary(count, mean, math.sqrt(variance), low, high, percentiles)
