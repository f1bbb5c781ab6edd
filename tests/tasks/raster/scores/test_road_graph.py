"""Lines as a graph: where they meet, what is joined, what is not."""

import itertools

import cv2
import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import LineString

from infra.errors import UnusableInput
from tasks.raster.centre_lines import walk_block
from tasks.raster.network import Network
from tasks.raster.scores.road_graph import road_graph
from tasks.raster.skeleton import centre_lines

corner = st.tuples(st.integers(0, 60), st.integers(0, 60))
segments = st.lists(
    st.tuples(corner, corner).filter(lambda s: s[0] != s[1]).map(LineString), min_size=1, max_size=9
)  # fmt: skip


def size(graph):
    return len(graph.nodes), len(graph.edges)


def network_of(graph):
    found = nx.MultiGraph()
    found.add_nodes_from(range(len(graph.nodes)))
    found.add_edges_from(graph.edges.tolist())
    return found


CROSS = [LineString([(0, 0), (20, 20)]), LineString([(0, 20), (20, 0)])]


def test_lines_that_cross_meet_or_pass():
    assert size(road_graph(CROSS)) == (5, 4)
    assert size(road_graph(CROSS, cross=False)) == (4, 2)


def test_an_end_beside_a_line_joins_it():
    lines = [LineString([(0, 0), (40, 0)]), LineString([(20, 0.5), (20, 30)])]
    assert size(road_graph(lines)) == size(road_graph(lines, cross=False)) == (4, 3)
    assert size(road_graph(lines, snap=0)) == size(road_graph(lines, snap=0.4)) == (4, 2)
    joined = road_graph(lines)
    assert sorted(joined.lengths.round(6)) == pytest.approx([20, 20, 30], abs=0.3)
    assert nx.number_connected_components(network_of(joined)) == 1


def test_a_bridge_over_the_joint_of_a_road_stays_one():
    lines = [LineString([(0, 0), (20, 0)]), LineString([(20, 0), (40, 0)]), LineString([(20.2, -30), (20.2, 30)])]
    assert size(road_graph(lines, cross=False)) == (4, 2)


def test_near_ends_are_one_node_in_their_middle():
    lines = [LineString([(0, 0), (30, 0)]), LineString([(30.6, 0), (60, 0)]), LineString([(30.3, 0.6), (30.3, 30)])]
    graph = road_graph(lines, cross=False)
    assert size(graph) == (4, 3)
    assert [30.3, 0.2] in graph.nodes.round(9).tolist()
    for edge, line in zip(graph.edges, graph.lines, strict=True):
        assert graph.nodes[edge].tolist() == [list(line.coords[0]), list(line.coords[-1])]
    assert graph.lengths == pytest.approx(shapely.length(graph.lines))


def test_edges_that_just_go_on_are_merged_or_kept():
    chain = [LineString([(10 * n, 0), (10 * n + 10, 0)]) for n in range(3)]
    merged, kept = road_graph(chain), road_graph(chain, merge=False)
    assert (size(merged), size(kept)) == ((2, 1), (4, 3))
    assert merged.lengths.tolist() == [30]
    assert kept.lengths.tolist() == [10, 10, 10]


def test_a_ring_has_one_node_and_one_with_a_tail_two():
    ring = LineString([(0, 0), (20, 0), (20, 20), (0, 20), (0, 0)])
    assert size(road_graph([ring])) == (1, 1)
    tailed = road_graph([ring, LineString([(0, 0), (-30, 0)])])
    assert size(tailed) == (2, 2)
    assert sorted(tailed.lengths) == [30, 80]


def test_a_line_given_twice_counts_once_where_lines_cross():
    line = LineString([(0, 0), (30, 0)])
    assert size(road_graph([line, line.reverse()])) == (2, 1)
    assert size(road_graph([line, line.reverse()], cross=False, merge=False)) == (2, 2)


def test_what_is_shorter_than_the_snap_is_gone():
    assert size(road_graph([LineString([(0, 0), (0.5, 0)])])) == (0, 0)
    assert size(road_graph([LineString([(0, 0), (0.5, 0)])], snap=0)) == (2, 1)


def test_nothing_is_a_graph_without_edges():
    for lines in ([], [LineString()], [LineString([(1, 1), (1, 1)])]):
        graph = road_graph(lines)
        assert size(graph) == (0, 0)
        assert (graph.nodes.shape, graph.edges.shape) == ((0, 2), (0, 2))


def test_many_lines_in_one_and_heights_are_taken():
    both = shapely.MultiLineString([[(0, 0, 5), (20, 20, 6)], [(0, 20, 5), (20, 0, 7)]])
    assert size(road_graph([both])) == (5, 4)


@pytest.mark.parametrize("wrong", [shapely.box(0, 0, 1, 1), shapely.Point(1, 1), None])
def test_what_is_no_line_is_refused(wrong):
    with pytest.raises(UnusableInput, match=r"POLYGON|POINT|MISSING"):
        road_graph([LineString([(0, 0), (1, 1)]), wrong])


def test_a_coordinate_that_is_none_is_refused():
    with pytest.raises(UnusableInput, match="finite"):
        road_graph([LineString([(0, 0), (np.inf, 1)])])
    with pytest.raises(ValueError, match="snap is -1"):
        road_graph([], snap=-1)


@given(segments)
def test_a_graph_has_the_length_the_parts_and_the_turns_of_its_lines(lines):
    graph = road_graph(lines, snap=1e-6)
    touching = nx.Graph()
    touching.add_nodes_from(range(len(lines)))
    touching.add_edges_from((a, b) for a, b in itertools.combinations(range(len(lines)), 2) if lines[a] & lines[b])
    found = network_of(graph)
    assert graph.lengths.sum() == pytest.approx(shapely.union_all(lines).length, abs=1e-3)
    assert nx.number_connected_components(found) == nx.number_connected_components(touching)
    alone = {node for node, degree in found.degree if degree == 2 and not found.has_edge(node, node)}
    assert not alone
    for edge, line in zip(graph.edges, graph.lines, strict=True):
        assert graph.nodes[edge].tolist() == [list(line.coords[0]), list(line.coords[-1])]


def drawing():
    area = np.zeros((300, 300), np.uint8)
    for one, two in [((20, 150), (280, 150)), ((150, 20), (150, 280)), ((20, 60), (280, 60))]:
        cv2.line(area, one, two, 1, thickness=9)
    return area > 0


def test_lines_of_a_network_meet_as_they_are():
    area, window = drawing(), (slice(0, 300), slice(0, 300))
    network = Network(300)
    walks = walk_block(area, np.where(area, 254, 0).astype(np.uint8), window, window, shape=(300, 300))
    (edges, nodes), (more, others) = network.add(walks), network.end()
    edges, nodes = edges + more, nodes + others
    assert (len(nodes), len(edges)) == (8, 7)
    assert size(road_graph([e.line for e in edges], snap=0, cross=False, merge=False)) == (8, 7)


def test_lines_of_a_skeleton_meet_within_three_pixels():
    lines, _ = centre_lines(drawing())
    assert size(road_graph(lines, snap=0)) == (14, 7)
    assert size(road_graph(lines, snap=3)) == (8, 7)
