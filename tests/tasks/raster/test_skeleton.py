"""Centre lines of areas whose centre lines are known."""

import numpy as np
import pytest
import shapely

from tasks.raster.skeleton import centre_lines


def test_a_straight_road_has_one_line_of_its_width():
    area = np.zeros((60, 200), bool)
    area[25:34, 10:190] = True
    (line,), (width,) = centre_lines(area)
    assert width == pytest.approx(9, abs=1.1)
    assert shapely.hausdorff_distance(line, shapely.LineString([(10, 29.5), (190, 29.5)])) < 7
    assert line.length == pytest.approx(180, abs=12)


def test_a_crossing_parts_the_roads_that_meet():
    area = np.zeros((200, 200), bool)
    area[96:105, :] = True
    area[:, 96:105] = True
    lines, widths = centre_lines(area)
    assert len(lines) == 4
    assert widths == pytest.approx([9] * 4, abs=1.1)
    middle = shapely.Point(100.5, 100.5)
    assert all(60 < line.length < 110 and line.distance(middle) < 12 for line in lines)


def test_short_branches_are_left_out_and_nothing_gives_nothing():
    blob = np.zeros((40, 40), bool)
    blob[15:25, 15:25] = True
    assert centre_lines(blob) == ([], [])
    assert centre_lines(np.zeros((40, 40), bool)) == ([], [])
