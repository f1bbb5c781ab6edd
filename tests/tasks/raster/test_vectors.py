"""Vectors land on the pixels that they cover."""

import gzip
import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.gdal import rasterio
from tasks.raster.grid import ground_resolution, whole
from tasks.raster.vectors import Footprints, Shapes, Tally, read_shapes

UTM = "EPSG:32636"
GRID = GeoBox((200, 300), Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), UTM)
PIXELS = GeoBox((200, 300), Affine.identity(), None)


def place(pixels, grid=GRID):
    """Geometry in pixel coordinates to the grid's."""
    a = grid.affine
    return shapely.transform(pixels, lambda xy: np.column_stack(a @ (xy[:, 0], xy[:, 1])))


def write(path, shapes, *, crs=UTM, layer=None, grid=GRID, **columns):
    frame = gpd.GeoDataFrame(columns, geometry=[place(s, grid) for s in shapes], crs=crs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        frame.to_parquet(path) if str(path).endswith("parquet") else frame.to_file(path, layer=layer)
    return str(path)


def read(path, grid=GRID, *, vector_class=None, road_width=6.0, **options):
    return read_shapes(path, grid, DEFAULT_CLASSES, vector_class=vector_class, road_width=road_width, **options)


SHAPES = [
    shapely.box(20.3, 30.2, 60.8, 90.4),
    shapely.Point(200, 100).buffer(37.7),
    shapely.Polygon(shapely.box(100, 20, 160, 80).exterior, [shapely.box(120, 40, 140, 60).exterior]),
    shapely.MultiPolygon([shapely.box(250, 5, 260, 15), shapely.box(280, 190, 350, 250)]),
]


def oracle(pairs, shape=(200, 300), background=0):
    return rasterio.features.rasterize(pairs, out_shape=shape, fill=background, dtype="uint8")


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "fgb", "shp", "parquet"])
def test_polygons_are_burnt_by_pixel_centre(tmp_path, suffix):
    names = ["building", "water", "Vegetation ", "building"]
    crs = UTM
    path = write(tmp_path / f"a.{suffix}", SHAPES, crs=crs, **{"class": names})
    shapes = read(path)
    ids = sorted(shapes.label.tolist())
    assert ids == [1, 1, 4, 5]
    expected = oracle(zip(SHAPES, [1, 5, 4, 1], strict=True))
    found = Footprints(shapes).labels(whole(GRID))
    # GeoJSON keeps 15 digits and goes through no other CRS here: at most an edge pixel may turn.
    assert (found != expected).mean() < 1e-4
    # Any window is a cut of the whole.
    for rows, cols in ((slice(0, 50), slice(0, 50)), (slice(60, 130), slice(190, 300)), (slice(199, 200), slice(0, 1))):
        np.testing.assert_array_equal(Footprints(shapes).labels((rows, cols)), found[rows, cols])
    assert (Footprints(shapes).labels(whole(GRID), background=9)[expected == 0] == 9).all()


def test_vectors_in_another_crs_are_brought_to_the_grid(tmp_path):
    path = tmp_path / "a.geojson"
    frame = gpd.GeoDataFrame({"class": ["water"]}, geometry=[place(SHAPES[1])], crs=UTM)
    frame.to_crs("EPSG:4326").to_file(path)
    found = Footprints(read(str(path))).labels(whole(GRID))
    assert (found != oracle([(SHAPES[1], 5)])).mean() < 1e-3


def test_lines_are_as_wide_as_they_say_in_ground_metres(tmp_path):
    lines = [shapely.LineString([(10, 50), (290, 50)]), shapely.LineString([(150, 5), (150, 195)])]
    lines.append(shapely.LineString([(20, 120), (100, 180)]))
    path = write(tmp_path / "roads.gpkg", lines, layer="roads", width=[4.0, np.nan, 0.0])
    shapes = read(path, road_width=10.0)
    metres = ground_resolution(GRID)
    expected_width = np.array([4.0, 10.0, 10.0]) / metres
    np.testing.assert_allclose(shapes.width, expected_width)
    assert shapes.label.tolist() == [2, 2, 2]
    areas = [line.buffer(w / 2, cap_style="flat") for line, w in zip(lines, expected_width, strict=True)]
    found = Footprints(shapes).labels(whole(GRID))
    assert (found != oracle([(a, 2) for a in areas])).mean() < 1e-4
    assert found[:100, 200].tolist().count(2) == 8


def test_widths_may_be_text(tmp_path):
    lines = [shapely.LineString([(10, y), (290, y)]) for y in (20, 60, 100, 140)]
    path = write(tmp_path / "roads.gpkg", lines, layer="roads", width=["4", "", "wide", None])
    np.testing.assert_allclose(read(path, road_width=9.0).width, np.array([4, 9, 9, 9]) / ground_resolution(GRID))


