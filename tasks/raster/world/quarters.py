"""What stands in the blocks of a town: closed blocks, towers, squares, halls and their yards."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.raster.world.buildings import hall, perimeter, slab
from tasks.raster.world.geometry import Outline, area, box, contains, shrink
from tasks.raster.world.lattice import CENTRE, INDUSTRY, TERRACES
from tasks.raster.world.plan import Plan, car_park, central, frontage, scatter, settle, sprinkle
from tasks.raster.world.roofs import tinted
from tasks.raster.world.shapes import (
    BLOCK,
    LAWN,
    PATCH,
    PAVING,
    PLOT,
    SOIL,
)  # fmt: skip
from tasks.raster.world.streets import subdivide

if TYPE_CHECKING:
    from tasks.raster.world.noise import Dice

from tasks.raster.world.gardens import gardens, terraces
from tasks.raster.world.grounds import EARTH, GRASS, STONE, straight


def build_block(plan: Plan, block: Outline, what: str, dice: Dice) -> None:
    """Fills one block, whose outline already lies behind the pavement."""
    block = straight(block)
    if len(block) < 3 or area(block) < 300:
        return
    if area(block) < 2200:
        square(plan, block, dice, paved=dice.chance(0.4))
    elif what == INDUSTRY:
        works(plan, block, dice)
    elif what == TERRACES:
        terraces(plan, block, dice)
    elif what == CENTRE:
        downtown(plan, block, dice)
    else:
        gardens(plan, block, dice)


def square(plan: Plan, block: Outline, dice: Dice, *, paved: bool) -> None:
    """A small green or a paved square with trees."""
    if paved:
        plan.ground.add(BLOCK, [block], colour=tinted(dice.pick(STONE), dice), finish=PAVING)
        scatter(plan, shrink(block, 6, everywhere=True) or block, dice, spacing=20, radius=(4, 7), share=0.6)
    else:
        plan.ground.add(BLOCK, [block], colour=tinted(dice.pick(GRASS), dice), finish=LAWN)
        scatter(plan, block, dice, spacing=22, radius=(5, 10), share=0.7)


def downtown(plan: Plan, block: Outline, dice: Dice) -> None:
    """A closed block around a courtyard, or slabs and towers on paved parcels, or a square."""
    roll = dice.random()
    if roll < 0.07:
        square(plan, block, dice, paved=dice.chance(0.5))
        return
    plan.ground.add(BLOCK, [block], colour=tinted(dice.pick(STONE), dice), finish=PAVING)
    _, _, _, near, far = box(block)
    inner = shrink(block, 3, everywhere=True)
    cut = bool(plan.wet(np.array(block)[:, :2], 12.0).any())
    if roll < 0.66 and not cut and inner and far - near > 92:
        built = perimeter(inner, dice, plan.sun, depth=dice.between(24, 31))
        if built:
            plan.buildings.append(built)
            yard = [(x, y, 0.0) for x, y in built.rings[1]]
            if dice.chance(0.7):
                green = shrink(yard, 4, everywhere=True)
                plan.ground.add(PLOT, [green], colour=tinted(dice.pick(GRASS), dice), finish=LAWN)
            scatter(plan, yard, dice, spacing=19, radius=(4, 8), share=0.5)
            return
    parcels, _ = subdivide(
        block,
        dice,
        target=3500.0 if cut else dice.pick((6000.0, 9000.0, 14000.0)),
        shortest=48,
        widths=(0.0,),
        sway=0.08,
    )
    for parcel in parcels:
        lot = shrink(parcel, 1.5, everywhere=True)
        if lot:
            tower(plan, lot, dice)


def tower(plan: Plan, lot: Outline, dice: Dice) -> None:
    """One flat-roofed building on its lot, or a car park."""
    green = dice.chance(0.5)
    colour = tinted(dice.pick(GRASS if green else STONE), dice)
    plan.ground.add(PLOT, [lot], colour=colour, finish=LAWN if green else PAVING)
    frame, length, depth = frontage(lot)
    fill = dice.between(0.72, 0.94)
    half = (length * fill / 2, depth * fill / 2)
    found = settle(lot, frame, (0.0, depth / 2), half=half, margin=2, least=9)
    if not found:
        middle, wide, high = central(lot)
        found = settle(lot, middle, (0.0, 0.0), half=(wide * 0.74, high * 0.7), margin=2, least=9)
    if found and dice.chance(0.1):
        car_park(plan, *found, dice, layer=PATCH)
    elif found:
        a, b = found[1]
        shape = dice.pick("IILUTO") if min(a, b) > 24 else "I"
        tall = dice.between(14, 30) if dice.chance(0.8) else dice.between(36, 60)
        plan.buildings.append(slab(*found, dice, plan.sun, shape=shape, height=tall))
    sprinkle(plan, lot, dice, spacing=20, radius=(4, 7.5), share=0.7)


def works(plan: Plan, block: Outline, dice: Dice) -> None:
    """Big flat halls with yards and car parks in front."""
    colour = tinted(dice.pick(STONE + EARTH[:2]), dice)
    plan.ground.add(BLOCK, [block], colour=colour, finish=PAVING)
    parcels, _ = subdivide(block, dice, target=dice.pick((15000.0, 26000.0)), shortest=90, widths=(0.0,), sway=0.08)
    for parcel in parcels:
        lot = shrink(parcel, 2.0, everywhere=True)
        if not lot:
            continue
        roll = dice.random()
        frame, length, depth = frontage(lot)
        if roll < 0.14:
            rough = dice.chance(0.5)
            plan.ground.add(
                PLOT, [lot], colour=tinted(dice.pick(EARTH if rough else GRASS), dice), finish=SOIL if rough else LAWN
            )
            scatter(plan, lot, dice, spacing=24, radius=(3, 8), share=0.35)
            continue
        plan.ground.add(PLOT, [lot], colour=tinted(colour, dice, 14), finish=PAVING)
        front = min(50.0, depth * 0.36)
        deep = (depth - front) / 2 - 4
        found = settle(lot, frame, (0.0, front + deep), half=(length * 0.47, deep), margin=3, least=18)
        if not found:
            middle, wide, high = central(lot)
            found = settle(lot, middle, (0.0, 0.0), half=(wide * 0.72, high * 0.66), margin=3, least=18)
            front = 0.0
        if found:
            plan.buildings.append(hall(*found, dice, plan.sun))
        stalls = settle(lot, frame, (0.0, front / 2), half=(length * 0.45, front / 2 - 3), margin=1, least=8)
        if stalls and dice.chance(0.75):
            car_park(plan, *stalls, dice, layer=PATCH)
        fence(plan, lot, dice, block=block)


def fence(plan: Plan, lot: Outline, dice: Dice, *, block: Outline) -> None:
    """Rows of trees along some edges of a lot."""
    for k, (x, y, _) in enumerate(lot):
        x2, y2, _ = lot[k + 1 - len(lot)]
        steps = int((abs(x2 - x) + abs(y2 - y)) / 22) if dice.chance(0.3) else 0
        for n in range(1, steps):
            px, py = x + (x2 - x) * n / steps, y + (y2 - y) * n / steps
            if contains(block, px, py, margin=3):
                plan.trees.append((px, py, dice.between(3.5, 6.5)))
