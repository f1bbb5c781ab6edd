"""Small near-convex polygons whose edges remember the street in front of them: cut, shrunk, measured.

An outline is a list of (x, y, reach): reach is half the width of the street along the edge that begins there, 0 where
there is none. Outlines turn so that the inside lies at (-dy, dx) of each edge (positive shoelace area).
"""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from math import sqrt

Point = tuple[float, float]
Ring = list[Point]
Outline = list[tuple[float, float, float]]


def area(ring: Outline | Ring) -> float:
    """The signed shoelace area in square units."""
    x1, y1 = ring[-1][0], ring[-1][1]
    twice = 0.0
    for vertex in ring:
        x2, y2 = vertex[0], vertex[1]
        twice += x1 * y2 - x2 * y1
        x1, y1 = x2, y2
    return twice / 2


def unit(dx: float, dy: float) -> Point:
    """A vector of length 1 in this direction; (1, 0) for none."""
    length = sqrt(dx * dx + dy * dy)
    return (dx / length, dy / length) if length > 1e-9 else (1.0, 0.0)


def clip(outline: Outline, normal: Point, *, offset: float, reach: float) -> Outline:
    """The part where normal · point >= offset (Sutherland, Hodgman); the cut's edge gets the reach given."""
    out: Outline = []
    nx, ny = normal
    side = [nx * x + ny * y - offset for x, y, _ in outline]
    for k, (x, y, tag) in enumerate(outline):
        here, there = side[k], side[k + 1 - len(side)]
        if here >= 0:
            out.append((x, y, tag))
        if (here >= 0) != (there >= 0):
            t = here / (here - there)
            x2, y2, _ = outline[k + 1 - len(side)]
            out.append((x + (x2 - x) * t, y + (y2 - y) * t, reach if here >= 0 else tag))
    return out if len(out) > 2 else []


def shrink(outline: Outline, margin: float, *, everywhere: bool = False) -> Outline:
    """The outline moved inwards by its streets' reach plus a margin; edges without a street stay unless told.

    The new edges keep the old reach, as a mark of where the street is.
    """
    out = outline
    for k, (x, y, reach) in enumerate(outline):
        if not reach and not everywhere:
            continue
        x2, y2, _ = outline[k + 1 - len(outline)]
        if abs(x2 - x) + abs(y2 - y) < 1e-6:
            continue
        dx, dy = unit(x2 - x, y2 - y)
        away = margin if everywhere else reach + margin
        out = clip(out, (-dy, dx), offset=-dy * x + dx * y + away, reach=reach)
        if not out:
            return []
    return out if area(out) > 4 else []


def box(outline: Outline | Ring) -> tuple[Point, float, float, float, float]:
    """The smallest rectangle around, along one of the edges.

    Returns:
        its long axis as a unit vector u; the extent along u (low, high) and along v = (-uy, ux) (low, high).
    """
    # Plain floats: outlines have 4 to 24 vertices, too few for numpy to pay.
    xs, ys = [p[0] for p in outline], [p[1] for p in outline]
    steps = [(xs[k] - xs[k - 1], ys[k] - ys[k - 1]) for k in range(len(xs))]
    longest = max(dx * dx + dy * dy for dx, dy in steps)
    best = None
    for dx, dy in steps:
        if dx * dx + dy * dy < 0.05 * longest or not longest:
            continue
        ux, uy = unit(dx, dy)
        along = [x * ux + y * uy for x, y in zip(xs, ys, strict=True)]
        across = [y * ux - x * uy for x, y in zip(xs, ys, strict=True)]
        found = (ux, uy), min(along), max(along), min(across), max(across)
        size = (found[2] - found[1]) * (found[4] - found[3])
        if best is None or size < best[0] - 1e-3:
            best = (size, found)
    if best is None:
        return (1.0, 0.0), xs[0], xs[0], ys[0], ys[0]
    u, low, high, near, far = best[1]
    if high - low >= far - near:
        return u, low, high, near, far
    return (-u[1], u[0]), near, far, -high, -low


def contains(outline: Outline, x: float, y: float, *, margin: float = 0.0) -> bool:
    """Whether a point is at least a margin inside every edge of a convex outline."""
    for k, (x1, y1, _) in enumerate(outline):
        x2, y2, _ = outline[k + 1 - len(outline)]
        dx, dy = x2 - x1, y2 - y1
        length = sqrt(dx * dx + dy * dy)
        if length > 1e-6 and dx * (y - y1) - dy * (x - x1) < margin * length:
            return False
    return True


def halves(outline: Outline, through: Point, *, normal: Point, reach: float) -> tuple[Outline, Outline, list[Point]]:
    """The two sides of a straight cut, and the cut's ends on the outline (no points where it misses)."""
    nx, ny = normal
    offset = nx * through[0] + ny * through[1]
    one = clip(outline, normal, offset=offset, reach=reach)
    other = clip(outline, (-nx, -ny), offset=-offset, reach=reach)
    on = [(-ny * x + nx * y, x, y) for x, y, _ in one if abs(nx * x + ny * y - offset) < 1e-6]
    ends = [(x, y) for _, x, y in (min(on), max(on))] if len(on) > 1 else []
    return one, other, ends
