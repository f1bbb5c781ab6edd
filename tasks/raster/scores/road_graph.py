"""A road network as a graph: nodes where lines end or meet, edges between them.

Lines that people draw do not meet to the last digit. So lines are first cut where they cross, then where another one
ends beside them, then ends that are near each other become one node. Coordinates and all lengths have one unit, metres
or pixels, which is the caller's. Degrees are no lengths: bring them to metres first.

The lines of `network.Edge` and of `skeleton.centre_lines` come in as any others. The former meet exactly and cross
nowhere: `road_graph(lines, snap=0, cross=False)`. The latter end a pixel or two before where they meet: `snap=3`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from shapely.ops import substring

from infra.errors import UnusableInput

SNAP = 1.0
"""Distance up to which ends are one place: less than what lies between the two lines of a divided road."""
Lines: TypeAlias = NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class RoadGraph:
    """Nodes and undirected edges; two edges may join the same nodes, and an edge may begin and end at one."""

    nodes: NDArray[np.float64]
    """(n, 2): x and y, sorted; each is the end of an edge."""
    edges: NDArray[np.int64]
    """(m, 2): the nodes that each edge begins and ends at."""
    lengths: NDArray[np.float64]
    """(m,), each above 0, in the unit of the coordinates."""
    lines: Lines
    """(m,) LineStrings, from the first node to the second."""


def road_graph(
    lines: Iterable[shapely.LineString | shapely.MultiLineString],
    *,
    snap: float = SNAP,
    cross: bool = True,
    merge: bool = True,
) -> RoadGraph:
    """The graph of lines; empty ones and those of no length are left out, no line at all gives a graph without edges.

    Args:
        lines: in x and y (more is dropped), in metres or pixels.
        snap: distance up to which ends become one node, at their mean, and up to which an end beside a line's inside
            joins it. A chain of near ends is one node. 0: just ends at the very same place meet.
        cross: lines also meet where they cross or touch, and what runs along another line counts once. Without it they
            meet at ends alone, as on bridges, and a line given twice is two edges.
        merge: edges that meet where no third one does become one.

    Raises:
        UnusableInput: something else than lines, or a coordinate that is not finite.
    """
    if not 0 <= snap < math.inf:
        raise ValueError(f"snap is {snap}: expected 0 or more")
    parts = _parts(lines)
    if cross:
        parts = _cut_where_crossing(parts)
    if snap > 0:
        parts = _joined(_cut_beside_ends(parts, snap), snap)
        if cross:  # lines that were moved may cross anew, or lie on each other
            parts = _cut_where_crossing(parts)
    parts = parts[shapely.length(parts) > 0]
    if merge and len(parts):
        parts = shapely.get_parts(shapely.line_merge(shapely.multilinestrings(parts)))
    nodes, edges = np.unique(_ends(parts), axis=0, return_inverse=True)
    return RoadGraph(nodes, edges.reshape(-1, 2).astype(np.int64), shapely.length(parts), parts)


def _parts(lines: Iterable[shapely.LineString | shapely.MultiLineString]) -> Lines:
    """(n,) LineStrings in two dimensions, each with a length."""
    given = np.array([*lines, None], object)[:-1]  # with a None among them, numpy does not look into geometries
    kinds = set(shapely.get_type_id(given).tolist())
    allowed = {shapely.GeometryType.LINESTRING, shapely.GeometryType.LINEARRING, shapely.GeometryType.MULTILINESTRING}
    if kinds - allowed:
        names = sorted(shapely.GeometryType(kind).name for kind in kinds - allowed)
        raise UnusableInput(f"Roads come as {', '.join(names)}: expected lines; give their centre lines.")
    parts: Lines = shapely.force_2d(shapely.get_parts(given))
    if not np.isfinite(shapely.get_coordinates(parts)).all():
        raise UnusableInput("A road has a coordinate that is not a finite number: leave it out.")
    kept: Lines = parts[shapely.length(parts) > 0]
    return kept


def _cut_where_crossing(parts: Lines) -> Lines:
    cut: Lines = shapely.get_parts(shapely.union_all(parts))
    return cut


def _ends(parts: Lines) -> NDArray[np.float64]:
    """(2 n, 2): where each line begins and ends, line after line."""
    places: NDArray[np.float64] = shapely.get_coordinates(
        np.stack([shapely.get_point(parts, 0), shapely.get_point(parts, -1)], axis=1)
    )
    return places


def _cut_beside_ends(parts: Lines, snap: float) -> Lines:
    """Lines, cut where one that meets no other end ends beside them."""
    ends = _ends(parts)
    if not len(ends):
        return parts
    alone = ends[cKDTree(ends).query_ball_point(ends, snap, return_length=True) == 1]
    points = shapely.points(alone)
    which, beside = shapely.STRtree(parts).query(points, predicate="dwithin", distance=snap)
    along = shapely.line_locate_point(parts[beside], points[which])
    inside = (along > snap) & (along < shapely.length(parts[beside]) - snap)
    cuts: dict[int, list[float]] = {}
    for line, place in zip(beside[inside].tolist(), along[inside].tolist(), strict=True):
        cuts.setdefault(line, []).append(place)
    pieces = []
    for line, places in cuts.items():
        stops = [0.0, *sorted(set(places)), parts[line].length]
        pieces += [substring(parts[line], *stops[n : n + 2]) for n in range(len(stops) - 1)]
    left = np.delete(parts, list(cuts))
    return np.concatenate([left, np.array([*pieces, None], object)[:-1]])


def _joined(parts: Lines, snap: float) -> Lines:
    """Lines whose ends are moved so that those near each other are one; what shrinks to a point by that is gone."""
    if not len(parts):
        return parts
    ends, which = np.unique(_ends(parts), axis=0, return_inverse=True)
    near = cKDTree(ends).query_pairs(snap, output_type="ndarray")
    links = coo_array((np.ones(len(near)), near.T), shape=(len(ends), len(ends)))
    count, groups = connected_components(links, directed=False)
    size = np.bincount(groups, minlength=count)
    means = np.stack([np.bincount(groups, column) / size for column in ends.T], axis=1)
    moved = np.where(size[groups, None] > 1, means[groups], ends)[which.ravel()]
    group = groups[which.reshape(-1, 2)]
    places, line = shapely.get_coordinates(parts, return_index=True)
    places[np.searchsorted(line, np.arange(len(parts)))] = moved[::2]
    places[np.searchsorted(line, np.arange(len(parts)), side="right") - 1] = moved[1::2]
    joined = shapely.linestrings(places, indices=line)
    shrunk = (group[:, 0] == group[:, 1]) & (shapely.length(joined) <= 2 * snap)
    kept: Lines = joined[~shrunk]
    return kept
