"""Trees from above: a crown with a dark foot, a lit side and leaves, and the shadow it throws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.raster.world.fill import fill
from tasks.raster.world.shapes import BUILDING, CROWN, LEAVES, OPEN_WATER, ROAD, Colour, Shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tasks.raster.world.noise import Dice
    from tasks.raster.world.plan import Plan

HUES: tuple[Colour, ...] = (
    (66, 86, 48), (74, 94, 52), (58, 78, 48), (84, 98, 56), (96, 106, 60), (52, 70, 46), (78, 84, 48), (104, 104, 62),
)  # fmt: skip
CORNERS = 11
CIRCLE = np.array(
    [(np.cos(2 * np.pi * k / CORNERS).round(9), np.sin(2 * np.pi * k / CORNERS).round(9)) for k in range(CORNERS)]
)


def free(trees: NDArray[np.float64], ground: Shapes) -> NDArray[np.bool_]:
    """Which trees (n, 3: x, y, radius) cover no building and stand on neither road nor water, (n,) bool."""
    low = np.floor((trees[:, :2] - trees[:, 2:]).min(0)).astype(int) - 1
    high = np.ceil((trees[:, :2] + trees[:, 2:]).max(0)).astype(int) + 2
    taken = np.zeros((high[1] - low[1], high[0] - low[0]), np.int32)
    labels = ground.labels.astype(np.int32)
    fill(taken, (ground.xy, ground.starts, ground.owners), values=labels, corner=(int(low[1]), int(low[0])))

    def at(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int32]:
        found: NDArray[np.int32] = taken[(y // 1).astype(int) - low[1], (x // 1).astype(int) - low[0]]
        return found

    x, y, r = trees.T
    stem = at(x, y)
    ok = (stem != ROAD) & (stem != OPEN_WATER) & (stem != BUILDING)
    for c, s in CIRCLE:
        ok &= at(x + c * r * 0.9, y + s * r * 0.9) != BUILDING
    return np.asarray(ok)


def draw_trees(plan: Plan, dice: Dice, ground: Shapes) -> NDArray[np.float64]:
    """Every tree that has room; returns their shadows, (n, CORNERS, 2)."""
    trees = np.array(plan.trees).reshape(-1, 3)
    if len(trees):
        trees = trees[~plan.wet(trees[:, :2], -10.0)]
    if len(trees):
        trees = trees[free(trees, ground)]
    if not len(trees):
        return np.zeros((0, CORNERS, 2))
    trees = trees[np.argsort(trees[:, 2], kind="stable")]
    n = len(trees)
    middle, r = trees[:, None, :2], trees[:, 2, None, None]
    ragged = (0.84 + 0.3 * dice.array(n * CORNERS)).reshape(n, CORNERS, 1)
    roll = dice.array(3 * n).reshape(3, n)
    hue = np.array(HUES)[(roll[0] * len(HUES)).astype(int)] + (roll[1] * 22 - 11)[:, None]
    sun = np.array(plan.sun)
    crown = middle + CIRCLE * r * ragged
    parts = [
        (crown, hue * 0.66),
        (middle + sun * r * 0.14 + CIRCLE * r * 0.80 * ragged[:, ::-1], hue * 0.98),
        (middle + sun * r * 0.30 + CIRCLE * r * 0.48 * np.roll(ragged, 4, 1), hue * 1.26),
    ]
    # One tree after the other: crown, lit side, top; a later tree covers the one before.
    polygons = np.stack([p for p, _ in parts], 1).reshape(-1, CORNERS, 2)
    colours = np.stack([c for _, c in parts], 1).reshape(-1, 3)
    plan.ground.add_many(CROWN, polygons, colours=colours, finish=LEAVES)
    tall = (0.9 + 0.7 * roll[2])[:, None, None]
    return np.asarray(crown - sun * r * tall)
