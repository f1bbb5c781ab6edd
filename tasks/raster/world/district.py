"""One district of the world, planned whole from its place in the lattice alone, and kept for its neighbours."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tasks.raster.world import lattice
from tasks.raster.world.cars import draw_cars
from tasks.raster.world.country import farmland, park, village, woods
from tasks.raster.world.geometry import Outline, Ring, shrink
from tasks.raster.world.greenery import draw_trees
from tasks.raster.world.lines import walk
from tasks.raster.world.noise import Dice, key
from tasks.raster.world.plan import SUNS, Plan
from tasks.raster.world.quarters import build_block
from tasks.raster.world.roofs import tinted
from tasks.raster.world.shapes import (
    BANK,
    BASE,
    LAND,
    LAWN,
    PAVING,
    RIPPLES,
    ROOF,
    SOIL,
    WATER,
    Finish,
    Gatherer,
    Shapes,
)
from tasks.raster.world.streets import Street, subdivide
from tasks.raster.world.traffic import pave

SHADE = Finish(LAND, 0.0, 0.0, 0.0, 0.0)
SHORE = 17.0
"""Bank on each side of the water."""

BLOCKS: dict[str, tuple[float, float, tuple[float, ...], float]] = {
    lattice.CENTRE: (26000, 105, (20.0, 17.0, 15.0), 0.09),
    lattice.TERRACES: (26000, 100, (16.0, 14.0), 0.06),
    lattice.HOUSES: (28000, 90, (15.0, 14.0, 12.0), 0.13),
    lattice.INDUSTRY: (76000, 190, (20.0, 18.0), 0.06),
    lattice.VILLAGE: (70000, 150, (11.0, 9.0), 0.15),
    lattice.FIELDS: (150000, 240, (9.0,), 0.12),
    lattice.WOODS: (500000, 300, (8.0,), 0.1),
    lattice.PARK: (500000, 300, (8.0,), 0.1),
}
"""By kind: a block's target area, its shortest side, the streets' widths by depth, and how crooked the cuts are."""


@dataclass(frozen=True, slots=True)
class District:
    """What can be seen of a district, and what is true of it; layout units (half metres)."""

    ground: Shapes
    shadows: Shapes
    buildings: list[list[Ring]]
    """Footprints: outer ring, then holes."""
    roads: list[Street]


@lru_cache(maxsize=48)
def district(seed: int, i: int, j: int) -> District:
    """The district below and right of node (i, j), with its upper and left avenue."""
    what = lattice.kind(seed, i, j)
    urban = what in lattice.URBAN
    dice = Dice(key(seed, "district", i, j))
    plan = Plan(SUNS[key(seed, "sun") % len(SUNS)])
    edge = lattice.outline(seed, i, j)
    dig_river(plan, seed, i, j)
    base = tinted((166, 160, 150), dice, 8) if urban else tinted((112, 112, 76), dice, 8)
    plan.ground.add(BASE, [edge], colour=base, finish=PAVING if urban else LAWN)
    target, shortest, widths, sway = BLOCKS[what]
    blocks, streets = subdivide(edge, dice, target=target, shortest=shortest, widths=widths, sway=sway)
    plan.streets = [piece for street in streets for piece in dry_pieces(plan, street)]
    inner = [b for b in (shrink(block, 4.5 if urban else 2.0) for block in blocks) if b]
    fill_blocks(plan, inner, what, dice)
    if plan.cars:
        drowned = plan.wet(np.array(plan.cars)[:, :2], 3.0)
        plan.cars = [car for car, gone in zip(plan.cars, drowned, strict=True) if not gone]
    for down in (False, True):
        width = lattice.side_width(seed, i, j, down=down)
        if width:
            plan.streets.append(Street(lattice.side(seed, i, j, down=down), width, avenue=True))
    for street in plan.streets:
        pave(plan, street, dice, urban=urban)
    line_streets(plan, dice, urban=urban)
    return finish(plan, dice)


def fill_blocks(plan: Plan, blocks: list[Outline], what: str, dice: Dice) -> None:
    """What the kind of district puts into its blocks."""
    if what == lattice.VILLAGE:
        village(plan, blocks, dice)
        return
    for block in blocks:
        if what == lattice.FIELDS:
            farmland(plan, block, dice)
        elif what == lattice.WOODS:
            woods(plan, block, dice)
        elif what == lattice.PARK:
            park(plan, block, dice)
        else:
            build_block(plan, block, what, dice)


def dig_river(plan: Plan, seed: int, i: int, j: int) -> None:
    """The river's water and banks, where one runs through this row; all else keeps away from them."""
    columns = lattice.along_columns(seed)
    if not lattice.river_row(seed, i if columns else j):
        return
    reaches = []
    for step in (-1, 0, 1):
        line, across, half = lattice.river(seed, *((i, j + step) if columns else (i + step, j)))
        reaches += [(x, y, w + SHORE) for (x, y), w in zip(line, half, strict=True)]
        if step == 0:
            dice = Dice(key(seed, "bank", i, j))
            for more, layer, colour, look in (
                (SHORE, BANK, (104, 108, 70), LAWN),
                (3.0, BANK, (140, 128, 100), SOIL),
                (0.0, WATER, (70, 84, 76), RIPPLES),
            ):
                wide = [w + more for w in half]
                left = [(x + n[0] * w, y + n[1] * w) for (x, y), n, w in zip(line, across, wide, strict=True)]
                right = [(x - n[0] * w, y - n[1] * w) for (x, y), n, w in zip(line, across, wide, strict=True)]
                plan.ground.add(layer, [left + right[::-1]], colour=colour, finish=look)
            for (x, y), n, w in zip(line, across, half, strict=True):
                for sign in (-1.0, 1.0):
                    if dice.chance(0.4):
                        off = sign * (w + dice.between(5, SHORE))
                        plan.trees.append((x + n[0] * off, y + n[1] * off, dice.between(3.5, 8)))
    plan.banks = np.array(reaches)


