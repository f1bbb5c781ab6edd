"""Where people live: houses in gardens, and terraces wall to wall."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.raster.world.buildings import Building, house, slab
from tasks.raster.world.geometry import Outline, box, clip, shrink
from tasks.raster.world.plan import Plan, fits, frontage, scatter, settle, sprinkle
from tasks.raster.world.roofs import Facet, Frame, gable, tinted
from tasks.raster.world.shapes import (
    BLOCK,
    DRIVE,
    LAND,
    LAWN,
    MEMBRANE,
    PATCH,
    PAVING,
    PLOT,
    RIPPLES,
    SOIL,
    Colour,
)  # fmt: skip
from tasks.raster.world.streets import subdivide

if TYPE_CHECKING:
    from tasks.raster.world.noise import Dice

from tasks.raster.world.grounds import EARTH, GRASS, STONE


def gardens(plan: Plan, block: Outline, dice: Dice) -> None:
    """Detached houses, each on its own parcel with a drive, a garden and sometimes a pool."""
    plan.ground.add(BLOCK, [block], colour=(86, 94, 64), finish=LAWN)
    size = dice.pick((1600.0, 2000.0, 2700.0))
    parcels, _ = subdivide(block, dice, target=size, shortest=23, widths=(0.0,), sway=0.07)
    for parcel in parcels:
        lot = shrink(parcel, 0.8, everywhere=True)
        if lot:
            one_garden(plan, lot, dice)


def one_garden(plan: Plan, lot: Outline, dice: Dice) -> None:
    """A house, set back from the street."""
    bare = dice.chance(0.2)
    colour = tinted(dice.pick(EARTH if bare else GRASS), dice, 10)
    plan.ground.add(PLOT, [lot], colour=colour, finish=SOIL if bare else LAWN)
    frame, length, depth = frontage(lot)
    half = (min(dice.between(13, 20), length * 0.45), min(dice.between(10.5, 15), depth * 0.37))
    setback = dice.between(4, 10)
    shift = dice.between(-0.5, 0.5) * max(0.0, length / 2 - half[0] - 3)
    found = settle(lot, frame, (shift, setback + half[1]), half=half, margin=1.8, least=6.5)
    if not found:
        sprinkle(plan, lot, dice, spacing=19, radius=(4.5, 9), share=0.7)
        return
    place, (a, b) = found
    plan.buildings.append(house(place, (a, b), dice, plan.sun))
    side = -1.0 if shift > 0 else 1.0
    drive = shift + side * (a - 4.5)
    if dice.chance(0.85):
        ring = frame.rectangle(drive - 3.4, -6, drive + 3.4, setback + 3)
        plan.ground.add(PATCH, [ring], colour=tinted(dice.pick(STONE), dice, 14), finish=DRIVE)
        if dice.chance(0.5):
            plan.park_car(frame.at(drive, setback - 5.2), (-frame.u[1], frame.u[0]), on=LAND)
    back = setback + half[1] + b
    if dice.chance(0.6):
        w, d = dice.between(5, 10), dice.between(4, 9)
        ring = frame.rectangle(shift - w, back - 1, shift + w, back + d)
        if fits(lot, ring, 0):
            plan.ground.add(PATCH, [ring], colour=tinted(dice.pick(STONE), dice, 14), finish=PAVING)
    if dice.chance(0.16) and depth - back > 22:
        s, t, w, d = shift + dice.between(-6, 6), back + 12, dice.between(5, 8), dice.between(2.6, 4)
        if fits(lot, frame.rectangle(s - w - 2, t - d - 2, s + w + 2, t + d + 2), 0):
            plan.ground.add(
                PATCH,
                [frame.rectangle(s - w - 2, t - d - 2, s + w + 2, t + d + 2)],
                colour=(196, 190, 178),
                finish=PAVING,
            )
            plan.ground.add(PATCH, [frame.rectangle(s - w, t - d, s + w, t + d)], colour=(86, 168, 186), finish=RIPPLES)
    if dice.chance(0.35) and depth - back > 16:
        s, t = dice.pick((-1.0, 1.0)) * (length / 2 - 7), depth - 9
        shed = settle(lot, frame, (s, t), half=(4.6, 3.6), margin=0.8, least=3)
        if shed:
            plan.buildings.append(slab(*shed, dice, plan.sun, shape="I", height=5))
    sprinkle(plan, lot, dice, spacing=17, radius=(3.0, 8.5), share=dice.between(0.15, 0.75))


def terraces(plan: Plan, block: Outline, dice: Dice) -> None:
    """Rows of houses wall to wall along the two longest streets, gardens between the rows."""
    plan.ground.add(BLOCK, [block], colour=tinted(dice.pick(GRASS), dice), finish=LAWN)
    u, _, _, near, far = box(block)
    if far - near < 75:
        gardens(plan, block, dice)
        return
    middle = (near + far) / 2
    normal = (-u[1], u[0])
    scatter(plan, block, dice, spacing=26, radius=(3.5, 8.5), share=0.5)
    for sign in (1.0, -1.0):
        strip = clip(block, (normal[0] * sign, normal[1] * sign), offset=middle * sign, reach=0.0)
        if len(strip) > 2:
            row(plan, strip, dice)


def row(plan: Plan, strip: Outline, dice: Dice) -> None:
    """One row of terraced houses behind small front gardens, each with its strip of garden."""
    frame, length, depth = frontage(strip)
    deep, setback = dice.between(19, 25), dice.between(5, 9)
    wide = dice.between(12, 16)
    base = tinted(dice.pick(((158, 88, 70), (128, 84, 68), (98, 96, 98), (120, 116, 116), (140, 112, 92))), dice)
    count = int((length - 16) / wide)
    gap = 6 + int(dice.random() * 5)
    height = dice.between(12, 18)
    for n in range(count):
        s = (n - count / 2 + 0.5) * wide
        if n % gap == gap - 1:
            plan.trees.append((*frame.at(s, setback + deep / 2), dice.between(4, 7)))
            continue
        spot = Frame(frame.at(s, setback + deep / 2), frame.u)
        if not fits(strip, spot.rectangle(-wide / 2, -deep / 2, wide / 2, deep / 2), 0.5):
            continue
        house_of_row(plan, spot, (wide / 2, deep / 2), dice, base=base, height=height)
        far = min(depth - 2, setback + deep + 45)
        yard = frame.rectangle(s - wide / 2 + 0.5, setback + deep, s + wide / 2 - 0.5, far)
        if fits(strip, yard, 0):
            choice = dice.random()
            colour, finish = (
                (dice.pick(GRASS), LAWN) if choice < 0.68 else (dice.pick(EARTH if choice < 0.85 else STONE), SOIL)
            )
            plan.ground.add(PLOT, [yard], colour=tinted(colour, dice, 14), finish=finish)
            if dice.chance(0.5):
                plan.trees.append((*frame.at(s + dice.between(-4, 4), far - dice.between(4, 14)), dice.between(3, 6.5)))
        if dice.chance(0.4):
            path = frame.rectangle(s - 3, -2, s + 3, setback)
            plan.ground.add(PATCH, [path], colour=tinted(dice.pick(STONE), dice), finish=DRIVE)


def house_of_row(
    plan: Plan, spot: Frame, half: tuple[float, float], dice: Dice, *, base: Colour, height: float
) -> None:
    """One house of a terrace."""
    a, b = half
    colour = tinted(base, dice, 7)
    facets = gable(spot, half, hips=(0.0, 0.0), colour=colour, sun=plan.sun)
    facets.append(
        Facet(spot.rectangle(a - 0.8, -b, a, b), (colour[0] * 0.8, colour[1] * 0.8, colour[2] * 0.8), MEMBRANE)
    )
    facets.append(Facet(spot.rectangle(a - 3, -1.3, a - 0.8, 1.3), (150, 122, 108), MEMBRANE))
    plan.buildings.append(Building([spot.rectangle(-a, -b, a, b)], height, facets))
