"""TOPO, the topological similarity of two road networks: who sets out at one place, where do they get on both?

Biagioni and Eriksson, "Inferring Road Maps from Global Positioning System Traces: Survey and Comparative Evaluation",
Transportation Research Record 2291 (2012), as RoadTracer and Sat2Graph use it. From a start one walks outward along
every road. At each interval of the way a hole is dug on the truth, or a marble dropped on the proposal: wherever the
shortest way from the start is a whole number of intervals, up to a radius. A marble falls into a hole near it, one
marble a hole. Precision is the share of marbles in holes, recall the share of holes with marbles, both over all starts.

Published variants differ, so figures compare only where the rules do. Here:
- Starts lie evenly along the whole length of each network, on both. With starts on the truth alone, what a proposal
  invents far from any truth is never seen. Nothing is drawn at random, and swapped networks swap precision and recall
  (but for pairs equally far apart).
- The start on the other network is the nearest place on it within the distance of a match. Where there is none, all
  that is reached from the start stays unmatched.
- Marbles and holes match greedily, the nearest pair first; of equal ones (to a millionth) the lower in order of the
  truth, then of the proposal. That is a maximal matching, not always the largest one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from tasks.raster.scores.plain import to_plain
from tasks.raster.scores.ratios import harmonic, share
from tasks.raster.scores.road_graph import RoadGraph
from tasks.raster.scores.road_places import CutGraph, Places, cut, nearest

RADIUS = 300.0
INTERVAL = 5.0
MATCH = 8.0
STARTS = 500
START_SPACING = 50.0
"""Metres of road from one start to the next, at least."""
_SAME = 1e-6
_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Topo:
    """Scores from 0 to 1, and what they are counted from."""

    precision: float
    """Share of marbles that fall into holes; NaN without proposal."""
    recall: float
    """Share of holes that marbles fall into; NaN without truth."""
    f1: float
    """Harmonic mean of both; 0 where just one network is empty, NaN where both are."""
    holes: int
    """On the truth, over all starts."""
    marbles: int
    """On the proposal."""
    matched: int
    starts: int
    """On both networks together."""

    def to_json(self) -> dict[str, JsonValue]:
        """The same as plain JSON, None for NaN."""
        return to_plain(self)


def topo(
    truth: RoadGraph,
    proposal: RoadGraph,
    *,
    radius: float = RADIUS,
    interval: float = INTERVAL,
    match: float = MATCH,
    starts: int = STARTS,
) -> Topo:
    """The TOPO scores of two graphs whose coordinates are metres (or all given in one other unit).

    Args:
        truth: in metres.
        proposal: in metres of the same CRS.
        radius: metres of the longest way from a start.
        interval: metres from one marble to the next.
        match: metres from a marble to its hole, at most.
        starts: on each network, at most; one every 50 m where that is fewer.
    """
    if not (radius > 0 and interval > 0 and match > 0 and starts > 0):
        raise ValueError(
            f"radius is {radius}, interval {interval}, match {match}, starts {starts}: expected more than 0"
        )
    totals, begun = np.zeros(3, np.int64), 0
    for graph, other, turned in ((truth, proposal, False), (proposal, truth, True)):
        places = start_places(graph, starts)
        there, found = nearest(other, places.points(graph), within=match)
        begun += len(found)
        walks = _walks(other, there, radius, interval)
        for mine, has in zip(_walks(graph, places, radius, interval), found.tolist(), strict=True):
            theirs = next(walks) if has else np.empty((0, 2))
            holes, marbles = (theirs, mine) if turned else (mine, theirs)
            totals += len(holes), len(marbles), _matched(holes, marbles, match)
    n_holes, n_marbles, matched = totals.tolist()
    precision, recall = share(matched, n_marbles), share(matched, n_holes)
    return Topo(precision, recall, harmonic(precision, recall), n_holes, n_marbles, matched, begun)


def start_places(graph: RoadGraph, starts: int) -> Places:
    """So many places, or one every 50 m if that is fewer, evenly along all edges put end to end."""
    total = np.cumsum(graph.lengths)
    if not len(total):
        return Places(np.empty(0, np.int64), np.empty(0))
    count = min(starts, int(np.ceil(total[-1] / START_SPACING)))
    at = (np.arange(count) + 0.5) * total[-1] / count
    edges = np.searchsorted(total, at)
    return Places(edges, at - (total - graph.lengths)[edges])


def _walks(graph: RoadGraph, places: Places, radius: float, interval: float) -> Iterator[NDArray[np.float64]]:
    """The marbles, (n, 2), that are dropped from each place."""
    pieces = cut(graph, places)
    step = max(1, _AT_ONCE // max(pieces.weights.shape[0], 1))
    for start in range(0, len(pieces.nodes), step):
        ways = dijkstra(pieces.weights, indices=pieces.nodes[start : start + step], limit=radius)
        for way in ways:
            yield _marbles(graph, pieces, way, radius, interval)


def _marbles(
    graph: RoadGraph, pieces: CutGraph, way: NDArray[np.float64], radius: float, interval: float
) -> NDArray[np.float64]:
    """(n, 2): all places that are a whole number of intervals away, given how far each node is (inf: beyond)."""
    reached = np.flatnonzero(np.isfinite(way[pieces.ends]).any(axis=1))
    ends, lengths = pieces.ends[reached], pieces.lengths[reached]
    last = np.floor(radius / interval + _SAME)
    which, inner = [], []
    for side in (0, 1):
        here, there = way[ends[:, side]], way[ends[:, 1 - side]]
        use = np.flatnonzero(np.isfinite(here))
        here, there, length = here[use], there[use], lengths[use]
        # One comes from both ends of a piece, up to where both ways are equally long; a marble there counts once.
        meeting = (here + there + length) / 2 / interval
        meeting = np.floor(meeting + _SAME) if side == 0 else np.ceil(meeting - _SAME) - 1
        before_end = np.ceil((here + length) / interval - _SAME) - 1
        first = np.floor(here / interval + _SAME) + 1
        counts = np.maximum(np.minimum(np.minimum(meeting, before_end), last) - first + 1, 0).astype(np.int64)
        piece = np.repeat(np.arange(len(use)), counts)
        number = np.arange(len(piece)) - np.repeat(np.cumsum(counts) - counts, counts)
        along = (first[piece] + number) * interval - here[piece]
        which.append(reached[use[piece]])
        inner.append(along if side == 0 else length[piece] - along)
    chosen = np.concatenate(which)
    # Nodes that lie at a whole number of intervals themselves, each at an end of some piece.
    nodes, first_end = np.unique(ends, return_index=True)
    nodes, first_end = nodes[np.isfinite(way[nodes])], first_end[np.isfinite(way[nodes])]
    whole = first_end[np.abs(way[nodes] / interval - np.rint(way[nodes] / interval)) <= _SAME]
    at, side_of = reached[whole // 2], whole % 2
    along = np.concatenate([*inner, np.where(side_of, pieces.lengths[at], 0.0)])
    chosen = np.concatenate([chosen, at])
    return Places(pieces.edges[chosen], pieces.begins[chosen] + along).points(graph)


def _matched(holes: NDArray[np.float64], marbles: NDArray[np.float64], match: float) -> int:
    """How many marbles fall into holes."""
    if not len(holes) or not len(marbles):
        return 0
    pairs = cKDTree(holes).sparse_distance_matrix(cKDTree(marbles), match, output_type="ndarray")
    order = np.lexsort((pairs["j"], pairs["i"], np.rint(pairs["v"] / _SAME)))
    filled, fallen = bytearray(len(holes)), bytearray(len(marbles))
    count = 0
    for hole, marble in zip(pairs["i"][order].tolist(), pairs["j"][order].tolist(), strict=True):
        if not (filled[hole] or fallen[marble]):
            filled[hole] = fallen[marble] = 1
            count += 1
    return count
