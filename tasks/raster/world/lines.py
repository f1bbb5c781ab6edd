"""Lines of streets and water: given a width, or walked along step by step."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

from tasks.raster.world.geometry import Ring, unit


def ribbon(line: Ring, width: float | list[float]) -> Ring:
    """The outline of a line of some width, mitred at its bends."""
    left, right = [], []
    for k, (x, y) in enumerate(line):
        before, after = line[max(k - 1, 0)], line[min(k + 1, len(line) - 1)]
        u = unit(after[0] - before[0], after[1] - before[1])
        half = (width if isinstance(width, float) else width[k]) / 2
        left.append((x - half * u[1], y + half * u[0]))
        right.append((x + half * u[1], y - half * u[0]))
    return left + right[::-1]


def walk(line: Ring, step: float, margin: float) -> list[tuple[float, float, float, float]]:
    """Points every `step` along a line, away from its ends: x, y and the direction there."""
    out = []
    gone, due = 0.0, margin
    total = sum(sqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) for a, b in pairwise(line))
    for (ax, ay), (bx, by) in pairwise(line):
        length = sqrt((bx - ax) * (bx - ax) + (by - ay) * (by - ay))
        ux, uy = unit(bx - ax, by - ay)
        while due <= min(gone + length, total - margin):
            out.append((ax + ux * (due - gone), ay + uy * (due - gone), ux, uy))
            due += step
        gone += length
    return out
