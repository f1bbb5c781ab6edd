"""Buildings: a footprint of right angles, or a block around its courtyard, under a roof lit by the sun."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.raster.world.geometry import Outline, Point, Ring, shrink, unit
from tasks.raster.world.roofs import Facet, Frame, gable, shaded, things, tinted, wing
from tasks.raster.world.shapes import MEMBRANE, Colour

if TYPE_CHECKING:
    from tasks.raster.world.noise import Dice

PITCHED: tuple[Colour, ...] = (
    (150, 96, 80), (136, 84, 72), (156, 112, 92), (122, 88, 76), (110, 86, 76), (140, 120, 102),
    (88, 86, 88), (104, 106, 112), (122, 122, 124), (96, 78, 70), (150, 142, 132),
)  # fmt: skip
FLAT: tuple[Colour, ...] = (
    (168, 166, 162), (188, 186, 180), (142, 140, 138), (120, 118, 118), (206, 204, 198), (222, 222, 218),
    (176, 164, 146), (104, 102, 104), (158, 142, 124), (130, 134, 142),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Building:
    """A footprint (outer ring, then holes), a height in half metres for its shadow, and the roof from the eaves up."""

    rings: list[Ring]
    height: float
    facets: list[Facet] = field(default_factory=list)


def house(frame: Frame, half: tuple[float, float], dice: Dice, sun: Point) -> Building:
    """A detached house: a rectangle or an L, under a gable or hipped roof, now and then a flat one."""
    a, b = half
    if dice.chance(0.12):
        return slab(frame, half, dice, sun, shape="L" if dice.chance(0.4) else "I", height=dice.between(6, 9))
    colour = tinted(dice.pick(PITCHED), dice)
    hips = (b * 0.9, b * 0.9) if dice.chance(0.42) else (0.0, 0.0)
    if dice.chance(0.42) and b > 7:
        arm = b * dice.between(0.55, 0.75)
        out = b * dice.between(0.35, 0.6)
        s = dice.pick((-1.0, 1.0)) * (a - arm)
        main = b - out / 2
        centre = Frame(frame.at(0, -out / 2), frame.u)
        ring = corner_ring(a, main, s=s, arm=arm, out=out)
        facets = gable(centre, (a, main), hips=(0.0, 0.0), colour=colour, sun=sun)
        facets += wing(centre, s, half=arm, reach=(main, main + out), colour=colour, sun=sun)
        rings = [centre.ring(ring)]
    else:
        centre, main = frame, b
        facets = gable(frame, half, hips=hips, colour=colour, sun=sun)
        rings = [frame.rectangle(-a, -b, a, b)]
    if dice.chance(0.7):
        s, t = dice.between(-0.5, 0.5) * a, dice.pick((-1.0, 1.0)) * main * dice.between(0.12, 0.4)
        stack = centre.rectangle(s, t, s + 1.9, t + 1.9)
        facets.append(Facet([(x - 2.4 * sun[0], y - 2.4 * sun[1]) for x, y in stack], (62, 56, 56), MEMBRANE))
        facets.append(Facet(stack, (172, 140, 126), MEMBRANE))
    elif dice.chance(0.4):
        solar = centre.rectangle(-0.6 * a, main * 0.2, 0.45 * a, main * 0.85)
        facets.append(Facet(solar, (44, 50, 70), MEMBRANE, (frame.u[0] / 3.1, frame.u[1] / 3.1, 0.2)))
    return Building(rings, dice.between(8, 14), facets)


def corner_ring(a: float, b: float, *, s: float, arm: float, out: float) -> Ring:
    """A rectangle with one wing at +t, which may be flush with an end (an L) or not (a T)."""
    points: Ring = [
        (-a, -b),
        (a, -b),
        (a, b),
        (s + arm, b),
        (s + arm, b + out),
        (s - arm, b + out),
        (s - arm, b),
        (-a, b),
    ]
    return [p for k, p in enumerate(points) if abs(p[0] - points[k - 1][0]) + abs(p[1] - points[k - 1][1]) > 1e-6]


def slab(frame: Frame, half: tuple[float, float], dice: Dice, sun: Point, *, shape: str, height: float) -> Building:
    """A flat-roofed building shaped I, L, T, U or O, with a parapet and machines on the roof."""
    a, b = half
    d = min(max(0.36 * 2 * b, 18.0), 2 * b) if shape != "I" else 2 * b
    w = min(d, 0.8 * a)
    holes: list[Ring] = []
    local: dict[str, Ring] = {
        "I": [(-a, -b), (a, -b), (a, b), (-a, b)],
        "L": [(-a, -b), (a, -b), (a, -b + d), (-a + w, -b + d), (-a + w, b), (-a, b)],
        "T": [(-a, -b), (a, -b), (a, -b + d), (w / 2, -b + d), (w / 2, b), (-w / 2, b), (-w / 2, -b + d), (-a, -b + d)],
        "U": [(-a, -b), (a, -b), (a, b), (a - w, b), (a - w, -b + d), (-a + w, -b + d), (-a + w, b), (-a, b)],
        "O": [(-a, -b), (a, -b), (a, b), (-a, b)],
    }
    ring = local[shape]
    if shape == "O":
        holes = [[(-a + w, -b + d), (a - w, -b + d), (a - w, b - d), (-a + w, b - d)]]
        if a - w < 6 or b - d < 6:
            holes = []
    colour = tinted(dice.pick(FLAT), dice)
    edge = shaded(colour, sun, sun, slope=dice.pick((-0.16, 0.14)))
    inner: Outline = shrink([(s, t, 0.0) for s, t in ring], 1.3, everywhere=True) if shape == "I" else []
    facets = [Facet(frame.ring(ring), edge, MEMBRANE)]
    if inner:
        facets.append(Facet(frame.ring([(s, t) for s, t, _ in inner]), colour, MEMBRANE))
    else:
        facets[0] = Facet(frame.ring(ring), colour, MEMBRANE)
    if dice.chance(0.3) and shape == "I" and a > 26:
        seam = frame.at(dice.between(-0.3, 0.3) * a, 0)
        part = Frame(seam, frame.u)
        facets.append(
            Facet(part.rectangle(-2 * b * 0.3, -b + 1.3, 2 * b * 0.3, b - 1.3), tinted(colour, dice, 16), MEMBRANE)
        )
    count = 1 + int(a * d / 240)
    facets += things(frame, dice, sun, on=(-a + 3, -b + 3, a - 3, -b + d - 3), count=min(count, 9))
    return Building([frame.ring(ring), *(frame.ring(h) for h in holes)], height, facets)


def hall(frame: Frame, half: tuple[float, float], dice: Dice, sun: Point) -> Building:
    """An industrial hall: standing seams or shallow bays, skylights in rows, machines along an edge."""
    a, b = half
    u = frame.u
    colour = tinted(dice.pick(FLAT), dice, 16)
    seam = (u[0] / 4.3, u[1] / 4.3, 0.045)
    rings = [frame.rectangle(-a, -b, a, b)]
    facets = [Facet(rings[0], shaded(colour, sun, sun, slope=-0.18), MEMBRANE)]
    facets.append(Facet(frame.rectangle(-a + 1.5, -b + 1.5, a - 1.5, b - 1.5), colour, MEMBRANE, seam))
    bays = max(1, int(2 * b / 46)) if dice.chance(0.5) else 0
    v = (-u[1], u[0])
    for n in range(bays):
        t0, t1 = -b + 1.5 + (2 * b - 3) * n / bays, -b + 1.5 + (2 * b - 3) * (n + 1) / bays
        light, dark = shaded(colour, v, sun, slope=0.12), shaded(colour, (-v[0], -v[1]), sun, slope=0.12)
        facets.append(Facet(frame.rectangle(-a + 1.5, t0, a - 1.5, (t0 + t1) / 2), dark, MEMBRANE, seam))
        facets.append(Facet(frame.rectangle(-a + 1.5, (t0 + t1) / 2, a - 1.5, t1), light, MEMBRANE, seam))
    if dice.chance(0.6):
        rows = max(1, int(2 * b / 40))
        glass = tinted(dice.pick(((226, 230, 232), (120, 130, 140))), dice)
        for n in range(rows):
            t = -b + (2 * b) * (n + 0.5) / rows
            s = -a + 10
            while s < a - 16:
                facets.append(Facet(frame.rectangle(s, t - 1.4, s + 7, t + 1.4), glass, MEMBRANE))
                s += 18
    facets += things(frame, dice, sun, on=(-a + 4, -b + 4, a - 4, b - 4), count=min(2 + int(a * b / 900), 12))
    return Building(rings, dice.between(14, 24), facets)


def perimeter(block: Outline, dice: Dice, sun: Point, *, depth: float) -> Building | None:
    """A closed block around its courtyard: houses of several colours, ridge in the middle, eaves to both sides."""
    ring = [(p[0], p[1], 0.0) for p in block]
    middle, inner = shrink(ring, depth / 2, everywhere=True), shrink(ring, depth, everywhere=True)
    if not (len(ring) == len(middle) == len(inner)):
        return None
    base = dice.pick(PITCHED)
    facets: list[Facet] = []
    for k in range(len(ring)):
        n = k + 1 - len(ring)
        (ax, ay), (bx, by) = ring[k][:2], ring[n][:2]
        u = unit(bx - ax, by - ay)
        v = (-u[1], u[0])
        length = (bx - ax) * u[0] + (by - ay) * u[1]
        houses = max(1, int(length / dice.between(28, 46)))
        for m in range(houses):
            f0, f1 = m / houses, (m + 1) / houses
            colour = tinted(base if dice.chance(0.5) else dice.pick(PITCHED), dice)
            out0, out1 = between(ring[k], ring[n], f0), between(ring[k], ring[n], f1)
            top0, top1 = between(middle[k], middle[n], f0), between(middle[k], middle[n], f1)
            in0, in1 = between(inner[k], inner[n], f0), between(inner[k], inner[n], f1)
            facets.append(Facet([out0, out1, top1, top0], shaded(colour, (-v[0], -v[1]), sun)))
            facets.append(Facet([top0, top1, in1, in0], shaded(colour, v, sun)))
            if dice.chance(0.6):
                x, y = between((*top0, 0.0), (*top1, 0.0), dice.between(0.2, 0.8))
                stack = Frame((x, y), u).rectangle(-1.2, 0.8, 1.2, 3.0)
                facets.append(Facet([(p - 2.6 * sun[0], q - 2.6 * sun[1]) for p, q in stack], (60, 56, 56), MEMBRANE))
                facets.append(Facet(stack, (160, 134, 120), MEMBRANE))
    rings = [[(p[0], p[1]) for p in ring], [(p[0], p[1]) for p in inner]]
    return Building(rings, dice.between(22, 32), facets)


def between(a: tuple[float, float, float], b: tuple[float, float, float], f: float) -> Point:
    """The point at a part of the way from a to b."""
    return a[0] + (b[0] - a[0]) * f, a[1] + (b[1] - a[1]) * f
