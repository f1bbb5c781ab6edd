"""Roads as they are painted: carriageways, pavements, markings, bridges, and the cars on them."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.raster.world.cars import drive
from tasks.raster.world.lines import ribbon, walk
from tasks.raster.world.roofs import tinted
from tasks.raster.world.shapes import (
    ASPHALT,
    AVENUE,
    DECK,
    MARK,
    MINOR,
    PAINTED,
    PAVING,
    WALK,
    Colour,
)  # fmt: skip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tasks.raster.world.noise import Dice
    from tasks.raster.world.plan import Plan
    from tasks.raster.world.streets import Street

ROUND = np.array([(np.cos(2 * np.pi * k / 16).round(9), np.sin(2 * np.pi * k / 16).round(9)) for k in range(16)])


def pave(plan: Plan, street: Street, dice: Dice, *, urban: bool) -> None:
    """One street: pavement, carriageway, deck where it crosses the river, markings, cars."""
    line, width = street.line, street.width
    level = dice.between(96, 132)
    colour = tinted((level, level * 0.995, level * 0.985), dice, 4)
    ends = [(np.array(line[k]) + ROUND * (width / 2)).tolist() for k in (0, -1)]
    if street.avenue:
        verge: Colour = (160, 154, 146) if urban else (132, 122, 96)
        around = ribbon(line, width + (11.0 if urban else 5.0))
        plan.ground.add(WALK, [around], colour=tinted(verge, dice, 6), finish=PAVING)
        wet = plan.wet(np.array(line), 60)
        if wet.any():
            deck = ribbon(line, width + 7.0)
            points = walk(line, 6.0, 0.0)
            near = [p for p, over in zip(points, plan.wet(np.array(points)[:, :2], 8.0), strict=True) if over]
            if len(near) > 1:
                deck = ribbon([(p[0], p[1]) for p in near], width + 7.0)
                plan.ground.add(DECK, [deck], colour=(184, 180, 172), finish=PAVING)
    layer = AVENUE if street.avenue else MINOR
    for ring in (*ends, ribbon(line, width)):
        plan.ground.add(layer, [ring], colour=colour, finish=ASPHALT)
    mark(plan, street, dice, colour=colour)
    drive(plan, street, dice, urban=urban)


def mark(plan: Plan, street: Street, dice: Dice, *, colour: Colour) -> None:
    """Dashes between lanes, lines along the edges of wide roads, patches of newer asphalt."""
    width = street.width
    white = (colour[0] + 62, colour[1] + 62, colour[2] + 58)
    dashes: list[NDArray[np.float64]] = []
    lanes = [0.0] if width < 26 else [-width / 4, 0.0, width / 4]
    if width >= 14:
        for offset in lanes:
            solid = offset == 0.0 and width >= 26
            for x, y, ux, uy in walk(street.line, 6.0 if solid else 15.0, width * 0.9):
                half = 3.2 if solid else 3.4
                dashes.append(bar((x - uy * offset, y + ux * offset), (ux, uy), half=half, thick=0.55))
    if width >= 16 and street.avenue:
        for offset in (-width / 2 + 1.6, width / 2 - 1.6):
            dashes += [
                bar((x - uy * offset, y + ux * offset), (ux, uy), half=3.2, thick=0.5)
                for x, y, ux, uy in walk(street.line, 6.0, width * 0.9)
            ]
        dashes += crossings(street)
    if dashes:
        plan.ground.add_many(MARK, np.stack(dashes), colours=np.tile(white, (len(dashes), 1)), finish=PAINTED)
    layer = AVENUE if street.avenue else MINOR
    for x, y, ux, uy in walk(street.line, 90.0, width):
        if dice.chance(0.35):
            o = dice.pick((-0.25, 0.25)) * width
            patch = bar((x - uy * o, y + ux * o), (ux, uy), half=dice.between(4, 26), thick=width * 0.22)
            plan.ground.add(layer, [patch.tolist()], colour=tinted(colour, dice, 13), finish=ASPHALT)


def crossings(street: Street) -> list[NDArray[np.float64]]:
    """Zebra crossings short of both ends."""
    rungs = int((street.width - 5) / 2.8)
    across = [(n - (rungs - 1) / 2) * 2.8 for n in range(rungs)]
    ends = [walk(street.line[::end], 4000.0, street.width * 0.82)[:1] for end in (1, -1)]
    return [
        bar((x - uy * o, y + ux * o), (ux, uy), half=2.6, thick=0.75)
        for points in ends
        for x, y, ux, uy in points
        for o in across
    ]


def bar(at: tuple[float, float], u: tuple[float, float], *, half: float, thick: float) -> NDArray[np.float64]:
    """A rectangle around a point, (4, 2)."""
    (x, y), (ux, uy) = at, u
    ax, ay, bx, by = ux * half, uy * half, -uy * thick, ux * thick
    return np.array(
        [(x - ax - bx, y - ay - by), (x + ax - bx, y + ay - by), (x + ax + bx, y + ay + by), (x - ax + bx, y - ay + by)]
    )