def test_polygons_lie_over_lines_whatever_their_order(tmp_path):
    shapes = [shapely.box(50, 50, 100, 100), shapely.LineString([(0, 75), (300, 75)])]
    for order in (slice(None), slice(None, None, -1)):
        names = ["building", "road"][order]
        path = write(tmp_path / f"{names[0]}.gpkg", shapes[order], **{"class": names})
        found = Footprints(read(path)).labels(whole(GRID))
        assert (found[50:100, 50:100] == 1).all()
        assert found[75, 20] == 2


def test_the_class_comes_from_the_column_then_the_layer_then_the_option(tmp_path):
    path = tmp_path / "a.gpkg"
    write(path, [SHAPES[0]], layer="buildings")
    write(path, [shapely.LineString([(0, 150), (100, 150)])], layer="Roads")
    write(path, SHAPES[1:3], layer="things", **{"class": ["water", None]})
    found = read(str(path))
    assert sorted(found.label.tolist()) == [1, 2, 5]
    assert found.tally == Tally(unclassed=1)
    assert sorted(read(str(path), vector_class="land").label.tolist()) == [1, 2, 3, 5]


def test_without_crs_coordinates_are_pixels(tmp_path):
    path = write(tmp_path / "a.geojson", SHAPES[:1], crs=None, grid=PIXELS)
    found = Footprints(read(path, PIXELS, vector_class="building")).labels(whole(PIXELS))
    np.testing.assert_array_equal(found, oracle([(SHAPES[0], 1)]))
    line = write(tmp_path / "l.geojson", [shapely.LineString([(0, 50), (300, 50)])], crs=None, grid=PIXELS)
    assert read(line, PIXELS, vector_class="road", road_width=6).width.tolist() == [6.0]


def test_a_bow_tie_is_repaired(tmp_path):
    bow = shapely.Polygon([(20, 20), (80, 80), (80, 20), (20, 80)])
    found = Footprints(read(write(tmp_path / "a.gpkg", [bow], **{"class": ["water"]}))).labels(whole(GRID))
    assert (found != oracle([(shapely.make_valid(bow), 5)])).mean() < 1e-3
    assert found.any()


def test_points_and_empty_shapes_are_left_out(tmp_path):
    shapes = [SHAPES[0], shapely.Point(5, 5), shapely.Polygon()]
    path = tmp_path / "a.gpkg"
    gpd.GeoDataFrame({"class": ["water"] * 3}, geometry=[place(s) for s in shapes], crs=UTM).to_file(path)
    found = read(str(path))
    assert len(found) == 1
    assert found.tally == Tally(others=1)
    told = "1 shape on the scene, of 3 in the file; 1 that is neither a polygon nor a line left out"
    assert found.summary() == told


def test_what_is_mended_or_left_out_is_counted(tmp_path):
    """A bow tie, a polygon with a spike, one that is a line in truth, and one elsewhere; a class that is none."""
    bow = shapely.Polygon([(20, 20), (80, 80), (80, 20), (20, 80)])
    spike = shapely.Polygon([(100, 20), (140, 20), (140, 60), (140, 90), (140, 60), (100, 60)])
    flat = shapely.Polygon([(200, 20), (240, 20), (220, 20)])
    far = shapely.transform(bow, lambda xy: xy + 1000)
    shapes = [bow, spike, flat, far, SHAPES[0], SHAPES[1]]
    path = write(tmp_path / "a.gpkg", shapes, **{"class": ["water"] * 4 + ["lake", None]})
    found = read(path)
    assert found.tally == Tally(mended=2, unclassed=2, lost=1)
    assert len(found) == 2
    assert found.summary() == (
        "2 shapes on the scene, of 6 in the file; 2 invalid ones mended; 1 that encloses nothing left out; "
        "2 of no class of the map, or out of sight, left out"
    )
    one = write(tmp_path / "c.gpkg", [bow], **{"class": ["water"]})
    assert read(one).summary() == "1 shape on the scene; 1 invalid one mended"
    assert shapely.is_valid(found.geometry).all()
    assert len(read(write(tmp_path / "b.gpkg", shapes[:2], layer="buildings", **{"class": [1, 2]}))) == 2
    assert set(shapely.get_type_id(found.geometry)) <= {3, 6}
    np.testing.assert_allclose(shapely.area(found.geometry), [1800, 1600], rtol=1e-6)


