"""A line's pieces are the line."""

import numpy as np
import pytest
import shapely

from tasks.raster.lines import cut_line, widen

SHAPE = (100, 150)
WINDOW = shapely.box(0, 0, 150, 100)
LINES = {
    "straight": shapely.LineString([(10, 50), (140, 50)]),
    "bent": shapely.LineString([(5, 5), (60, 90), (61, 10), (145, 95)]),
    "leaves and comes back": shapely.LineString([(10, 10), (40, -30), (70, 10), (200, 50)]),
    "several": shapely.MultiLineString([[(0, 0), (30, 30)], [(100, 10), (100, 190)]]),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize(("length", "spacing"), [(32, 8), (10, 30), (1000, 5)])
def test_pieces_make_up_the_line_inside_the_window(name, length, spacing):
    pieces = cut_line(LINES[name], SHAPE, length=length, spacing=spacing)
    inside = LINES[name].intersection(WINDOW)
    assert sum(p.line.length for p in pieces) == pytest.approx(inside.length)
    assert shapely.hausdorff_distance(shapely.union_all([p.line for p in pieces]), inside) < 1e-9
    for piece in pieces:
        assert piece.line.length <= length + 1e-9
        assert len(piece.points) == max(1, round(piece.line.length / spacing))
        on = [piece.line.project(shapely.Point(p)) for p in piece.points]
        assert max(piece.line.distance(shapely.Point(p)) for p in piece.points) < 1e-9
        # Even, half a step from both ends.
        step = piece.line.length / len(on)
        np.testing.assert_allclose(on, (np.arange(len(on)) + 0.5) * step, atol=1e-6)


@pytest.mark.parametrize(
    "line", [shapely.LineString([(200, 0), (300, 50)]), shapely.LineString([(150, 0), (200, -50)])]
)
def test_a_line_outside_or_touching_a_corner_has_no_pieces(line):
    assert cut_line(line, SHAPE, length=10, spacing=2) == []


def test_a_widened_line_holds_the_pixels_whose_centre_is_near():
    line = LINES["bent"]
    rows, cols = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    distance = shapely.distance(shapely.points(cols + 0.5, rows + 0.5), line)
    wide = widen(line, 9.0, SHAPE)
    assert wide.dtype == bool
    clear = np.abs(distance - 4.5) > 0.05  # the buffer's arcs have corners
    np.testing.assert_array_equal(wide[clear], distance[clear] < 4.5)
