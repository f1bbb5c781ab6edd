"""APLS is what networkx finds slowly, and what one finds by hand."""

import json
import math

import networkx as nx
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely import LineString
from shapely.affinity import translate

from tasks.raster.scores.apls import apls
from tasks.raster.scores.road_graph import road_graph
from tasks.raster.scores.road_places import Places, cut, nearest


def roads(*lines):
    return road_graph([LineString(line) for line in lines])


def scribble(seed, *, count=8, side=200):
    """Random roads that cross, with a ring, and the same badly drawn."""
    rng = np.random.default_rng(seed)
    lines = [LineString(rng.integers(0, side, (rng.integers(2, 4), 2))) for _ in range(count)]
    lines.append(shapely.Point(side / 2, side / 2).buffer(side / 5, quad_segs=3).exterior)
    lines = [shapely.LineString(line.coords) for line in lines if line.length > 5]
    worse = [shapely.transform(line, lambda xy: xy + rng.normal(0, 1.5, xy.shape)) for line in lines]
    return road_graph(lines), road_graph(worse[1:])


def lengths_between(graph, places):
    """All path lengths between (edge, along), by networkx between the nodes and by hand to them."""
    network = nx.MultiGraph()
    for (a, b), length in zip(graph.edges.tolist(), graph.lengths, strict=True):
        network.add_edge(a, b, weight=length)
    between = dict(nx.all_pairs_dijkstra_path_length(network))

    def both_ends(place):
        edge, along = place
        return zip(graph.edges[edge].tolist(), (along, graph.lengths[edge] - along), strict=True)

    def length(one, other):
        ways = [p + q + between[a].get(b, math.inf) for a, p in both_ends(one) for b, q in both_ends(other)]
        return min([*ways, abs(one[1] - other[1])] if one[0] == other[0] else ways)

    return [[length(p, q) if p and q else math.inf for q in places] for p in places]


def slow_direction(graph, other, spacing, buffer):
    controls, points = [], []
    for edge, line in enumerate(graph.lines):
        count = max(math.ceil(line.length / spacing), 2 if line.is_ring else 1)
        for n in range(count + 1):
            point = line.interpolate(n / count, normalized=True)
            if point.distance(shapely.MultiPoint(points)) > 1e-9 if points else True:  # nodes come once an edge
                controls.append((edge, n / count * line.length))
                points.append(point)
    there = []
    for point in points:
        far = [line.distance(point) for line in other.lines]
        edge = int(np.argmin(far)) if far else 0
        there.append((edge, other.lines[edge].project(point)) if far and far[edge] <= buffer else None)
    wanted, has = lengths_between(graph, controls), lengths_between(other, there)
    terms = [
        min(1, abs(wanted[a][b] - has[a][b]) / wanted[a][b])
        for a in range(len(controls))
        for b in range(len(controls))
        if a != b and wanted[a][b] < math.inf
    ]
    return 1 - sum(terms) / len(terms), len(terms)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("spacing", "buffer"), [(50, 4), (23, 2)])