def test_shapes_that_lie_there_and_show_nothing_are_not_said_to_lie_elsewhere(tmp_path):
    flat = shapely.Polygon([(200, 20), (240, 20), (220, 20)])
    points = [shapely.Point(5, 5), shapely.Point(6, 7)]
    for name, shapes, words in (
        ("a", [flat], "on the scene that could be used \\(1 that encloses nothing left out\\); expected"),
        ("b", points, "on the scene that could be used \\(2 that are neither polygons nor lines left out\\)"),
        ("c", [*points, flat], "1 that encloses nothing left out, 2 that are neither"),
    ):
        path = write(tmp_path / f"{name}.geojson", shapes, **{"class": ["water"] * len(shapes)})
        with pytest.raises(UnusableInput, match=words):
            read(path)


def test_only_what_lies_near_is_read(tmp_path, monkeypatch):
    """Of a thousand features, the reader is handed a few: a filter in the file, whatever its CRS."""
    everywhere = [shapely.box(x, y, x + 20, y + 20) for x in range(0, 8700, 290) for y in range(0, 8700, 290)]
    names = ["land"] * len(everywhere)
    degrees = gpd.GeoDataFrame({"class": names}, geometry=[place(s) for s in everywhere], crs=UTM).to_crs(4326)
    from tasks.raster import vectors

    handed = []

    def spy(path, **options):
        for layer in read_layers(path, **options):
            handed.append(len(layer.geometry))
            yield layer

    read_layers = vectors.read_layers
    monkeypatch.setattr(vectors, "read_layers", spy)
    for name in ("a.gpkg", "a.fgb", "a.geojson", "a.parquet", "b.parquet"):
        path = tmp_path / name
        if name.endswith("parquet"):
            degrees.to_parquet(path, write_covering_bbox=name == "a.parquet")
        else:
            degrees.to_file(path)
        assert len(read(str(path))) == 2  # at column 0 and 290
        assert handed.pop() <= 4


def test_a_packed_geojson(tmp_path):
    plain = write(tmp_path / "a.geojson", SHAPES, **{"class": ["water"] * 4})
    (tmp_path / "b.geojson.gz").write_bytes(gzip.compress((tmp_path / "a.geojson").read_bytes()))
    assert shapely.equals(read(str(tmp_path / "b.geojson.gz")).geometry, read(plain).geometry).all()


def test_a_scene_across_the_antimeridian(tmp_path):
    grid = GeoBox((200, 300), Affine(0.5, 0, 0, 0, -0.5, 0), "+proj=laea +lat_0=-17 +lon_0=180 +datum=WGS84")
    grid = GeoBox(grid.shape, Affine.translation(-75, 50) @ grid.affine, grid.crs)
    sides = [shapely.box(20, 20, 120, 120), shapely.box(180, 20, 280, 120)]
    frame = gpd.GeoDataFrame({"class": ["water", "land"]}, geometry=[place(s, grid) for s in sides], crs=str(grid.crs))
    for name in ("a.gpkg", "a.parquet"):
        degrees = frame.to_crs(4326)
        assert degrees.total_bounds[0] < -179 < 179 < degrees.total_bounds[2]
        degrees.to_parquet(tmp_path / name) if name.endswith("parquet") else degrees.to_file(tmp_path / name)
        found = Footprints(read(str(tmp_path / name), grid)).labels(whole(grid))
        np.testing.assert_array_equal(found, oracle(zip(sides, [5, 3], strict=True)))


def test_what_has_no_crs_may_be_told_one(tmp_path):
    path = write(tmp_path / "c.shp", SHAPES, crs=None)
    found = read(path, vector_class="land", assume_crs=UTM)
    assert shapely.area(shapely.symmetric_difference(found.geometry, np.array(SHAPES, object))).max() < 1e-3
    refused(path, "'EPSG:0' is no CRS", vector_class="land", assume_crs="EPSG:0")


def test_damage_is_not_taken_for_the_end(tmp_path):
    """What GDAL's stream of Arrow batches does."""
    boxes = [shapely.box(x, y, x + 1, y + 1) for x in range(0, 298, 2) for y in range(0, 198, 2)]
    for suffix in ("gpkg", "fgb", "parquet"):
        path = tmp_path / f"a.{suffix}"
        write(path, boxes, **{"class": ["water"] * len(boxes)})
        content = bytearray(path.read_bytes())
        content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 4)
        path.write_bytes(content)
        refused(path, "cannot be read as GeoParquet|is not a vector file")


def test_shapes_far_away_do_no_harm(tmp_path):
    """UTM has no place for the other side of the world: it becomes infinity."""
    there = gpd.GeoSeries([place(SHAPES[0])], crs=UTM).to_crs("EPSG:4326")
    path = tmp_path / "a.geojson"
    far = shapely.box(-148, -5, -146, 5)
    gpd.GeoDataFrame({"class": ["water"] * 2}, geometry=[far, there[0]], crs="EPSG:4326").to_file(path)
    shapes = read(str(path))
    assert len(shapes) == 1
    assert (Footprints(shapes).labels(whole(GRID)) != oracle([(SHAPES[0], 5)])).mean() < 1e-3


