"""Roofs: planes lit by the sun, ridges, hips and valleys, and the machines on flat ones."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.raster.world.shapes import MEMBRANE, PLAIN, TILES, Colour, Finish, Stripe

if TYPE_CHECKING:
    from tasks.raster.world.geometry import Point, Ring
    from tasks.raster.world.noise import Dice


@dataclass(frozen=True, slots=True)
class Facet:
    """One plane of a roof, or a thing on it."""

    ring: Ring
    colour: Colour
    finish: Finish = TILES
    stripe: Stripe = PLAIN


@dataclass(frozen=True, slots=True)
class Frame:
    """A place and a direction: local (s, t) become x, y."""

    origin: Point
    u: Point

    def at(self, s: float, t: float) -> Point:
        """Layout coordinates of s along u and t across it."""
        return self.origin[0] + s * self.u[0] - t * self.u[1], self.origin[1] + s * self.u[1] + t * self.u[0]

    def ring(self, points: list[Point]) -> Ring:
        """Layout coordinates of a local ring."""
        return [self.at(s, t) for s, t in points]

    def rectangle(self, s0: float, t0: float, s1: float, t1: float) -> Ring:
        """An upright local rectangle."""
        return self.ring([(s0, t0), (s1, t0), (s1, t1), (s0, t1)])


def shaded(colour: Colour, facing: Point, sun: Point, *, slope: float = 0.30) -> Colour:
    """The colour of a roof plane that falls towards `facing`; `sun` points to the sun."""
    light = 1.0 + slope * (facing[0] * sun[0] + facing[1] * sun[1])
    return colour[0] * light, colour[1] * light, colour[2] * (0.06 + 0.94 * light)


def tinted(colour: Colour, dice: Dice, amount: float = 12.0) -> Colour:
    """A colour a little lighter or darker, warmer or cooler."""
    level, warm = dice.between(-amount, amount), dice.between(-amount, amount) / 4
    return colour[0] + level + warm, colour[1] + level, colour[2] + level - warm


def gable(
    frame: Frame, half: tuple[float, float], *, hips: tuple[float, float], colour: Colour, sun: Point
) -> list[Facet]:
    """Two roof planes along a ridge, and two more where a hip is longer than 0 (at -u, at +u)."""
    a, b = half
    west, east = -a + hips[0], a - hips[1]
    u, v = frame.u, (-frame.u[1], frame.u[0])
    tiles = (v[0] / 2.3, v[1] / 2.3, 0.04)
    out = [
        Facet(frame.ring([(-a, -b), (a, -b), (east, 0), (west, 0)]), shaded(colour, (-v[0], -v[1]), sun), stripe=tiles),
        Facet(frame.ring([(west, 0), (east, 0), (a, b), (-a, b)]), shaded(colour, v, sun), stripe=tiles),
    ]
    if hips[0]:
        out.append(Facet(frame.ring([(-a, -b), (west, 0), (-a, b)]), shaded(colour, (-u[0], -u[1]), sun)))
    if hips[1]:
        out.append(Facet(frame.ring([(a, -b), (a, b), (east, 0)]), shaded(colour, u, sun)))
    ridge = shaded(colour, sun, sun, slope=0.2)
    out.append(Facet(frame.rectangle(west, -0.55, east, 0.55), ridge))
    return out


def wing(frame: Frame, s: float, *, half: float, reach: tuple[float, float], colour: Colour, sun: Point) -> list[Facet]:
    """The roof of a wing around s, from the main eaves t0 out to t1, its valleys running up into the main roof."""
    t0, t1 = reach
    up = half if t1 < t0 else -half
    u = frame.u
    left = frame.ring([(s - half, t1), (s, t1), (s, t0 + up), (s - half, t0)])
    right = frame.ring([(s, t1), (s + half, t1), (s + half, t0), (s, t0 + up)])
    ridge = frame.rectangle(s - 0.5, min(t1, t0 + up), s + 0.5, max(t1, t0 + up))
    return [
        Facet(left, shaded(colour, (-u[0], -u[1]), sun)),
        Facet(right, shaded(colour, u, sun)),
        Facet(ridge, shaded(colour, sun, sun, slope=0.2)),
    ]


def things(frame: Frame, dice: Dice, sun: Point, *, on: tuple[float, float, float, float], count: int) -> list[Facet]:
    """Air conditioners, vents and hatches on a flat roof, each with its own little shadow."""
    s0, t0, s1, t1 = on
    out: list[Facet] = []
    if s1 - s0 < 6 or t1 - t0 < 6:
        return out
    for _ in range(count):
        w, d = dice.between(2.0, 5.5), dice.between(2.0, 4.5)
        s, t = dice.between(s0, s1 - w), dice.between(t0, t1 - d)
        ring = frame.rectangle(s, t, s + w, t + d)
        dark = [(x - 1.6 * sun[0], y - 1.6 * sun[1]) for x, y in ring]
        out.append(Facet(dark, (70, 70, 76), MEMBRANE))
        out.append(Facet(ring, tinted(dice.pick(((205, 205, 202), (150, 152, 156), (228, 228, 226))), dice), MEMBRANE))
    return out
