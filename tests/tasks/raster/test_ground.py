"""Metres of pixels are those of the ellipsoid, whatever the CRS."""

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.raster.grid import Control
from tasks.raster.ground import Ground

GRIDS = {
    "utm": ("EPSG:32640", Affine(0.3, 0, 3e5, 0, -0.3, 2.8e6)),
    "turned": ("EPSG:32640", Affine.translation(3e5, 2.8e6) @ Affine.rotation(30) @ Affine.scale(0.3, -0.3)),
    "web mercator": ("EPSG:3857", Affine(0.5, 0, 1e6, 0, -0.5, 8.4e6)),
    "degrees": ("EPSG:4326", Affine(2e-6, 0, 10, 0, -2e-6, 60)),
    "a pole": ("EPSG:3031", Affine(30, 0, -45_000, 0, -30, 60_000)),
    "feet": ("EPSG:2263", Affine(1, 0, 9.8e5, 0, -1, 2e5)),
}
POLYGONS = np.array([shapely.box(100, 200, 180, 260), shapely.box(2900, 3800, 2990, 3820)])
LINES = np.array([shapely.LineString([(0, 0), (300, 400), (310, 400)]), shapely.LineString([(5, 5), (5, 3000)])])


@pytest.mark.parametrize("name", GRIDS)
def test_areas_and_lengths_are_geodesic(name):
    crs, transform = GRIDS[name]
    ground = Ground(GeoBox((4000, 3000), transform, crs), None)
    degrees = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    geod = pyproj.Geod(ellps="WGS84")

    def there(shape):
        dense = shapely.segmentize(shape, 20)
        return shapely.transform(dense, lambda xy: np.stack(degrees.transform(*ground.place(xy).T), axis=1))

    expected = [abs(geod.geometry_area_perimeter(there(p))[0]) for p in POLYGONS]
    np.testing.assert_allclose(ground.areas(POLYGONS), expected, rtol=1e-5)
    np.testing.assert_allclose(ground.lengths(LINES), [geod.geometry_length(there(x)) for x in LINES], rtol=1e-5)
    assert ground.unit == "m"


def test_without_a_crs_a_pixel_is_one_and_places_are_columns_and_rows():
    ground = Ground(GeoBox((40, 30), Affine.identity(), None), None)
    assert ground.unit == "px"
    assert ground.areas(POLYGONS).tolist() == [4800, 1800]
    assert ground.lengths(LINES).tolist() == [510, 2995]
    np.testing.assert_array_equal(ground.place(np.array([[3.0, 4.0]])), [[3.0, 4.0]])


def test_ground_control_points_place_what_has_no_transform():
    points = tuple((r, c, 10 + c * 2e-6, 60 - r * 2e-6, 0.0) for r in (0, 2000, 4000) for c in (0, 1500, 3000))
    ground = Ground(GeoBox((4000, 3000), Affine.identity(), None), Control(pyproj.CRS(4326).to_wkt(), points))
    same = Ground(GeoBox((4000, 3000), GRIDS["degrees"][1], "EPSG:4326"), None)
    np.testing.assert_allclose(ground.areas(POLYGONS), same.areas(POLYGONS), rtol=1e-4)
    places = np.array([[10.0, 20.0], [2000.0, 3000.0]])
    np.testing.assert_allclose(ground.place(places), same.place(places), atol=1e-9)


def test_a_scene_that_reaches_beyond_the_globe_is_measured_where_it_is_on_it():
    ground = Ground(GeoBox((3600, 7200), Affine(0.05, 0, -180, 0, -0.05, 90), "EPSG:4326"), None)
    here = shapely.box(3599, 1799, 3601, 1801)
    assert ground.areas(np.array([here]))[0] == pytest.approx(4 * (0.05 * 111_320) * (0.05 * 110_574), rel=0.01)
    assert np.isfinite(ground.metric(np.array([[0.0, 0.0], [7200.0, 3600.0]]))).all()


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (1, 1)])
def test_scenes_one_pixel_wide(shape):
    ground = Ground(GeoBox(shape, GRIDS["utm"][1], GRIDS["utm"][0]), None)
    assert ground.areas(np.array([shapely.box(0, 0, 1, 1)])) == pytest.approx(0.09, rel=1e-3)


def test_a_local_crs_counts_in_its_unit():
    wkt = 'LOCAL_CS["Arbitrary",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    ground = Ground(GeoBox((40, 30), Affine(2, 0, 0, 0, -2, 0), wkt), None)
    assert not ground.on_earth
    assert ground.areas(np.array([shapely.box(0, 0, 3, 4)])) == pytest.approx(48)


def test_no_lines_have_no_lengths():
    ground = Ground(GeoBox((4, 3), *reversed(GRIDS["utm"])), None)
    assert len(ground.lengths(np.empty(0, object))) == len(ground.areas(np.empty(0, object))) == 0
