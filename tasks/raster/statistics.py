"""Band statistics that add up: each block counts its valid pixels, the sums are merged in block order."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.raster.cube import BandStatistics

BINS = 4096
FINE = 1 << 20
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
    packed: bytes
    """The histogram, compressed: a large scene's blocks are all in memory when they are merged."""

    @property
    def histogram(self) -> NDArray[np.int64]:
        """(BINS,) counts of equal steps between the edges; all in the first where they are one."""
        return np.frombuffer(zlib.decompress(self.packed), np.int64)


def count_band(plane: NDArray[Any], valid: NDArray[np.bool_]) -> BandCount:
    """Count one plane (y, x) of any dtype over its valid, finite pixels; sums of 8 and 16 bits are exact integers."""
    if plane.dtype.kind in "iu" and plane.itemsize <= 2:  # noqa: PLR2004 - 65,536 values at most
        return _count_integers(plane, valid)
    return _count_floats(plane if plane.dtype.kind == "f" else plane.astype(np.float64), valid)


def count_values(plane: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often each value of a plane (y, x) of uint8 or uint16 occurs among its valid pixels."""
    if plane.itemsize == 1:  # as fast as a kernel, which takes most of a second to load
        mask = None if valid.all() else Image.fromarray(np.ascontiguousarray(valid.view(np.uint8)))
        return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).histogram(mask), np.int64)
    from tasks.raster.kernels import LANES, rows_of, tally

    counts = np.zeros((LANES, 1 << 8 * plane.itemsize), np.uint32)
    height, width = plane.shape
    tally(rows_of(plane), rows_of(valid), height, width, counts)
    often: NDArray[np.int64] = counts.sum(axis=0, dtype=np.int64)
    return often


def _count_integers(plane: NDArray[Any], valid: NDArray[np.bool_]) -> BandCount:
    """Count how often each value occurs, in one pass; everything else follows from that."""
    bits = 8 * plane.itemsize
    # A negative value's bits stand for value + 2^bits.
    often = count_values(plane.view(f"u{plane.itemsize}"), valid)
    values = np.flatnonzero(often)
    if not values.size:
        return _NONE
    often = often[values]
    if plane.dtype.kind == "i":
        values = np.where(values >= 1 << bits - 1, values - (1 << bits), values)
    low, high = float(values.min()), float(values.max())
    edges = (0.0, 256.0) if plane.dtype == np.uint8 else (low, high)
    places = (values - edges[0]) / ((edges[1] - edges[0]) or 1.0) * BINS
    histogram = np.zeros(BINS, np.int64)
    np.add.at(histogram, places.astype(np.int64).clip(max=BINS - 1), often)
    total, squares = int((values * often).sum()), int((values * values * often).sum())
    return BandCount(int(often.sum()), float(total), float(squares), low, high, edges, _packed(histogram))


def _count_floats(plane: NDArray[Any], valid: NDArray[np.bool_]) -> BandCount:
    """Count in two passes: the histogram's edges are known after the first."""
    from tasks.raster.kernels import rows_of, sum_floats, tally_floats

    pixels, data = rows_of(plane), rows_of(valid)
    height, width = plane.shape
    count, total, squares, low, high = sum_floats(pixels, data, height, width)
    if not count:
        return _NONE
    histogram = np.zeros(BINS, np.int64)
    # numpy's histogram refuses edges that lie closer than BINS floats; here a constant plane falls into the first bin.
    tally_floats(pixels, data, height, width, low, (high - low) or 1.0, histogram)
    return BandCount(count, total, squares, low, high, (low, high), _packed(histogram))


def _packed(histogram: NDArray[np.int64]) -> bytes:
    return zlib.compress(histogram.tobytes())


_NONE = BandCount(0, 0.0, 0.0, 0.0, 0.0, (0.0, 1.0), _packed(np.zeros(BINS, np.int64)))


def merge_bands(counts: Iterable[BandCount]) -> BandStatistics:
    """Statistics of one band from its blocks; the quantiles are exact to a histogram's step."""
    used = [c for c in counts if c.count]
    if not used:
        return BandStatistics(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    count = sum(c.count for c in used)
    mean = sum(c.total for c in used) / count
    variance = max(sum(c.squares for c in used) / count - mean * mean, 0.0)
    minimum, maximum = min(c.minimum for c in used), max(c.maximum for c in used)
    low, high = (min(max(q, minimum), maximum) for q in quantiles(used, QUANTILES))
    return BandStatistics(minimum, maximum, mean, variance**0.5, low, high)


def quantiles(counts: list[BandCount], at: Sequence[float]) -> list[float]:
    """Of one histogram over all blocks, with steps so fine that they add nothing to a block's own.

    Args:
        counts: of blocks that hold a value.
        at: which quantiles, 0 to 1.
    """
    total = sum(c.count for c in counts)
    low, high = min(c.edges[0] for c in counts), max(c.edges[1] for c in counts)
    bins = BINS if all(c.edges == (low, high) for c in counts) else FINE
    step = ((high - low) or 1.0) / bins
    often = np.zeros(bins, np.int64)
    for c in counts:
        first, width = c.edges[0], (c.edges[1] - c.edges[0]) / BINS
        places = ((first - low + (np.arange(BINS) + 0.5) * width) / step).astype(np.int64)
        np.add.at(often, places.clip(max=bins - 1), c.histogram)
    places = np.searchsorted(np.cumsum(often) / total, at).clip(max=bins - 1)
    return [float(q) for q in low + (places + 0.5) * step]
