"""One district's plan while it is drawn: what stands on it, gathered before anything is painted."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tasks.raster.world.geometry import Outline, Point, Ring, area, box, contains
from tasks.raster.world.roofs import Frame
from tasks.raster.world.shapes import ASPHALT, PAINTED, ROAD, Gatherer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tasks.raster.world.buildings import Building
    from tasks.raster.world.noise import Dice
    from tasks.raster.world.streets import Street

SUNS: tuple[Point, ...] = ((0.62, 0.7846), (0.28, 0.96), (-0.36, 0.933), (-0.707, 0.7072))
"""Where the sun stands, as a unit vector in the picture: south east to south west."""


@dataclass(slots=True)
class Plan:
    """What a district holds; lengths in half metres."""

    sun: Point
    ground: Gatherer = field(default_factory=Gatherer)
    streets: list[Street] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    trees: list[tuple[float, float, float]] = field(default_factory=list)
    """x, y, radius."""
    cars: list[tuple[float, float, float, float, int]] = field(default_factory=list)
    """x, y, direction, and the class of what they stand on."""
    banks: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    """Points of the river's middle line, (n, 3): x, y, half width with its banks."""

    def wet(self, points: NDArray[np.float64], margin: float = 0.0) -> NDArray[np.bool_]:
        """Which points lie in the river or on its banks, (n,) bool."""
        if not len(self.banks):
            return np.zeros(len(points), bool)
        dx = points[:, :1] - self.banks[:, 0]
        dy = points[:, 1:2] - self.banks[:, 1]
        reach = self.banks[:, 2] + margin
        return np.asarray((dx * dx + dy * dy < reach * reach).any(1))

    def park_car(self, at: Point, u: Point, *, on: int = ROAD) -> None:
        """One car."""
        self.cars.append((*at, *u, on))


def frontage(parcel: Outline) -> tuple[Frame, float, float]:
    """The frame of a parcel's edge to the street (its longest edge where there is none), its length and depth."""
    best, at, edge = -1.0, 0, (1.0, 0.0, 0.0)
    for k, (x, y, reach) in enumerate(parcel):
        x2, y2, _ = parcel[k + 1 - len(parcel)]
        length = float(np.sqrt((x2 - x) * (x2 - x) + (y2 - y) * (y2 - y)))
        weight = length * (100.0 if reach > 0 else 1.0)
        if weight > best and length > 1e-6:
            best, at, edge = weight, k, ((x2 - x) / length, (y2 - y) / length, length)
    x, y, _ = parcel[at]
    ux, uy, _ = edge
    # A curved avenue leaves several edges: the frame stands at the middle of the whole parcel's front.
    along = [ux * (px - x) + uy * (py - y) for px, py, _ in parcel]
    depth = max(-uy * (px - x) + ux * (py - y) for px, py, _ in parcel)
    middle = (min(along) + max(along)) / 2
    return Frame((x + ux * middle, y + uy * middle), (ux, uy)), max(along) - min(along), depth


def central(parcel: Outline) -> tuple[Frame, float, float]:
    """The frame in the middle of a parcel along its longer side, with the box's half sides."""
    u, low, high, near, far = box(parcel)
    s, t = (low + high) / 2, (near + far) / 2
    return Frame((u[0] * s - u[1] * t, u[1] * s + u[0] * t), u), (high - low) / 2, (far - near) / 2


def fits(parcel: Outline, ring: Ring, margin: float) -> bool:
    """Whether a rectangle's corners all lie inside a convex parcel."""
    return all(contains(parcel, x, y, margin=margin) for x, y in ring)


def settle(
    parcel: Outline, frame: Frame, spot: Point, *, half: tuple[float, float], margin: float, least: float
) -> tuple[Frame, tuple[float, float]] | None:
    """A rectangle at local (s, t), made smaller until it fits the parcel; None below the least half side."""
    a, b = half
    for _ in range(5):
        if min(a, b) < least:
            return None
        place = Frame(frame.at(*spot), frame.u)
        if fits(parcel, place.rectangle(-a, -b, a, b), margin):
            return place, (a, b)
        a, b = a * 0.87, b * 0.87
    return None


def scatter(
    plan: Plan, area: Outline, dice: Dice, *, spacing: float, radius: tuple[float, float], share: float = 1.0
) -> None:
    """Trees on a jittered lattice inside a convex outline."""
    xy = np.array([(p[0], p[1]) for p in area])
    (x0, y0), (x1, y1) = xy.min(0), xy.max(0)
    nx, ny = int((x1 - x0) / spacing) + 1, int((y1 - y0) / spacing) + 1
    roll = dice.array(nx * ny * 4).reshape(4, ny, nx)
    x = x0 + (np.arange(nx) + 0.05 + 0.9 * roll[0]) * spacing
    y = y0 + (np.arange(ny)[:, None] + 0.05 + 0.9 * roll[1]) * spacing
    inside = roll[3] < share
    step = np.roll(xy, -1, axis=0) - xy
    for (px, py), (dx, dy) in zip(xy, step, strict=True):
        inside &= dx * (y - py) - dy * (x - px) >= 0
    r = radius[0] + (radius[1] - radius[0]) * roll[2] * roll[2]
    plan.trees += list(zip(x[inside].tolist(), y[inside].tolist(), r[inside].tolist(), strict=True))


def sprinkle(
    plan: Plan, lot: Outline, dice: Dice, *, spacing: float, radius: tuple[float, float], share: float
) -> None:
    """A few trees anywhere inside a small convex outline."""
    xs, ys = [p[0] for p in lot], [p[1] for p in lot]
    for _ in range(int(area(lot) / (spacing * spacing) * share * 1.3 + dice.random())):
        x, y = dice.between(min(xs), max(xs)), dice.between(min(ys), max(ys))
        if contains(lot, x, y, margin=1.0):
            plan.trees.append((x, y, dice.between(*radius)))


def car_park(plan: Plan, frame: Frame, half: tuple[float, float], dice: Dice, *, layer: int) -> None:
    """Asphalt with rows of stalls (class road), cars on most of them and a few trees between."""
    a, b = half
    grey = dice.between(92, 134)
    plan.ground.add(layer, [frame.rectangle(-a, -b, a, b)], colour=(grey, grey, grey * 1.01), finish=ASPHALT)
    full = dice.between(0.35, 0.85)
    v = (-frame.u[1], frame.u[0])
    t = -b + 1
    while t + 10 <= b:
        stalls = int((2 * a - 4) / 5.6)
        taken = dice.array(stalls * 2)
        for n in range(stalls + 1):
            s = -a + 2 + n * 5.6
            line = frame.rectangle(s - 0.5, t, s + 0.5, t + 9.5)
            plan.ground.add(layer, [line], colour=(grey + 42, grey + 42, grey + 40), finish=PAINTED)
            if n < stalls and taken[n] < full:
                plan.park_car(
                    frame.at(s + 2.8, t + 4.8 + taken[stalls + n]), v if taken[stalls + n] < 0.5 else (-v[0], -v[1])
                )
            elif n % 9 == 4:
                plan.trees.append((*frame.at(s, t + 10), 4.0 + 2.5 * full))
        t += 10.5 if int((t + b) / 10.5) % 3 == 0 else 24.5
