"""TOPO is what a slow walk finds, and what one finds by hand."""

import json
import math

import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from shapely import LineString

from tasks.raster.scores.road_graph import road_graph
from tasks.raster.scores.road_places import Places
from tasks.raster.scores.topo import _matched, _walks, start_places, topo


def roads(*lines):
    return road_graph([LineString(line) for line in lines])


def scribble(seed, *, count=7, side=160):
    """Random roads on whole metres that cross, with a ring, and the same badly drawn."""
    rng = np.random.default_rng(seed)
    lines = [LineString(rng.integers(0, side // 10, (3, 2)) * 10) for _ in range(count)]
    lines.append(LineString([(50, 50), (90, 50), (90, 90), (50, 90), (50, 50)]))
    lines = [line for line in lines if line.length > 5]
    worse = [shapely.transform(line, lambda xy: xy + rng.normal(0, 3, xy.shape)) for line in lines]
    return road_graph(lines), road_graph(worse[1:])


def slow_walk(graph, edge, along, radius, interval):
    """All places a whole number of intervals away, edge after edge, each once."""
    network = nx.MultiGraph()
    for (a, b), length in zip(graph.edges.tolist(), graph.lengths, strict=True):
        network.add_edge(a, b, weight=length)
    ends = zip(graph.edges[edge].tolist(), (along, graph.lengths[edge] - along), strict=True)
    tables = [(more, nx.single_source_dijkstra_path_length(network, node)) for node, more in ends]

    def to_node(node):
        return min(more + table.get(node, math.inf) for more, table in tables)

    marbles = []
    for number, line in enumerate(graph.lines):
        one, two = (to_node(node) for node in graph.edges[number].tolist())
        for k in range(int(radius / interval + 1e-9) + 1):
            way = k * interval
            candidates = [way - one, line.length - (way - two)]
            candidates += [along - way, along + way] if number == edge else []
            for x in candidates:
                if -1e-7 <= x <= line.length + 1e-7:
                    ways = [one + x, two + line.length - x, *([abs(x - along)] if number == edge else [])]
                    if abs(min(ways) - way) < 1e-7:
                        marbles.append(line.interpolate(max(x, 0)).coords[0])
    return np.unique(np.round(marbles, 5), axis=0)


def slow_match(holes, marbles, match):
    far = cdist(holes, marbles)
    pairs = sorted((round(far[h, m], 6), h, m) for h, m in np.argwhere(far <= match).tolist())
    filled, fallen = set(), set()
    for _, hole, marble in pairs:
        if hole not in filled and marble not in fallen:
            filled.add(hole)
            fallen.add(marble)
    return len(filled)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("radius", "interval"), [(100, 5), (62, 7.3)])
def test_marbles_lie_where_a_slow_walk_drops_them(seed, radius, interval):
    graph, _ = scribble(seed)
    places = start_places(graph, 5)
    exact = Places(np.array([0]), np.array([0.0]))  # at a node, so that others are whole intervals away as well
    for some in (places, exact):
        for n, marbles in enumerate(_walks(graph, some, radius, interval)):
            slow = slow_walk(graph, int(some.edges[n]), float(some.along[n]), radius, interval)
            assert len(slow) > 5
            # A place that two edges cross is one node: the slow walk finds it once an edge, and rounds.
            assert len(marbles) == len(slow)
            assert cdist(marbles, slow).min(axis=1).max() < 1e-4
            assert cdist(marbles, slow).min(axis=0).max() < 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_slow_walks_and_a_slow_matching_find(seed):
    truth, proposal = scribble(seed)
    radius, interval, match = 90, 5, 8
    holes = marbles = matched = starts = 0
    for graph, other in ((truth, proposal), (proposal, truth)):
        places = start_places(graph, 500)
        for edge, along, point in zip(
            places.edges.tolist(), places.along, shapely.points(places.points(graph)), strict=True
        ):
            mine = slow_walk(graph, edge, along, radius, interval)
            far = [line.distance(point) for line in other.lines]
            near = int(np.argmin(far))
            theirs = np.empty((0, 2))
            if far[near] <= match:
                theirs = slow_walk(other, near, other.lines[near].project(point), radius, interval)
            one, two = (mine, theirs) if graph is truth else (theirs, mine)
            holes, marbles, starts = holes + len(one), marbles + len(two), starts + 1
            matched += slow_match(one, two, match) if len(theirs) else 0
    scores = topo(truth, proposal, radius=radius, interval=interval, match=match)
    assert (scores.holes, scores.marbles, scores.starts) == (holes, marbles, starts)
    assert scores.matched == pytest.approx(matched, abs=0.003 * matched)  # equal distances in another order
    assert 0.1 < scores.f1 < 0.99


@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(0, 12))
def test_no_hole_takes_two_marbles_and_none_near_a_free_one_stays_empty(seed, n_holes, n_marbles):
    rng = np.random.default_rng(seed)
    holes, marbles = rng.uniform(0, 20, (n_holes, 2)), rng.uniform(0, 20, (n_marbles, 2))
    found = _matched(holes, marbles, 4.0)
    if not n_holes or not n_marbles:
        assert found == 0
        return
    near = cdist(holes, marbles) <= 4
    most = int(near[linear_sum_assignment(~near)].sum())
    assert found == slow_match(holes, marbles, 4.0)
    assert most / 2 <= found <= most


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_swapped_networks_swap_precision_and_recall(seed):
    truth, proposal = scribble(seed, count=3)
    one, other = (topo(a, b, starts=9, radius=60) for a, b in ((truth, proposal), (proposal, truth)))
    assert (one.precision, one.holes) == pytest.approx((other.recall, other.marbles), abs=0.01)
    assert one.f1 == pytest.approx(other.f1, abs=0.01)
    same = topo(truth, truth, starts=9, radius=60)
    assert (same.precision, same.recall, same.f1) == pytest.approx((1, 1, 1), abs=0.01)


def test_a_road_that_ends_too_early():
    """From 50: holes 20 to 80, marbles 20 to 60. From 30, the middle of what is proposed: 0 to 60 on both."""
    scores = topo(roads([(0, 0), (100, 0)]), roads([(0, 0), (60, 0)]), radius=30, interval=10, match=4, starts=1)
    assert (scores.holes, scores.marbles, scores.matched, scores.starts) == (7 + 7, 5 + 7, 12, 2)
    assert (scores.precision, scores.recall) == (1, 12 / 14)
    assert scores.f1 == pytest.approx(24 / 26)


def test_a_gap_hides_what_lies_beyond():
    """Both halves are there, 20 m apart; a masks' score would hardly see it."""
    truth = roads([(0, 0), (220, 0)])
    broken = roads([(0, 0), (100, 0)], [(120, 0), (220, 0)])
    scores = topo(truth, broken, radius=300, interval=10, starts=1)
    # On the truth one sets out in the gap's middle, 10 m from either end. On the proposal too: at 100 put end to end.
    assert topo(truth, broken, radius=300, interval=10, starts=1, match=11).recall < 0.6
    assert scores.recall < 0.6
    assert topo(truth, broken, radius=300, interval=10).precision == 1


def test_a_road_drawn_twice_is_half_right():
    """Two lines at 3 m to either side, joined at one end: each hole takes the marble of one of them."""
    truth, twice = roads([(0, 0), (200, 0)]), roads([(200, 3), (0, 3), (0, -3), (200, -3)])
    scores = topo(truth, twice, radius=150, starts=1)
    assert scores.recall > 0.9
    assert 0.4 < scores.precision < 0.8


def test_networks_apart_and_empty_ones():
    road, far, none = roads([(0, 0), (90, 0)]), roads([(0, 500), (90, 500)]), road_graph([])
    apart = topo(road, far)
    assert (apart.precision, apart.recall, apart.f1) == (0, 0, 0)
    assert apart.holes == apart.marbles > 0
    missed, invented, nothing = topo(road, none), topo(none, road), topo(none, none)
    assert (missed.recall, missed.f1, invented.precision, invented.f1) == (0, 0, 0, 0)
    assert math.isnan(missed.precision)
    assert math.isnan(invented.recall)
    assert json.loads(json.dumps(nothing.to_json(), allow_nan=False)) == {
        "precision": None, "recall": None, "f1": None, "holes": 0, "marbles": 0, "matched": 0, "starts": 0,
    }  # fmt: skip


def test_what_is_invented_far_away_is_seen():
    road = [(0, 0), (200, 0)]
    scores = topo(roads(road), roads(road, [(0, 900), (200, 900)]))
    assert scores.recall == 1
    assert 0.6 < scores.precision < 0.8


def test_starts_are_even_along_the_roads():
    graph = roads([(0, 0), (120, 0)], [(0, 50), (0, 130)])
    places = start_places(graph, 4)
    assert len(places.edges) == 4
    assert np.bincount(places.edges).tolist() in ([2, 2], [1, 3], [3, 1])
    before = np.concatenate([[0], np.cumsum(graph.lengths)])[places.edges] + places.along
    assert before.tolist() == [25, 75, 125, 175]
    assert len(start_places(graph, 3).edges) == 3


@pytest.mark.parametrize("wrong", [{"radius": 0}, {"interval": 0}, {"match": 0}, {"starts": 0}])
def test_what_must_be_above_zero(wrong):
    with pytest.raises(ValueError, match="expected more than 0"):
        topo(road_graph([]), road_graph([]), **wrong)
