"""What lies outside the towns: fields with their furrows and hedges, woods, parks with ponds, farms."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.raster.world.buildings import hall, house
from tasks.raster.world.gardens import gardens
from tasks.raster.world.geometry import Outline, Point, Ring, area, box, contains, shrink
from tasks.raster.world.grounds import EARTH, GRASS, straight
from tasks.raster.world.plan import Plan, frontage, scatter, settle
from tasks.raster.world.roofs import Frame, tinted
from tasks.raster.world.shapes import BLOCK, CROP, LAWN, PATCH, PAVING, PLOT, RIPPLES, SOIL, Colour, Finish
from tasks.raster.world.streets import subdivide

if TYPE_CHECKING:
    from tasks.raster.world.noise import Dice

TURN = [(np.cos(2 * np.pi * k / 24).round(9), np.sin(2 * np.pi * k / 24).round(9)) for k in range(24)]
"""A circle in 24 steps, rounded so that every libm agrees."""

CROPS: tuple[tuple[Colour, Finish], ...] = (
    ((84, 108, 58), CROP), ((102, 122, 66), CROP), ((126, 132, 78), CROP), ((150, 148, 92), CROP), ((70, 92, 54), CROP),
    ((152, 128, 98), SOIL), ((146, 130, 112), SOIL), ((134, 112, 88), SOIL),
    ((176, 156, 120), SOIL), ((188, 170, 128), SOIL), ((160, 142, 118), SOIL),
)  # fmt: skip


def farmland(plan: Plan, land: Outline, dice: Dice) -> None:
    """Fields in strips, each under its own crop; hedges between some; a farm at the road."""
    fields, _ = subdivide(land, dice, target=dice.pick((26000.0, 42000.0)), shortest=70, widths=(0.0,), sway=0.14)
    for number, plot in enumerate(fields):
        if dice.chance(0.6 if number == len(fields) // 2 else 0.05):
            farm(plan, plot, dice)
            continue
        one_field(plan, plot, dice)


def one_field(plan: Plan, plot: Outline, dice: Dice) -> None:
    """A crop or bare soil with furrows along its long side, tramlines, and perhaps a hedge."""
    inside = shrink(plot, dice.between(1.5, 4.0), everywhere=True)
    if not inside:
        return
    u, low, high, near, far = box(plot)
    colour, finish = dice.pick(CROPS)
    across = (-u[1], u[0])
    period, strength = dice.between(4.5, 11), dice.between(0.0, 0.07)
    stripe = (across[0] / period, across[1] / period, strength)
    colour = tinted(colour, dice, 9)
    plan.ground.add(PLOT, [inside], colour=colour, finish=finish, stripe=stripe)
    if dice.chance(0.6):
        t = near + 12
        dark = (colour[0] * 0.9 + 6, colour[1] * 0.87 + 6, colour[2] * 0.9 + 6)
        gap = dice.between(28, 44)
        while t < far - 6:
            for wheel in (-1.8, 1.8):
                track = strip_in(inside, u, (low + 6, high - 6), t + wheel)
                if track:
                    plan.ground.add(PATCH, [track], colour=dark, finish=finish, stripe=stripe)
            t += gap
    if dice.chance(0.45):
        hedge(plan, plot, dice)


def strip_in(inside: Outline, u: Point, ends: tuple[float, float], t: float) -> Ring:
    """A wheel track at t across a convex field, from edge to edge; empty where it misses."""
    low, high = ends
    for x, y, _ in [(u[0] * s - u[1] * t, u[1] * s + u[0] * t, 0.0) for s in (low, high)]:
        if not contains(inside, x, y):
            low, high = low + 12, high - 12
    if high - low < 30:
        return []
    corners = ((low, t - 0.5), (high, t - 0.5), (high, t + 0.5), (low, t + 0.5))
    ring = [(u[0] * s - u[1] * q, u[1] * s + u[0] * q) for s, q in corners]
    return ring if all(contains(inside, x, y) for x, y in ring) else []


def hedge(plan: Plan, plot: Outline, dice: Dice) -> None:
    """Bushes and trees along one edge of a field."""
    k = int(dice.random() * len(plot))
    (x, y, _), (x2, y2, _) = plot[k], plot[k + 1 - len(plot)]
    steps = int((abs(x2 - x) + abs(y2 - y)) / 9)
    dense = dice.between(0.3, 0.95)
    for n in range(steps):
        if dice.chance(dense):
            f = (n + dice.random()) / steps
            plan.trees.append((x + (x2 - x) * f, y + (y2 - y) * f, dice.between(3.0, 8.0)))


def farm(plan: Plan, plot: Outline, dice: Dice) -> None:
    """A farmhouse, barns and a yard near the road, grass around."""
    plan.ground.add(PLOT, [plot], colour=tinted(dice.pick(GRASS), dice), finish=LAWN)
    frame, length, depth = frontage(plot)
    yard = settle(
        plot, frame, (0.0, min(55, depth / 2)), half=(min(60, length * 0.4), min(40, depth * 0.4)), margin=2, least=14
    )
    if yard:
        a, b = yard[1]
        plan.ground.add(PATCH, [yard[0].rectangle(-a, -b, a, b)], colour=tinted(dice.pick(EARTH), dice), finish=SOIL)
        for s, t in ((-a * 0.55, -b * 0.4), (a * 0.55, -b * 0.45), (0.0, b * 0.62)):
            size = (dice.between(16, 30), dice.between(9, 13))
            spot = settle(plot, yard[0], (s, t), half=(min(size[0], a * 0.4), min(size[1], b * 0.3)), margin=2, least=6)
            if spot:
                make = hall if dice.chance(0.5) else house
                plan.buildings.append(make(*spot, dice, plan.sun))
    scatter(plan, plot, dice, spacing=30, radius=(5, 10), share=0.3)


def woods(plan: Plan, land: Outline, dice: Dice) -> None:
    """Forest with clearings, over meadow."""
    parts, _ = subdivide(land, dice, target=60000, shortest=110, widths=(0.0,), sway=0.18)
    for part in parts:
        roll = dice.random()
        if roll < 0.24:
            one_field(plan, part, dice)
        else:
            plan.ground.add(PLOT, [part], colour=tinted((74, 86, 54), dice), finish=LAWN)
            scatter(
                plan, part, dice, spacing=dice.between(11, 15), radius=(5.5, 10), share=0.93 if roll < 0.75 else 0.3
            )


def park(plan: Plan, land: Outline, dice: Dice) -> None:
    """Lawns, a pond, paths, a playing field and groups of trees."""
    plan.ground.add(PLOT, [land], colour=tinted(dice.pick(GRASS), dice), finish=LAWN)
    u, low, high, near, far = box(land)
    s, t = low + (high - low) * dice.between(0.36, 0.64), near + (far - near) * dice.between(0.36, 0.64)
    middle = (u[0] * s - u[1] * t, u[1] * s + u[0] * t)
    size = min(high - low, far - near) * dice.between(0.17, 0.25)
    pond(plan, middle, size, dice)
    parts, _ = subdivide(land, dice, target=area(land) / 7, shortest=80, widths=(0.0,), sway=0.2)
    for part in parts:
        green = shrink(part, 3.0, everywhere=True)
        if not green:
            continue
        roll = dice.random()
        off = max(abs(green[0][0] - middle[0]), abs(green[0][1] - middle[1]))
        if roll < 0.3 and off > size + 60:
            pitch(plan, green, dice)
        elif roll < 0.62:
            scatter(plan, green, dice, spacing=16, radius=(5, 10.5), share=0.75)
        elif roll < 0.74:
            plan.ground.add(PATCH, [green], colour=tinted(dice.pick(EARTH), dice), finish=SOIL)
        else:
            scatter(plan, green, dice, spacing=26, radius=(5, 10), share=0.5)
        for k, (x, y, _) in enumerate(part):
            x2, y2, _ = part[k + 1 - len(part)]
            path_along(plan, (x, y), (x2, y2), dice)


def path_along(plan: Plan, a: Point, b: Point, dice: Dice) -> None:
    """A gravel path, 2 m wide."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = float(np.sqrt(dx * dx + dy * dy))
    if length < 20 or dice.chance(0.3):
        return
    nx, ny = -dy / length * 2.2, dx / length * 2.2
    ring = [(a[0] + nx, a[1] + ny), (a[0] - nx, a[1] - ny), (b[0] - nx, b[1] - ny), (b[0] + nx, b[1] + ny)]
    plan.ground.add(PLOT, [ring], colour=(186, 172, 144), finish=PAVING)


