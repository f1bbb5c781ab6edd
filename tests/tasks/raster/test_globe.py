"""Outlines on the globe are cut at the antimeridian and whole at a pole."""

import numpy as np
import pytest
import shapely

from tasks.raster.globe import bounds_on_globe, on_globe


def ring(*corners):
    return np.array(corners, float)


def test_an_outline_that_crosses_nothing_stays():
    found = on_globe(ring((10, 50), (11, 50), (11, 51), (10, 51)))
    assert found.equals(shapely.box(10, 50, 11, 51))
    assert bounds_on_globe(found) == [10, 50, 11, 51]


def test_one_across_the_antimeridian_is_two():
    found = on_globe(ring((179, -10), (-178, -10), (-178, -8), (179, -8)))
    assert found.geom_type == "MultiPolygon"
    assert found.equals(shapely.MultiPolygon([shapely.box(179, -10, 180, -8), shapely.box(-180, -10, -178, -8)]))
    assert bounds_on_globe(found) == [179, -10, -178, -8]


@pytest.mark.parametrize("sign", [1, -1])
def test_one_around_a_pole_holds_it(sign):
    east = np.arange(-170, 190, 10.0)[:: int(sign)]
    found = on_globe(np.stack([east, np.full(len(east), 80.0 * sign)], axis=1))
    assert found.area == pytest.approx(360 * 10, rel=0.01)
    assert found.is_valid
    west, south, east, north = bounds_on_globe(found)
    assert (west, east) == (-180, 180)
    assert (south, north) == ((80, 90) if sign > 0 else (-90, -80))
