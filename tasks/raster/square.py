"""Outlines as a surveyor would draw them: from stairs of pixels to a few straight edges, square where the building is.

The outline is turned to its main direction; edges that run one way are drawn as one, where their pixels lie on average;
jogs of a few pixels go. (buildingregulariser was tried: it leaves two to twenty times the corners that a turned
building has.) Not every building is square: others are only simplified, and what a drawn outline would not cover well
keeps its stairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity

from tasks.raster.objects import Objects

ALIKE = 0.9
"""Intersection over union with the pixels that a drawn outline must keep."""
STAIRS = 1.0
"""Pixels by which an edge of stairs departs from the straight line that it stands for."""
JOG = 3.0
"""Pixels of the shortest edge that is drawn."""
HOLE = 9.0
"""Pixels of the smallest hole that is drawn."""
LARGEST = 4000
"""Corners along pixel edges of the largest outline that may be drawn square; a larger one is only simplified."""
SLACK = 15.0
"""Degrees by which an edge may be off the main direction, or across it, and still speak for it."""
SQUARE = 0.6
"""Share of an outline's length that must, for it to be drawn square."""


def square_outlines(outlines: Sequence[shapely.Polygon], *, aspect: float = 1.0) -> list[shapely.Polygon]:
    """Outlines along pixel edges as drawn ones.

    Args:
        outlines: in pixel coordinates.
        aspect: ground width of a pixel by its height; right angles are right on the ground.

    Returns:
        As many, in the same order and coordinates; each a valid polygon.
    """
    ground = (affinity.scale(outline, aspect, 1.0, origin=(0, 0)) for outline in outlines)
    return [affinity.scale(_drawn(raw), 1 / aspect, 1.0, origin=(0, 0)) for raw in ground]


def square_objects(objects: Objects, *, aspect: float = 1.0) -> Objects:
    """Objects with their outlines drawn as `square_outlines` draws them."""
    outlines = np.empty(len(objects), object)
    outlines[:] = square_outlines(list(objects.outlines), aspect=aspect)
    return replace(objects, outlines=outlines)


def _drawn(raw: shapely.Polygon) -> shapely.Polygon:
    if shapely.get_num_coordinates(raw) > LARGEST:  # no building, and each corner is weighed against all others
        simple = raw.simplify(STAIRS, preserve_topology=False)  # ring by ring: the other way takes minutes
        return simple if isinstance(simple, shapely.Polygon) and simple.is_valid else raw
    for shape in _candidates(
        shapely.Polygon(raw.exterior, [r for r in raw.interiors if shapely.Polygon(r).area >= HOLE])
    ):
        if isinstance(shape, shapely.Polygon) and shape.is_valid and not shape.is_empty and _iou(shape, raw) >= ALIKE:
            return shape
    return raw


def _candidates(outline: shapely.Polygon) -> Iterator[shapely.Geometry]:
    """Drawings of an outline, the plainest first."""
    simple = outline.simplify(STAIRS)
    angle, share = _main_direction(np.asarray(simple.exterior.coords))
    if share >= SQUARE:
        turned = affinity.rotate(simple, -angle, origin=(0, 0))
        rings = [_rectilinear(np.asarray(ring.coords)) for ring in (turned.exterior, *turned.interiors)]
        if all(ring is not None for ring in rings):
            squared = shapely.Polygon(rings[0], rings[1:])
            if outline.hausdorff_distance(affinity.rotate(squared, angle, origin=(0, 0))) <= _leeway(outline):
                yield affinity.rotate(squared, angle, origin=(0, 0))
    yield simple
    yield outline.simplify(STAIRS / 2)


def _leeway(outline: shapely.Polygon) -> float:
    """How far a drawn corner may lie from a rounded one."""
    return max(JOG, math.sqrt(outline.area) / 10)


def _main_direction(ring: NDArray[np.float64]) -> tuple[float, float]:
    """The direction in degrees, modulo 90, that long edges follow or cross, and the share of all length that does."""
    edges = np.diff(ring, axis=0)
    lengths = np.hypot(*edges.T)
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    main = np.angle(np.sum(lengths**2 * np.exp(4j * angles))) / 4
    off = np.abs((angles - main + np.pi / 4) % (np.pi / 2) - np.pi / 4)
    return math.degrees(main), float(lengths[off <= math.radians(SLACK)].sum() / lengths.sum())


def _rectilinear(ring: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """A closed ring (n, 2) as one of level and upright edges in turn; None where nothing of that kind is left."""
    edges = np.diff(ring, axis=0)
    level = np.abs(edges[:, 0]) >= np.abs(edges[:, 1])
    if level.all() or not level.any():
        return None
    first = int(np.flatnonzero(level & ~np.roll(level, 1))[0])  # begin where a level run begins
    edges, starts, level = np.roll(edges, -first, axis=0), np.roll(ring[:-1], -first, axis=0), np.roll(level, -first)
    runs: list[tuple[float, float]] = []
    """Of each run, level and upright in turn: where it lies across its direction, and how long it is."""
    for part in np.split(np.arange(len(edges)), np.flatnonzero(np.diff(level)) + 1):
        along = 0 if level[part[0]] else 1
        weights = np.abs(edges[part, along])
        middles = starts[part, 1 - along] + edges[part, 1 - along] / 2
        runs.append((float(np.average(middles, weights=weights)), float(weights.sum())))
    while len(runs) > 4:  # noqa: PLR2004 - a rectangle's
        spans = [abs(runs[n - 1][0] - runs[(n + 1) % len(runs)][0]) for n in range(len(runs))]
        shortest = int(np.argmin(spans))
        if spans[shortest] >= JOG:
            break
        runs = _without(runs, shortest)
    if len(runs) < 4:  # noqa: PLR2004
        return None
    corners = []
    for n, (place, _) in enumerate(runs):
        before = runs[n - 1][0]
        corners.append((before, place) if n % 2 == 0 else (place, before))
    return np.array([*corners, corners[0]])


def _without(runs: list[tuple[float, float]], n: int) -> list[tuple[float, float]]:
    """Runs without one; those before and after it become one where they lie on average."""
    size = len(runs)
    (a, one), (b, other) = runs[n - 1], runs[(n + 1) % size]
    joined = ((a * one + b * other) / max(one + other, 1e-9), one + other)
    kept = [(joined if k == (n - 1) % size else run) for k, run in enumerate(runs) if k not in (n, (n + 1) % size)]
    return [kept[-1], *kept[:-1]] if n == size - 1 else kept  # the first stays a level one


def _iou(one: shapely.Polygon, other: shapely.Polygon) -> float:
    shared = one.intersection(other).area
    return float(shared / (one.area + other.area - shared))
