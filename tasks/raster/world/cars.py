"""Cars at the kerb, in the lanes and on car parks; each keeps the class of what it stands on."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.raster.world.lines import walk
from tasks.raster.world.shapes import CAR, LACQUER, LAND, ROAD, Colour, Finish

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tasks.raster.world.noise import Dice
    from tasks.raster.world.plan import Plan
    from tasks.raster.world.streets import Street

LACQUER_ON_LAND = Finish(LAND, 0.02, 0.0, 0.0, 0.0)
COATS: tuple[Colour, ...] = (
    (222, 222, 222), (205, 206, 208), (60, 62, 66), (36, 38, 42), (128, 132, 138), (158, 160, 164), (132, 44, 40),
    (52, 70, 112), (190, 184, 168), (236, 236, 234), (84, 88, 92),
)  # fmt: skip


def drive(plan: Plan, street: Street, dice: Dice, *, urban: bool) -> None:
    """Cars at the kerb and in the lanes."""
    width = street.width
    if urban and width < 24:
        busy = dice.between(0.1, 0.5)
        for x, y, ux, uy in walk(street.line, 12.5, width + 8):
            for sign in (-1.0, 1.0):
                if dice.chance(busy):
                    o = sign * (width / 2 - 2.7)
                    plan.park_car((x - uy * o, y + ux * o), (ux, uy))
    for x, y, ux, uy in walk(street.line, 38.0, width):
        for sign in (-1.0, 1.0):
            if dice.chance(0.30 if width > 20 else 0.10 if urban else 0.06):
                lane = width / 8 if width >= 26 and dice.chance(0.5) else width / 4 if width < 26 else width * 3 / 8
                shift = dice.between(-10, 10)
                at = (x - uy * sign * lane + ux * shift, y + ux * sign * lane + uy * shift)
                plan.park_car(at, (-sign * ux, -sign * uy))


def draw_cars(plan: Plan, dice: Dice) -> NDArray[np.float64]:
    """Every car's body, glass and roof; returns their shadows, (n, 4, 2)."""
    if not plan.cars:
        return np.zeros((0, 4, 2))
    cars = np.array(plan.cars)
    roll = dice.array(2 * len(cars)).reshape(2, -1)
    coats = np.array(COATS)[(roll[0] * len(COATS)).astype(int)]
    half = 4.1 + 1.1 * roll[1]
    for on, finish in ((ROAD, LACQUER), (LAND, LACQUER_ON_LAND)):
        some = cars[:, 4] == on
        where, length, coat = cars[some, :4], half[some], coats[some]
        for (rear, front, side), colours in (
            ((-1.0, 1.0, 2.0), coat),
            ((-0.7, 0.35, 1.7), coat * 0.35 + 12),
            ((-0.48, 0.06, 1.7), coat * 1.02),
        ):
            body = boxes(where, length, rear=rear, front=front, side=side)
            plan.ground.add_many(CAR, body, colours=colours, finish=finish)
    fallen = cars[:, :4] - 2.4 * np.array([*plan.sun, 0.0, 0.0])
    return boxes(fallen, half, rear=-1.0, front=1.0, side=2.0)


def boxes(
    where: NDArray[np.float64], half: NDArray[np.float64], *, rear: float, front: float, side: float
) -> NDArray[np.float64]:
    """Rectangles on cars (n, 4: x, y, direction) between two parts of their half length, (n, 4, 2)."""
    x, y, ux, uy = where.T
    corners = [(rear, -side), (front, -side), (front, side), (rear, side)]
    return np.stack([np.stack([x + s * half * ux - w * uy, y + s * half * uy + w * ux], 1) for s, w in corners], 1)
