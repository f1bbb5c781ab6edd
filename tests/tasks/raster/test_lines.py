"""Pixels beside lines: which is the nearest and how far it is, whatever the window."""

import numpy as np
import pytest
import shapely

from tasks.raster.grid import within
from tasks.raster.lines import beside, widen

LINES = [shapely.LineString([(0, 10.5), (100, 10.5)]), shapely.LineString([(60.5, 0), (60.5, 90)])]


def test_distances_are_those_from_the_pixels_of_the_nearest_line():
    found = beside(LINES, (slice(0, 80), slice(0, 100)), reach=5)
    rows, cols = np.indices((80, 100))
    np.testing.assert_array_equal(found.away, np.minimum(abs(rows - 10), abs(cols - 60)))
    assert found.number[12, 5] == 0
    assert found.number[60, 70] == 1
    assert found.number[10, 60] == 1, "where two cross, the later counts"


@pytest.mark.parametrize("window", [(slice(20, 50), slice(30, 58)), (slice(0, 9), slice(0, 100))])
def test_a_window_sees_lines_around_it(window):
    """Within the reach it says what a window of the whole says."""
    whole = (slice(0, 80), slice(0, 100))
    every, part = beside(LINES, whole, reach=20), beside(LINES, window, reach=20)
    near = part.away <= 20
    own = within(window, whole)
    np.testing.assert_array_equal(part.away[near], every.away[own][near])
    np.testing.assert_array_equal(part.number[near], every.number[own][near])


def test_lines_that_are_far_away_are_none():
    assert beside(LINES, (slice(200, 220), slice(200, 220)), reach=30) is None


def test_a_polygon_is_widened_by_half_of_it():
    assert widen(shapely.box(10, 10, 20, 20), 4, (40, 40)).sum() in range(12 * 12, 14 * 14 + 1)
    assert widen(shapely.box(10, 10, 20, 20), 0, (40, 40)).sum() == 100