def dry_pieces(plan: Plan, street: Street) -> list[Street]:
    """The parts of a minor street that do not run into the river."""
    if not len(plan.banks):
        return [street]
    (ax, ay), (bx, by) = street.line
    count = max(2, int((abs(bx - ax) + abs(by - ay)) / 6))
    f = np.arange(count + 1) / count
    points = np.stack([ax + (bx - ax) * f, ay + (by - ay) * f], 1)
    wet = plan.wet(points, street.width / 2 + 1)
    if not wet.any():
        return [street]
    change = np.flatnonzero(np.diff(np.concatenate([[True], wet, [True]]).astype(int)))
    out = []
    for first, stop in zip(change[0::2], change[1::2], strict=True):
        # A piece cut off on both sides would lead nowhere.
        if stop - first > 3 and (first == 0 or stop == len(points)):
            a, b = points[first], points[stop - 1]
            out.append(Street([(float(a[0]), float(a[1])), (float(b[0]), float(b[1]))], street.width))
    return out


def line_streets(plan: Plan, dice: Dice, *, urban: bool) -> None:
    """Trees along some streets."""
    for street in plan.streets:
        if not dice.chance(0.5 if urban else 0.35):
            continue
        offset = street.width / 2 + (3.0 if urban else 6.0)
        gap = dice.between(15, 30)
        for x, y, ux, uy in walk(street.line, gap, offset * 2):
            for sign in (-1.0, 1.0):
                if dice.chance(0.7):
                    r = dice.between(3.2, 6.2)
                    plan.trees.append((x - uy * sign * offset, y + ux * sign * offset, r))


def finish(plan: Plan, dice: Dice) -> District:
    """Roofs, cars, trees and shadows, once everything has its place."""
    dry = []
    for building in plan.buildings:
        corners = np.array(building.rings[0])
        middles = (corners + corners[np.arange(len(corners)) - 1]) / 2
        if not plan.wet(np.concatenate([corners, middles, corners.mean(0)[None]]), 2.0).any():
            dry.append(building)
    for building in dry:
        colour = building.facets[0].colour
        plan.ground.add(ROOF, building.rings, colour=colour, finish=building.facets[0].finish)
        for facet in building.facets:
            if (
                len(building.rings) > 1
                and facet is building.facets[0]
                and len(building.facets[0].ring) == len(building.rings[0])
            ):
                continue  # a whole-footprint facet would cover the courtyard
            plan.ground.add(ROOF, [facet.ring], colour=facet.colour, finish=facet.finish, stripe=facet.stripe)
    shadows = Gatherer()
    shades = [draw_cars(plan, dice)]
    shades.append(draw_trees(plan, dice, plan.ground.done()))
    for shade in shades:
        shadows.add_many(0, shade, colours=np.zeros((len(shade), 3)), finish=SHADE)
    swept = []
    for building in dry:
        shift = (-plan.sun[0] * building.height, -plan.sun[1] * building.height)
        for ring in building.rings:
            for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
                swept.append([(ax, ay), (bx, by), (bx + shift[0], by + shift[1]), (ax + shift[0], ay + shift[1])])
        moved = [[(x + shift[0], y + shift[1]) for x, y in ring] for ring in building.rings]
        shadows.add(0, moved, colour=(0, 0, 0), finish=SHADE)
    shadows.add_many(0, np.array(swept).reshape(-1, 4, 2), colours=np.zeros((len(swept), 3)), finish=SHADE)
    return District(plan.ground.done(), shadows.done(), [b.rings for b in dry], plan.streets)
