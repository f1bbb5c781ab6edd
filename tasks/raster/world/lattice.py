"""The world's skeleton: an endless warped lattice of avenues, what each district between them is, and the river.

Lengths are in half metres. The lattice's nodes are moved by a smooth warp and a jitter small enough that every
district stays near-convex; avenues are Catmull-Rom curves through the nodes, so they run on across the whole map.
Districts are dealt in groups of 2 x 2, so that every square kilometre has its share of everything.
"""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from functools import lru_cache

from tasks.raster.world.geometry import Outline, Point, Ring, unit
from tasks.raster.world.noise import Dice, key, value_at

SPACING = 640.0
STEPS = 6
"""Straight pieces of an avenue between two nodes."""

CENTRE, TERRACES, HOUSES, INDUSTRY, VILLAGE, FIELDS, WOODS, PARK = (
    "centre", "terraces", "houses", "industry", "village", "fields", "woods", "park",
)  # fmt: skip
URBAN = frozenset({CENTRE, TERRACES, HOUSES, INDUSTRY})
ROSTERS = (
    (CENTRE, HOUSES, INDUSTRY, FIELDS),
    (CENTRE, HOUSES, TERRACES, PARK),
    (HOUSES, INDUSTRY, CENTRE, WOODS),
    (HOUSES, TERRACES, CENTRE, FIELDS),
    (HOUSES, VILLAGE, FIELDS, PARK),
    (VILLAGE, FIELDS, FIELDS, WOODS),
)
"""Four districts of a group, from town to country."""
RIVER_EVERY = 7
"""Rows of districts from one river to the next."""


@lru_cache(4096)
def node(seed: int, i: int, j: int) -> Point:
    """Where two avenues cross."""
    dice = Dice(key(seed, "node", i, j))
    warp_x, warp_y = value_at(seed, "warp x", i / 5, j / 5), value_at(seed, "warp y", i / 5, j / 5)
    return (
        SPACING * (i + 0.34 * warp_x + dice.between(-0.13, 0.13)),
        SPACING * (j + 0.34 * warp_y + dice.between(-0.13, 0.13)),
    )


@lru_cache(4096)
def kind(seed: int, i: int, j: int) -> str:
    """What the district below and right of a node is."""
    group_i, group_j = i // 2, j // 2
    density = value_at(seed, "density", group_i / 3 + 0.5, group_j / 3 + 0.5)
    grade = int(2.9 - 4.2 * density)
    if (group_i, group_j) == (0, 0):
        grade = 0  # the corner that the smallest worlds show holds a town's edge, with everything in it
    elif group_i in {0, 1} and group_j in {0, 1}:
        grade = min(max(grade, 1), 3)
    roster = list(ROSTERS[min(max(grade, 0), 5)])
    dice = Dice(key(seed, "deal", group_i, group_j))
    for last in (3, 2, 1):
        other = int(dice.random() * (last + 1))
        roster[last], roster[other] = roster[other], roster[last]
    return roster[(j % 2) * 2 + i % 2]


def side_width(seed: int, i: int, j: int, *, down: bool) -> float:
    """The carriageway's width from a node to the next one right or down, half metres; 0 where there is no road."""
    beside = kind(seed, i - 1, j) if down else kind(seed, i, j - 1)
    urban = (kind(seed, i, j) in URBAN) + (beside in URBAN)
    dice = Dice(key(seed, "avenue", i, j, int(down)))
    main = key(seed, "main", j if not down else i, int(down)) % 3 == 0
    if urban == 2:
        return 29.0 if main else dice.pick((18.0, 20.0, 22.0))
    if urban == 1:
        return 24.0 if main else 16.0
    return 12.0 if not down or main or dice.chance(0.45) else 0.0


@lru_cache(4096)
def side(seed: int, i: int, j: int, *, down: bool) -> Ring:
    """The curve from a node to the next one right or down, STEPS + 1 points."""
    di, dj = (0, 1) if down else (1, 0)
    a, b, c, d = (node(seed, i + k * di, j + k * dj) for k in (-1, 0, 1, 2))
    out = []
    for step in range(STEPS + 1):
        t = step / STEPS
        out.append((spline(a[0], b[0], c[0], d[0], t=t), spline(a[1], b[1], c[1], d[1], t=t)))
    return out


def spline(a: float, b: float, c: float, d: float, *, t: float) -> float:
    """Catmull-Rom interpolation between b (t = 0) and c (t = 1)."""
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def outline(seed: int, i: int, j: int) -> Outline:
    """A district's edge along the middle of its avenues."""
    out: Outline = []
    sides = (
        (side(seed, i, j, down=False), side_width(seed, i, j, down=False)),
        (side(seed, i + 1, j, down=True), side_width(seed, i + 1, j, down=True)),
        (side(seed, i, j + 1, down=False)[::-1], side_width(seed, i, j + 1, down=False)),
        (side(seed, i, j, down=True)[::-1], side_width(seed, i, j, down=True)),
    )
    for curve, width in sides:
        out += [(x, y, width / 2) for x, y in curve[:-1]]
    return out


def river_row(seed: int, j: int) -> bool:
    """Whether a river runs through this row of districts (columns, for every other seed)."""
    return (j - key(seed, "river row") % 2) % RIVER_EVERY == 0


def along_columns(seed: int) -> bool:
    """Whether rivers run down the columns instead of along the rows."""
    return key(seed, "river axis") % 2 == 1


@lru_cache(2048)
def river(seed: int, i: int, j: int, *, pieces: int = 64) -> tuple[Ring, Ring, list[float]]:
    """The river inside one district of its row: it crosses the avenues between, never along one.

    Returns:
        its middle line from one avenue to the next, pieces + 1 points; the unit vectors across; half widths.
    """
    columns = along_columns(seed)
    line, start = (i, j) if columns else (j, i)

    def bend(k: int) -> Point:
        """The k-th bend: how far along the row, in quarters of a district, and where across it, 0 to 1."""
        dice = Dice(key(seed, "bend", line, k))
        s, v = k / 4 + dice.between(-0.05, 0.05), 0.5 + dice.between(-0.21, 0.21)
        n = int(s // 1)
        f = s - n
        if columns:
            corners = node(seed, line, n), node(seed, line + 1, n), node(seed, line, n + 1), node(seed, line + 1, n + 1)
        else:
            corners = node(seed, n, line), node(seed, n, line + 1), node(seed, n + 1, line), node(seed, n + 1, line + 1)
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
        x1, y1, x2, y2 = ax + (bx - ax) * v, ay + (by - ay) * v, cx + (dx - cx) * v, cy + (dy - cy) * v
        return x1 + (x2 - x1) * f, y1 + (y2 - y1) * f

    def at(step: int) -> Point:
        k, part = divmod(step, pieces // 4)
        a, b, c, d = (bend(start * 4 + k + n) for n in (-1, 0, 1, 2))
        t = part / (pieces // 4)
        return spline(a[0], b[0], c[0], d[0], t=t), spline(a[1], b[1], c[1], d[1], t=t)

    points = [at(step) for step in range(-1, pieces + 2)]
    across = [
        (-unit(q[0] - p[0], q[1] - p[1])[1], unit(q[0] - p[0], q[1] - p[1])[0])
        for p, q in zip(points[:-2], points[2:], strict=True)
    ]
    widths = [26.0 + 8.0 * value_at(seed, "width", start * 3 + 3 * n / pieces, line) for n in range(pieces + 1)]
    return points[1:-1], across, widths
