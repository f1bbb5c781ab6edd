"""APLS, the Average Path Length Similarity of two road networks: are ways between places as long on both?

Van Etten, Lindenbaum and Bacastow, "SpaceNet: A Remote Sensing Dataset and Challenge Series", arXiv:1807.01232, section
on APLS. Control points are the nodes of one network and points along its edges. Each is put onto the other network,
where that has a road near by. For every two control points a and b with a path of length L between them, and one of L'
on the other network, the difference is min(1, |L - L'| / L), and 1 where there is no such path. One minus the mean is
the similarity of one direction; APLS is the harmonic mean of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from tasks.raster.scores.plain import to_plain
from tasks.raster.scores.ratios import harmonic
from tasks.raster.scores.road_graph import RoadGraph
from tasks.raster.scores.road_places import Places, cut, nearest

SPACING = 50.0
BUFFER = 4.0
SOURCES = 500
_AT_ONCE = 1 << 22
"""Path lengths held at a time."""


@dataclass(frozen=True, slots=True)
class Apls:
    """Scores from 0 to 1."""

    apls: float
    """Harmonic mean of both directions; 0 where just one network is empty, NaN where both are."""
    truth_to_proposal: float
    """Paths of the truth that the proposal has: falls with what is missing or broken; NaN without truth."""
    proposal_to_truth: float
    """Paths of the proposal that the truth has: falls with what is invented or wrongly joined; NaN without proposal."""
    truth_paths: int
    """Paths that the first direction compares, each pair of sampled control points once for either sense."""
    proposal_paths: int

    def to_json(self) -> dict[str, JsonValue]:
        """The same as plain JSON, None for NaN."""
        return to_plain(self)


def apls(
    truth: RoadGraph,
    proposal: RoadGraph,
    *,
    spacing: float = SPACING,
    buffer: float = BUFFER,
    sources: int = SOURCES,
    seed: int = 0,
) -> Apls:
    """The APLS of two graphs whose coordinates are metres (or all given in one other unit).

    Of a network with more than `sources` control points, so many are drawn at random; paths go from those to all
    control points. The score is then an estimate, the same for the same seed. Smaller networks are scored in full.

    Args:
        truth: in metres.
        proposal: in metres of the same CRS.
        spacing: metres from one control point to the next along an edge, at most.
        buffer: metres from a control point to the other network, at most; there is no path for one further off.
        sources: control points that paths begin at.
        seed: of the generator that draws them.
    """
    if not (spacing > 0 and buffer > 0 and sources > 0):
        raise ValueError(f"spacing is {spacing}, buffer {buffer}, sources {sources}: expected more than 0")
    there, there_paths = _similarity(truth, proposal, spacing, buffer, sources, seed)
    back, back_paths = _similarity(proposal, truth, spacing, buffer, sources, seed)
    return Apls(harmonic(there, back), there, back, there_paths, back_paths)


def control_places(graph: RoadGraph, spacing: float) -> Places:
    """Each node, and what cuts edges into equal parts no longer than a spacing; a ring into two parts or more."""
    _, first = np.unique(graph.edges, return_index=True)
    at_node = Places(first // 2, np.where(first % 2, graph.lengths[first // 2], 0.0))
    rings = graph.edges[:, 0] == graph.edges[:, 1]
    parts = np.maximum(np.ceil(graph.lengths / spacing).astype(np.int64), 1 + rings)
    edges = np.repeat(np.arange(len(parts)), parts - 1)
    number = np.arange(len(edges)) - np.repeat(np.cumsum(parts - 1) - (parts - 1), parts - 1) + 1
    along = graph.lengths[edges] * number / parts[edges]
    return Places(np.concatenate([at_node.edges, edges]), np.concatenate([at_node.along, along]))


def _similarity(
    graph: RoadGraph, other: RoadGraph, spacing: float, buffer: float, sources: int, seed: int
) -> tuple[float, int]:
    """How much of a graph's paths another has, NaN without any; and how many there are."""
    places = control_places(graph, spacing)
    there, found = nearest(other, places.points(graph), within=buffer)
    mine, theirs = cut(graph, places), cut(other, there)
    controls = len(places.edges)
    chosen = np.arange(controls)
    if controls > sources:
        chosen = np.sort(np.random.default_rng(seed).choice(controls, sources, replace=False))
    on_other = np.full(controls, -1)
    on_other[found] = theirs.nodes
    step = max(1, _AT_ONCE // max(mine.weights.shape[0], theirs.weights.shape[0], 1))
    differences, paths = 0.0, 0
    for start in range(0, len(chosen), step):
        part = chosen[start : start + step]
        wanted = dijkstra(mine.weights, indices=mine.nodes[part])[:, mine.nodes]
        is_path = np.isfinite(wanted) & (wanted > 0)
        lengths = wanted[is_path]
        has = _lengths(theirs.weights, on_other, part)[is_path]
        differences += float(np.minimum(np.abs(lengths - has) / lengths, 1).sum())
        paths += len(lengths)
    return (1 - differences / paths if paths else math.nan), paths


def _lengths(weights: csr_array, nodes: NDArray[np.int64], part: NDArray[np.int64]) -> NDArray[np.float64]:
    """(part, control) path lengths from some control points to all; inf where a node is -1 or there is no path."""
    lengths = np.full((len(part), len(nodes)), np.inf)
    begins, ends = nodes[part] >= 0, nodes >= 0
    if begins.any():
        lengths[np.ix_(begins, ends)] = dijkstra(weights, indices=nodes[part][begins])[:, nodes[ends]]
    return lengths
