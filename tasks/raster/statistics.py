"""Band statistics that add up: each block counts its valid pixels, the sums are merged in block order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.raster.cube import BandStatistics

BINS = 4096
QUANTILES = (0.02, 0.98)


@dataclass(frozen=True, slots=True)
class BandCount:
    """What one block adds to one band's statistics."""

    count: int
    total: float
    squares: float
    minimum: float
    maximum: float
    edges: tuple[float, float]
    """Where the histogram begins and ends."""
    histogram: NDArray[np.int64]
    """(BINS,) counts of equal steps between the edges; all in the first where they are one."""


def count_band(plane: NDArray[Any], valid: NDArray[np.bool_]) -> BandCount:
    """Count one plane (y, x) of any dtype over its valid, finite pixels."""
    values = plane[valid & np.isfinite(plane)].astype(np.float64)
    if not values.size:
        return BandCount(0, 0.0, 0.0, 0.0, 0.0, (0.0, 1.0), np.zeros(BINS, np.int64))
    low, high = float(values.min()), float(values.max())
    edges = (0.0, 256.0) if plane.dtype == np.uint8 else (low, high)
    # numpy's histogram refuses edges that lie closer than BINS floats; here a constant plane falls into the first bin.
    places = (values - edges[0]) / ((edges[1] - edges[0]) or 1.0) * BINS
    histogram = np.bincount(places.astype(np.int64).clip(max=BINS - 1), minlength=BINS)
    return BandCount(values.size, float(values.sum()), float(np.square(values).sum()), low, high, edges, histogram)


def merge_bands(counts: Iterable[BandCount]) -> BandStatistics:
    """Statistics of one band from its blocks; the quantiles are exact to a histogram's step."""
    used = [c for c in counts if c.count]
    if not used:
        return BandStatistics(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    count = sum(c.count for c in used)
    mean = sum(c.total for c in used) / count
    variance = max(sum(c.squares for c in used) / count - mean * mean, 0.0)
    minimum, maximum = min(c.minimum for c in used), max(c.maximum for c in used)
    low, high = _quantiles(used, count)
    return BandStatistics(minimum, maximum, mean, variance**0.5, max(low, minimum), min(high, maximum))


def _quantiles(counts: list[BandCount], total: int) -> tuple[float, float]:
    values = np.concatenate(
        [np.linspace(*c.edges, BINS, endpoint=False) + (c.edges[1] - c.edges[0]) / BINS / 2 for c in counts]
    )
    weights = np.concatenate([c.histogram for c in counts])
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / total
    places = np.searchsorted(share, QUANTILES).clip(max=len(share) - 1)
    low, high = values[order][places]
    return float(low), float(high)