def test_it_is_what_networkx_finds_over_all_pairs(seed, spacing, buffer):
    truth, proposal = scribble(seed)
    there, there_paths = slow_direction(truth, proposal, spacing, buffer)
    back, back_paths = slow_direction(proposal, truth, spacing, buffer)
    scores = apls(truth, proposal, spacing=spacing, buffer=buffer)
    assert 0.05 < there < 0.98
    assert (scores.truth_paths, scores.proposal_paths) == (there_paths, back_paths)
    assert scores.truth_to_proposal == pytest.approx(there, abs=1e-9)
    assert scores.proposal_to_truth == pytest.approx(back, abs=1e-9)
    assert scores.apls == pytest.approx(2 / (1 / there + 1 / back), abs=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_a_network_is_like_itself_and_two_are_alike_both_ways(seed):
    truth, proposal = scribble(seed, count=4, side=150)
    assume(len(truth.edges) and len(proposal.edges))
    assert apls(truth, truth).apls == pytest.approx(1)
    one, other = apls(truth, proposal), apls(proposal, truth)
    assert one.apls == other.apls
    assert one.truth_to_proposal == other.proposal_to_truth


def test_a_missing_end():
    """Control points 0, 50, 100: of three pairs just 0-50 is left; all that is proposed is true."""
    scores = apls(roads([(0, 0), (100, 0)]), roads([(0, 0), (60, 0)]))
    assert scores.truth_to_proposal == pytest.approx(1 / 3)
    assert scores.proposal_to_truth == pytest.approx(1)
    assert scores.apls == pytest.approx(1 / 2)
    assert (scores.truth_paths, scores.proposal_paths) == (6, 6)


def test_a_missing_link_of_a_block():
    """A square of 40 m with a tail at each corner, 28 pairs: without one side, 4 have more than twice as far."""
    sides = [[(0, 0), (40, 0)], [(40, 0), (40, 40)], [(40, 40), (0, 40)], [(0, 40), (0, 0)]]
    tails = [[(0, 0), (-9, -9)], [(40, 0), (49, -9)], [(40, 40), (49, 49)], [(0, 40), (-9, 49)]]
    scores = apls(roads(*sides, *tails), roads(*sides[1:], *tails))
    assert scores.truth_paths == 2 * 28
    assert scores.truth_to_proposal == pytest.approx(1 - 4 / 28)


def test_a_detour():
    """40 m by the one, 50 m by the other."""
    scores = apls(roads([(0, 0), (40, 0)]), roads([(0, 0), (20, 15), (40, 0)]))
    assert scores.truth_to_proposal == pytest.approx(1 - 10 / 40)
    assert scores.proposal_to_truth == pytest.approx(1 - 10 / 50)
    assert scores.apls == pytest.approx(2 * 0.75 * 0.8 / 1.55)


def test_a_detour_longer_than_the_way_is_as_bad_as_none():
    assert apls(roads([(0, 0), (10, 0)]), roads([(0, 0), (0, 40), (10, 40), (10, 0)])).truth_to_proposal == 0


def test_two_ways_between_the_same_nodes_are_the_shorter_one():
    """Between the nodes at 0 and 40 the straight edge counts, not 80 m around nor the sum of both."""
    tails = [[(-30, 0), (0, 0)], [(40, 0), (70, 0)]]
    both = roads([(0, 0), (40, 0)], [(0, 0), (0, 20), (40, 20), (40, 0)], *tails)
    assert len(both.edges) == 4
    straight = roads([(0, 0), (40, 0)], *tails)
    assert apls(straight, both).truth_to_proposal == pytest.approx(1)


def test_the_buffer_is_how_far_a_road_may_be_off():
    truth = roads([(0, 0), (100, 0)])
    assert apls(truth, roads([(0, 3.9), (100, 3.9)])).apls == pytest.approx(1)
    assert apls(truth, roads([(0, 4.1), (100, 4.1)])).apls == 0
    assert apls(truth, roads([(0, 4.1), (100, 4.1)]), buffer=4.2).apls == pytest.approx(1)


def test_networks_apart_and_empty_ones():
    road, far, none = roads([(0, 0), (90, 0)]), roads([(0, 500), (90, 500)]), road_graph([])
    assert apls(road, far).apls == 0
    missed, invented, nothing = apls(road, none), apls(none, road), apls(none, none)
    assert (missed.apls, missed.truth_to_proposal) == (0, 0)
    assert (invented.apls, invented.proposal_to_truth) == (0, 0)
    assert math.isnan(missed.proposal_to_truth)
    assert json.loads(json.dumps(nothing.to_json(), allow_nan=False)) == {
        "apls": None, "truth_to_proposal": None, "proposal_to_truth": None, "truth_paths": 0, "proposal_paths": 0,
    }  # fmt: skip


def test_a_ring_by_itself_has_paths():
    ring = road_graph([LineString([(0, 0), (9, 0), (9, 9), (0, 9), (0, 0)])])
    assert apls(ring, ring).truth_paths == 2
    assert apls(ring, ring).apls == 1


def test_few_sources_tell_nearly_what_all_do():
    truth, proposal = scribble(3, count=30, side=600)
    full = apls(truth, proposal, sources=100_000)
    some = [apls(truth, proposal, sources=60, seed=seed) for seed in range(3)]
    assert full.truth_paths > 4 * some[0].truth_paths > 0
    assert some[0] == apls(truth, proposal, sources=60, seed=0) != some[1]
    assert [s.apls for s in some] == pytest.approx([full.apls] * 3, abs=0.08)


def test_nearest_places_are_those_of_every_line_looked_at():
    graph, _ = scribble(5)
    points = np.random.default_rng(0).uniform(-20, 220, (300, 2))
    places, found = nearest(graph, points, within=9)
    far = np.array([[line.distance(shapely.Point(p)) for line in graph.lines] for p in points])
    assert 20 < found.sum() < 290
    assert (found == (far.min(axis=1) <= 9)).all()
    moved = np.hypot(*(places.points(graph) - points[found]).T)
    assert moved == pytest.approx(far[found].min(axis=1), abs=1e-9)


def test_places_at_one_spot_and_at_ends_share_a_node():
    graph = roads([(0, 0), (10, 0)])
    pieces = cut(graph, Places(np.zeros(5, np.int64), np.array([0.0, 4.0, 10.0, 4.0, 7.0])))
    assert pieces.nodes.tolist() == [graph.edges[0, 0], 2, graph.edges[0, 1], 2, 3]
    assert pieces.lengths.tolist() == [4, 3, 3]
    assert pieces.begins.tolist() == [0, 4, 7]


@pytest.mark.parametrize("wrong", [{"spacing": 0}, {"buffer": 0}, {"sources": 0}])
def test_what_must_be_above_zero(wrong):
    with pytest.raises(ValueError, match="expected more than 0"):
        apls(road_graph([]), road_graph([]), **wrong)


def test_real_roads_moved_within_the_buffer_and_beyond_it(data):
    file = data / "spacenet" / "AOI_2_Vegas_img0.geojson"
    metres = pyproj.Transformer.from_crs(4326, 32611, always_xy=True).transform
    lines = [shapely.geometry.shape(f["geometry"]) for f in json.loads(file.read_text())["features"]]
    lines = [shapely.transform(line, metres, interleaved=False) for line in lines]
    truth = road_graph(lines)
    scores = [apls(truth, road_graph([translate(line, m, m) for line in lines])).apls for m in (0, 1, 2, 6)]
    assert scores[0] == pytest.approx(1)
    assert sorted(scores, reverse=True) == scores
    assert scores[2] > 0.95
    assert scores[3] < 0.2
