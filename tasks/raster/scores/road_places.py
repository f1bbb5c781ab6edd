"""Places on the roads of a graph: the nearest ones to points, and the graph with such places as further nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tasks.raster.scores.road_graph import RoadGraph


@dataclass(frozen=True, slots=True)
class Places:
    """Places on a graph."""

    edges: NDArray[np.int64]
    """(k,) the edge of each."""
    along: NDArray[np.float64]
    """(k,) how far from the edge's begin."""

    def points(self, graph: RoadGraph) -> NDArray[np.float64]:
        """(k, 2): x and y of each."""
        points: NDArray[np.float64] = shapely.get_coordinates(
            shapely.line_interpolate_point(graph.lines[self.edges], self.along)
        )
        return points


@dataclass(frozen=True, slots=True)
class CutGraph:
    """A graph with places as further nodes, that cut its edges into pieces."""

    nodes: NDArray[np.int64]
    """(k,) the node of each place; places at one spot share it."""
    ends: NDArray[np.int64]
    """(p, 2) the nodes of each piece. Those below the graph's number of nodes are the graph's."""
    edges: NDArray[np.int64]
    """(p,) the edge that each piece is of."""
    begins: NDArray[np.float64]
    """(p,) how far from that edge's begin the piece begins."""
    lengths: NDArray[np.float64]
    """(p,)."""
    weights: csr_array
    """(n, n) length of the shortest piece between two nodes, both ways."""


def nearest(graph: RoadGraph, points: NDArray[np.float64], *, within: float) -> tuple[Places, NDArray[np.bool_]]:
    """The place on a graph that is nearest to each point.

    Args:
        graph: any.
        points: (k, 2), x and y.
        within: the largest distance, above 0.

    Returns:
        The places of those points that have one, in their order, and (k,) which points those are.
    """
    given = shapely.points(points)
    which, edges = shapely.STRtree(graph.lines).query_nearest(given, max_distance=within, all_matches=False)
    order = np.argsort(which)
    which, edges = which[order], edges[order].astype(np.int64)
    found = np.zeros(len(points), bool)
    found[which] = True
    return Places(edges, shapely.line_locate_point(graph.lines[edges], given[which])), found


def cut(graph: RoadGraph, places: Places) -> CutGraph:
    """The graph with places as further nodes; a place at an edge's end is that end's node."""
    count, length = len(graph.nodes), graph.lengths[places.edges]
    nodes = np.where(places.along <= 0, graph.edges[places.edges, 0], graph.edges[places.edges, 1])
    inside = (places.along > 0) & (places.along < length)
    stops = np.stack([places.edges[inside], places.along[inside]], axis=1)
    new, index = np.unique(stops, axis=0, return_inverse=True)
    nodes[inside] = count + index.ravel()

    every = np.arange(len(graph.edges))
    edges = np.concatenate([every, new[:, 0].astype(np.int64), every])
    along = np.concatenate([np.zeros(len(every)), new[:, 1], graph.lengths])
    node = np.concatenate([graph.edges[:, 0], count + np.arange(len(new)), graph.edges[:, 1]])
    order = np.lexsort((along, edges))
    edges, along, node = edges[order], along[order], node[order]
    onward = np.flatnonzero(edges[:-1] == edges[1:])
    ends = np.stack([node[onward], node[onward + 1]], axis=1)
    lengths = along[onward + 1] - along[onward]
    return CutGraph(nodes, ends, edges[onward], along[onward], lengths, _weights(ends, lengths, count + len(new)))


def _weights(ends: NDArray[np.int64], lengths: NDArray[np.float64], count: int) -> csr_array:
    """(n, n), both ways: of several pieces between two nodes the shortest, where a sparse array would add them up."""
    low, high = ends.min(axis=1, initial=count), ends.max(axis=1, initial=0)
    order = np.lexsort((lengths, high, low))
    low, high, lengths = low[order], high[order], lengths[order]
    first = np.ones(len(low), bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    first &= low != high
    low, high, lengths = low[first], high[first], lengths[first]
    rows, cols = np.concatenate([low, high]), np.concatenate([high, low])
    return csr_array((np.tile(lengths, 2), (rows, cols)), shape=(count, count))
