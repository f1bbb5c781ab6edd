"""Roads are one graph of the whole scene, the same for any blocks, and the graph that was drawn."""

import cv2
import numpy as np
import pytest
import shapely
from scipy import ndimage

from tasks.raster.centre_lines import REACH, walk_block
from tasks.raster.gdal import rasterio
from tasks.raster.grid import windows
from tasks.raster.line_repair import GAP
from tasks.raster.network import Network


def network(likely, side, *, area=None, shortest=20.0):
    """Edges and nodes of an image of probabilities, found block by block."""
    area = likely > 127 if area is None else area
    found, edges, nodes = Network(likely.shape[1], shortest=shortest), [], []
    for window in windows(likely.shape, side):
        around = tuple(
            slice(max(s.start - REACH, 0), min(s.stop + REACH, n)) for s, n in zip(window, likely.shape, strict=True)
        )
        new = found.add(walk_block(area[around], likely[around], around, window, shape=likely.shape))
        edges, nodes = edges + new[0], nodes + new[1]
    new = found.end()
    return sorted(edges + new[0], key=lambda e: e.id), sorted(nodes + new[1], key=lambda n: n.id)


def drawn(*roads, size=(400, 400)):
    """Roads, each points and a width, as probabilities of certainty."""
    areas = [(shapely.LineString(points).buffer(width / 2, cap_style="flat"), 254) for points, width in roads]
    return rasterio.features.rasterize(areas, out_shape=size, dtype="uint8")


def scribble(seed, size):
    """Many roads of all widths, with noise, holes and gaps."""
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size), np.uint8)
    for _ in range(14):
        points = rng.integers(-50, size + 50, (rng.integers(2, 5), 2)).astype(np.int32)
        cv2.polylines(image, [points], isClosed=False, color=1, thickness=int(rng.integers(3, 30)))
    speck = ndimage.gaussian_filter(rng.normal(size=(size, size)), 3) * 1.2
    cloud = ndimage.gaussian_filter(rng.normal(size=(size, size)), 12) * 40 > 1
    return np.clip((ndimage.gaussian_filter(image.astype(float), 3) + speck - 0.12 * cloud) * 254, 0, 254).astype(
        np.uint8
    )


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_same_for_any_blocks(seed):
    likely = scribble(seed, 1000)
    edges, nodes = network(likely, 5000)
    assert len(edges) > 60
    for side in (512, 277):
        again, same_nodes = network(likely, side)
        assert again == edges
        assert same_nodes == nodes


def test_it_holds_no_more_than_a_row_of_blocks_and_what_reaches_on():
    likely = scribble(1, 600)
    tall = np.concatenate([np.pad(likely, ((20, 20), (0, 0)))] * 4)
    found, held = Network(tall.shape[1]), []
    for window in windows(tall.shape, 160):
        around = tuple(
            slice(max(s.start - REACH, 0), min(s.stop + REACH, n)) for s, n in zip(window, tall.shape, strict=True)
        )
        found.add(walk_block(tall[around] > 127, tall[around], around, window, shape=tall.shape))
        if window[0].stop % 640 == 0 and window[1].stop == tall.shape[1]:
            held.append(len(found._pieces) + len(found._places))
    assert held == [0, 0, 0, 0]


@pytest.mark.parametrize("slant", [0, 40, 110])
def test_a_crossing_is_one_node_of_four_roads(slant):
    likely = drawn((((-9, 200), (409, 200)), 15), (((200 - slant, -9), (200 + slant, 409)), 11))
    edges, nodes = network(likely, 150)
    assert sorted(n.degree for n in nodes) == [1, 1, 1, 1, 4]
    assert len(edges) == 4
    crossing = next(n for n in nodes if n.degree == 4)
    assert np.hypot(*np.subtract(crossing.place, (200.5, 200.5))) < 3
    assert all(crossing.id in (e.start, e.end) for e in edges)
    assert sorted(round(e.width) for e in edges) == pytest.approx([11, 11, 15, 15], abs=1.5)
    assert all(e.mean == 1 for e in edges)


