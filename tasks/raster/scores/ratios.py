"""Scores as plain numbers: shares, what joins two of them, and NaN where there is nothing to score."""

from __future__ import annotations

import math


def share(part: int, whole: int) -> float:
    """Part of whole; NaN of nothing."""
    return part / whole if whole else math.nan


def harmonic(one: float, other: float) -> float:
    """The harmonic mean of two scores; 0 where just one of them is NaN (one side is empty), NaN where both are."""
    if math.isnan(one) and math.isnan(other):
        return math.nan
    return 2 * one * other / (one + other) if one > 0 and other > 0 else 0.0


def united(precision: float, recall: float) -> float:
    """Intersection over union as precision and recall imply it, pr / (p + r - pr); 0 and NaN as of `harmonic`."""
    dice = harmonic(precision, recall)
    return dice / (2 - dice)