def test_real_building_footprints_lie_on_their_scene(data):
    """The share of a SpaceNet scene that is building, from its truth by plain rasterio."""
    scene, truth = (data / "spacenet" / n for n in ("sample_geotiff.tif", "geotiff_labels.geojson"))
    if not (scene.is_file() and truth.is_file()):
        pytest.skip(f"{truth} is not there")
    with rasterio.open(scene) as source:
        grid = GeoBox(source.shape, source.transform, source.crs.to_wkt())
        frame = gpd.read_file(truth)
        frame = frame[frame.geom_type.isin(["Polygon", "MultiPolygon"])]
        expected = rasterio.features.rasterize(
            frame.geometry.force_2d(), out_shape=source.shape, transform=source.transform, dtype="uint8"
        )
    found = Footprints(read(str(truth), grid, vector_class="building")).labels(whole(grid))
    assert expected.mean() > 0.03
    assert (found != expected).mean() < 1e-4


def refused(path, words, **options):
    with pytest.raises(UnusableInput, match=words) as caught:
        read(str(path), **options)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_used_is_refused(tmp_path):
    refused(tmp_path / "no.gpkg", "There is no file")
    (tmp_path / "bad.gpkg").write_text("no vectors")
    refused(tmp_path / "bad.gpkg", "is not a vector file that GDAL can open")
    refused(write(tmp_path / "a.gpkg", SHAPES[:1]), "does not say what it shows .*--vector-class")
    refused(write(tmp_path / "b.gpkg", SHAPES[:1], **{"class": ["lake"]}), "There is no class 'lake'")
    refused(write(tmp_path / "c.shp", SHAPES[:1], crs=None), "has no CRS and the scene has one", vector_class="land")
    beside = [shapely.box(400, 400, 500, 500)]
    refused(write(tmp_path / "d.gpkg", beside, **{"class": ["land"]}), "None of the shapes of .* lies on the scene")
    gpd.GeoDataFrame({"class": []}, geometry=[], crs=UTM).to_file(tmp_path / "empty.gpkg")
    refused(tmp_path / "empty.gpkg", "is empty")
    gpd.GeoDataFrame({"class": []}, geometry=[], crs=UTM).to_parquet(tmp_path / "empty.parquet")
    refused(tmp_path / "empty.parquet", "is empty")
    (tmp_path / "bad.parquet").write_text("no vectors")
    refused(tmp_path / "bad.parquet", "cannot be read as GeoParquet")
    (tmp_path / "bad.osm.pbf").write_text("no vectors")
    refused(tmp_path / "bad.osm.pbf", "is not a vector file that GDAL can open")
    pd.DataFrame({"class": ["water"]}).to_parquet(tmp_path / "plain.parquet")
    refused(tmp_path / "plain.parquet", "without a description of its geometry")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    refused(tmp_path / "table.csv", "has no layer with shapes")
    refused(
        write(tmp_path / "points.gpkg", [shapely.Point(5, 5)]),
        "nothing on the scene that could be used",
        vector_class="land",
    )


def test_the_oracle_s_grid_is_in_metres():
    """What the width test rests on: half a metre a pixel."""
    assert pyproj.CRS(UTM).axis_info[0].unit_name == "metre"
    assert ground_resolution(GRID) == pytest.approx(0.5, rel=1e-3)


def test_parts_of_polygons_are_shapes_of_their_own_and_lines_stay_whole():
    one, two, three = (shapely.box(x, 0, x + 2, 2) for x in (0, 5, 10))
    lines = shapely.MultiLineString([[(0, 0), (1, 1)], [(2, 2), (3, 3)]])
    geometry = np.array([one, lines, shapely.MultiPolygon([two, three])], object)
    found = Shapes(geometry, np.array([1, 2, 3], np.uint8), np.array([0, 4.0, 0]), total=7).apart((9, 20))
    assert [g.wkt for g in found.geometry] == [g.wkt for g in (one, lines, two, three)]
    np.testing.assert_array_equal(found.label, [1, 2, 3, 3])
    np.testing.assert_array_equal(found.width, [0, 4, 0, 0])
    assert found.total == 7
    nothing = Shapes(geometry[:0], np.zeros(0, np.uint8), np.zeros(0)).apart((9, 20))
    assert len(nothing) == 0
    near = Shapes(geometry, np.array([1, 2, 3], np.uint8), np.array([0, 4.0, 0]), total=7).apart((9, 8))
    assert [g.wkt for g in near.geometry] == [g.wkt for g in (one, lines, two)], "three lies off the scene"