def pond(plan: Plan, middle: Point, size: float, dice: Dice) -> None:
    """A pond with a bare shore."""
    swing = [dice.between(0.72, 1.25) for _ in range(8)]
    shape = []
    for k, (c, s) in enumerate(TURN):
        n, f = divmod(k, 3)
        r = swing[n] + (swing[(n + 1) % 8] - swing[n]) * (f / 3) * (f / 3) * (3 - 2 * f / 3)
        shape.append((r * c, r * s))
    for grow, colour, finish in ((size + 5, (150, 138, 108), SOIL), (size, (58, 78, 76), RIPPLES)):
        ring = [(middle[0] + grow * x, middle[1] + grow * y) for x, y in shape]
        plan.ground.add(PATCH, [ring], colour=tinted(colour, dice, 6), finish=finish)


def pitch(plan: Plan, green: Outline, dice: Dice) -> None:
    """A playing field with white lines, mown in bands."""
    u, low, high, near, far = box(green)
    middle = ((low + high) / 2, (near + far) / 2)
    frame = Frame((u[0] * middle[0] - u[1] * middle[1], u[1] * middle[0] + u[0] * middle[1]), u)
    a, b = min(105.0, (high - low) * 0.4), min(66.0, (far - near) * 0.4)
    if not all(contains(green, *p) for p in frame.rectangle(-a, -b, a, b)):
        a, b = a * 0.7, b * 0.7
    colour = tinted((88, 118, 66), dice)
    plan.ground.add(
        PLOT, [frame.rectangle(-a, -b, a, b)], colour=colour, finish=LAWN, stripe=(u[0] / 21, u[1] / 21, 0.05)
    )
    line: Colour = (206, 212, 198)
    for ring in (
        [frame.rectangle(4 - a, 4 - b, a - 4, b - 4), frame.rectangle(5.1 - a, 5.1 - b, a - 5.1, b - 5.1)],
        [frame.rectangle(-0.5, 4 - b, 0.5, b - 4)],
    ):
        plan.ground.add(PLOT, ring, colour=line, finish=LAWN)


def village(plan: Plan, blocks: list[Outline], dice: Dice) -> None:
    """Houses along the road in some blocks, fields and orchards in the others."""
    for block in blocks:
        part = straight(block)
        if len(part) < 3:
            continue
        roll = dice.random()
        if roll < 0.5:
            pieces, _ = subdivide(part, dice, target=22000, shortest=70, widths=(0.0,), sway=0.1)
            for n, piece in enumerate(pieces):
                (gardens if n % 2 == 0 or roll < 0.25 else one_field)(plan, piece, dice)
        elif roll < 0.62:
            plan.ground.add(BLOCK, [part], colour=tinted(dice.pick(GRASS), dice), finish=LAWN)
            scatter(plan, part, dice, spacing=17, radius=(4, 6), share=0.9)
        else:
            farmland(plan, part, dice)