def test_a_road_runs_up_to_the_edges_of_the_scene():
    edges, nodes = network(drawn((((-40, 100), (440, 318)), 20)), 100)
    (edge,) = edges
    assert sorted(x for x, _ in edge.line.coords)[:: len(edge.line.coords) - 1] == [0.5, 399.5]
    middle = shapely.LineString([(0, 100 + 40 * 218 / 480), (400, 100 + 440 * 218 / 480)])
    assert edge.line.hausdorff_distance(middle) < 2.5
    assert [n.degree for n in nodes] == [1, 1]


@pytest.mark.parametrize(("says", "pieces"), [(120, 1), (30, 2)])
def test_a_gap_is_closed_where_the_probability_says_so(says, pieces):
    likely = drawn((((0, 200), (399, 200)), 13))
    likely[:, 180:210] = np.where(likely[:, 180:210] > 0, says, 0)
    edges, nodes = network(likely, 190)
    assert len(edges) == pieces
    assert len(nodes) == 2 * pieces
    if pieces == 1:
        assert edges[0].mean == pytest.approx(1 - 30 / 400 * (1 - says / 254), abs=0.02)


def test_a_gap_that_is_too_long_or_off_the_way_stays():
    likely = drawn((((0, 100), (399, 100)), 13), (((0, 300), (200, 300)), 13), (((215, 320), (215, 399)), 9))
    likely[likely == 0] = 100
    likely[:, 180 : 180 + GAP + 20] = np.minimum(likely[:, 180 : 180 + GAP + 20], 100)
    assert len(network(likely, 200)[0]) == 3


def test_a_ring_has_one_node_and_closes():
    image = np.zeros((300, 300), np.uint8)
    cv2.circle(image, (150, 150), 100, 254, 9)
    for side in (300, 120):
        (edge,), (node,) = network(image, side)
        assert edge.line.is_ring
        assert edge.start == edge.end == node.id
        assert node.degree == 2
        assert edge.line.length == pytest.approx(2 * np.pi * 100, rel=0.03)


def test_a_ring_with_a_bulge_is_the_same_for_any_blocks():
    image = np.zeros((300, 300), np.uint8)
    cv2.circle(image, (150, 150), 100, 254, 9)
    image[40:45, 140:148] = 254
    assert network(image, 300) == network(image, 120) == network(image, 77)


def test_many_crossings_in_a_row_are_the_same_for_any_blocks():
    """A broad road with a lane every few pixels: places that are one could go on for ever."""
    lanes = [(((x, 180), (x, 260)), 5) for x in range(40, 860, 15)]
    likely = drawn((((0, 200), (900, 200)), 40), *lanes, size=(420, 900))
    whole = network(likely, 900)
    assert len(whole[0]) > 50
    assert network(likely, 277) == whole
    assert network(likely, 150) == whole


def test_cars_are_no_holes_and_bulges_no_roads():
    likely = drawn((((0, 200), (399, 200)), 31))
    likely[195:205, 100:120] = 0
    likely[180:186, 250:262] = 254
    edges, nodes = network(likely, 150)
    assert len(edges) == 1
    assert len(nodes) == 2


def test_what_joins_nothing_must_be_long_enough():
    likely = drawn((((50, 50), (80, 50)), 5))
    assert network(likely, 400, shortest=20)[0]
    assert network(likely, 400, shortest=60) == ([], [])


def test_nothing_is_nothing():
    assert network(np.zeros((300, 300), np.uint8), 100) == ([], [])


@pytest.mark.parametrize("split", [34, 36, 38])
def test_how_long_a_short_road_is_does_not_depend_on_where_blocks_end(split):
    """Aslant, every step is longer than 1, that over an edge too."""
    image, row = np.zeros((100, 100), np.uint8), 30
    for step in range(17):
        image[row, 28 + step] = 254
        row += 4 <= step < 12
    least = 8 + 8 * 2**0.5 + 1 - 0.2
    whole, _ = network(image, 100, shortest=least)
    blocks, _ = network(image, split, shortest=least)
    assert [edge.line for edge in blocks] == [edge.line for edge in whole] != []
