"""Grids keep their place: through JSON, windows and metres."""

import json
import math

import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster import grid as grids
from tasks.raster.grid import crop, describe_extent, ground_resolution, same_place, whole, window_of, windows

NORTH_UP = Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)
SOUTH_UP = Affine(0.5, 0, 500_000, 0, 0.5, 4_000_000)
ROTATED = Affine.translation(500_000, 4_000_000) @ Affine.rotation(30) @ Affine.scale(2, -2)
UTM = "EPSG:32636"


@pytest.mark.parametrize(
    "crs", [None, UTM, "EPSG:4326", "+proj=tmerc +lat_0=12.3 +lon_0=45.6 +datum=WGS84 +units=us-ft"]
)
@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP, ROTATED, Affine(1 / 3, 1e-7, 0.1, -1e-9, -1 / 7, 2**0.5)])
def test_json_brings_back_the_same_grid(crs, transform):
    grid = GeoBox((300, 500), transform, crs)
    back = grids.from_json(json.loads(json.dumps(grids.to_json(grid))))
    assert back.shape == grid.shape
    assert back.affine == grid.affine  # bit for bit
    assert back.crs == grid.crs
    assert same_place(back, grid)


@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP, ROTATED, Affine.identity()])
@settings(deadline=None)
@given(top=st.integers(0, 90), left=st.integers(0, 40), height=st.integers(1, 10), width=st.integers(1, 10))
def test_the_window_of_a_window_s_bounds_is_that_window(transform, top, left, height, width):
    grid = GeoBox((100, 50), transform, None if transform.is_identity else UTM)
    part = crop(grid, (slice(top, top + height), slice(left, left + width)))
    corners = [part.affine @ p for p in ((0, 0), (width, 0), (0, height), (width, height))]
    xs, ys = zip(*corners, strict=True)
    rows, cols = window_of(grid, (min(xs), min(ys), max(xs), max(ys)))
    if transform is not ROTATED:
        assert (rows, cols) == (slice(top, top + height), slice(left, left + width))
    # The bounds of a turned window hold the window itself, and nothing farther off than its diagonal.
    reach = math.ceil(math.hypot(height, width)) + 1
    assert max(top - reach, 0) <= rows.start <= top
    assert top + height <= rows.stop <= min(top + height + reach, 100)
    assert max(left - reach, 0) <= cols.start <= left
    assert left + width <= cols.stop <= min(left + width + reach, 50)


def test_bounds_may_come_in_any_order_and_are_cut_at_the_grid():
    grid = GeoBox((100, 200), NORTH_UP, UTM)
    assert window_of(grid, (500_010, 3_999_990, 500_020, 3_999_980)) == (slice(20, 40), slice(20, 40))
    assert window_of(grid, (500_020, 3_999_980, 500_010, 3_999_990)) == (slice(20, 40), slice(20, 40))
    assert window_of(grid, (0, 0, 1e9, 1e9)) == whole(grid)
    # Printed with a little too few decimals, a bound still means the same pixel.
    assert window_of(grid, (500_009.9999, 3_999_980.0001, 500_020.0001, 3_999_990.0001))[0] == slice(20, 40)


@pytest.mark.parametrize("bounds", [(0, 0, 10, 10), (500_101, 3_999_950, 500_200, 3_999_990)])
def test_bounds_beside_the_grid_are_refused_with_the_grid_s_extent(bounds):
    with pytest.raises(UnusableInput, match=r"x 500000 to 500100, y 3999950 to 4000000 \(EPSG:32636\)"):
        window_of(GeoBox((100, 200), NORTH_UP, UTM), bounds)


def test_the_extent_says_where_there_is_no_crs():
    assert describe_extent(GeoBox((30, 50), Affine.identity(), None)) == "x 0 to 50, y 0 to 30 (no CRS: pixels)"
    assert "a custom CRS" in describe_extent(GeoBox((3, 5), NORTH_UP, "+proj=laea +lat_0=1 +lon_0=2 +datum=WGS84"))


@settings(deadline=None)
@given(rows=st.integers(1, 300), cols=st.integers(1, 300), size=st.integers(5, 400))
def test_windows_cover_every_pixel_once(rows, cols, size):
    parts = list(windows((rows, cols), size))
    assert sum((r.stop - r.start) * (c.stop - c.start) for r, c in parts) == rows * cols
    assert len({(r.start, c.start) for r, c in parts}) == len(parts)
    assert all(0 <= r.start < r.stop <= rows and r.stop - r.start <= size for r, _ in parts)
    assert all(0 <= c.start < c.stop <= cols and c.stop - c.start <= size for _, c in parts)


def test_degrees_are_measured_on_the_ellipsoid():
    grid = GeoBox((100, 100), Affine(1e-5, 0, 31.0, 0, -1e-5, 60.0), "EPSG:4326")
    geod = pyproj.Geod(ellps="WGS84")
    lon, lat = 31.0 + 50e-5, 60.0 - 50e-5
    across = geod.inv(lon, lat, lon + 1e-5, lat)[2]
    down = geod.inv(lon, lat, lon, lat - 1e-5)[2]
    assert ground_resolution(grid) == pytest.approx(math.sqrt(across * down), rel=1e-6)
    assert across / down == pytest.approx(0.5, rel=0.01)  # a degree of longitude at 60° is half as long


@pytest.mark.parametrize(
    ("crs", "transform", "metres", "tolerance"),
    [
        (UTM, NORTH_UP, 0.5 / 0.9996, 1e-5),  # on the central meridian a UTM metre is 0.9996 of one on the ground
        ("EPSG:2263", Affine(1, 0, 985_000, 0, -1, 200_000), 0.3048006096, 1e-4),  # New York, US survey feet
        ("EPSG:3857", Affine(1, 0, 0, 0, -1, 8_399_737.89), 0.5, 5e-3),  # 60° north: twice too large
        ("EPSG:3395", Affine(1, 0, 0, 0, -1, 0), 1.0, 1e-5),  # on the equator
    ],
)
def test_projected_units_become_ground_metres(crs, transform, metres, tolerance):
    assert ground_resolution(GeoBox((100, 100), transform, crs)) == pytest.approx(metres, rel=tolerance)


def test_a_turned_grid_has_the_resolution_of_a_straight_one():
    assert ground_resolution(GeoBox((10, 10), ROTATED, UTM)) == pytest.approx(2 / 0.9996, rel=1e-5)


def test_there_are_no_metres_without_a_crs_and_local_ones_count_as_they_are():
    assert ground_resolution(GeoBox((10, 10), Affine.scale(0.5), None)) is None
    local = 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["foot",0.3048]]'
    assert ground_resolution(GeoBox((10, 10), Affine.scale(2, -2), local)) == pytest.approx(0.6096)


def test_grids_of_one_place_differ_by_less_than_a_hundredth_of_a_pixel():
    grid = GeoBox((100, 200), NORTH_UP, UTM)
    assert same_place(grid, GeoBox((100, 200), NORTH_UP @ Affine.translation(0.005, 0.005), UTM))
    others = [
        GeoBox((100, 201), NORTH_UP, UTM),
        GeoBox((100, 200), NORTH_UP @ Affine.translation(0.02, 0), UTM),
        GeoBox((100, 200), NORTH_UP @ Affine.scale(1.0001), UTM),  # the far corner is off by 0.02
        GeoBox((100, 200), SOUTH_UP, UTM),
        GeoBox((100, 200), NORTH_UP, "EPSG:32637"),
        GeoBox((100, 200), NORTH_UP, None),
    ]
    assert not any(same_place(grid, other) or same_place(other, grid) for other in others)
