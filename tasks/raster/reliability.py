"""How far a stored confidence can be trusted: whether of what it calls 80 % sure, 80 % is right."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.raster.blend import TOP

BINS = 15
"""Bins of equal width, as in Guo and others 2017 (arXiv:1706.04599), section 2."""


def _nothing() -> NDArray[np.int64]:
    return np.zeros((2, TOP + 1), np.int64)


@dataclass(frozen=True, slots=True)
class Bin:
    """Pixels of about the same confidence."""

    pixels: int
    confidence: float
    """Their mean, 0..1."""
    accuracy: float
    """Share of them that is right."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Counts of pixels by their stored confidence, 0...254 = p·254, wrong ones (0) and right ones (1)."""

    counts: NDArray[np.int64] = field(default_factory=_nothing)

    def add(self, confidence: NDArray[np.uint8], right: NDArray[np.bool_]) -> None:
        """Count pixels; those without a confidence (255) do not count.

        Args:
            confidence: of any shape.
            right: of that shape.
        """
        known = confidence <= TOP
        for outcome in (0, 1):
            self.counts[outcome] += np.bincount(confidence[known & (right == outcome)], minlength=TOP + 1)

    def bins(self) -> list[Bin]:
        """Those that hold pixels, from the least confidence up."""
        level = np.minimum(np.arange(TOP + 1) * BINS // TOP, BINS - 1)
        found = []
        for number in range(BINS):
            wrong, right = self.counts[:, level == number]
            pixels = int(wrong.sum() + right.sum())
            if pixels:
                mean = float(((wrong + right) * np.flatnonzero(level == number)).sum()) / pixels / TOP
                found.append(Bin(pixels, mean, float(right.sum()) / pixels))
        return found

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of confidence and accuracy, bins weighed by their pixels."""
        bins = self.bins()
        total = sum(b.pixels for b in bins)
        return sum(b.pixels * abs(b.confidence - b.accuracy) for b in bins) / total if total else float("nan")

    @property
    def separation(self) -> float:
        """AUROC: how likely a right pixel has more confidence than a wrong one, ties counting half; NaN without both.

        Mann and Whitney's U over the counts, so it is that of all pixels, not of a sample.
        """
        wrong, right = self.counts.astype(float)
        if not (wrong.sum() and right.sum()):
            return float("nan")
        below = np.cumsum(wrong) - wrong
        return float((right * (below + wrong / 2)).sum() / (wrong.sum() * right.sum()))
