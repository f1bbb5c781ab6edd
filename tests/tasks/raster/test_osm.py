"""OpenStreetMap's objects, by whichever file they come, are the buildings and roads that a camera sees."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from osm_files import Map

from infra.errors import UnusableInput
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.osm import osm_meaning
from tasks.raster.overpass import SIDE, quarters, question, read_answer, tiles
from tasks.raster.vectors import Tally, read_shapes

STEP = 1e-4
"""Degrees a cell of the map that the tests draw; a pixel is a tenth."""
GRID = GeoBox((400, 400), Affine(STEP / 10, 0, 10, 0, -STEP / 10, 50 + 40 * STEP), "EPSG:4326")
METRES = 0.893
"""Ground metres of a pixel at 50° north: the root of 1.112 by 0.717."""


def square(x, y, side):
    corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
    return at(corners)


def at(cells):
    return [(round(10 + x * STEP, 7), round(50 + y * STEP, 7)) for x, y in cells]


def row(y):
    return at([(2, y), (38, y)])


@pytest.fixture
def town():
    """A map of which four buildings and five roads can be seen."""
    it = Map()
    it.way(square(1, 1, 3), building="yes")
    it.way(square(5, 1, 3), building="roof")
    for x, tags in ((9, {"building": "no"}), (13, {"building": "construction"}), (17, {"building__part": "yes"})):
        it.way(square(x, 1, 3), **tags)
    it.way(square(21, 1, 3), building="garage", layer="-1")
    it.way(square(25, 1, 3), building="yes", location="underground")
    it.way(row(6), highway="residential")
    it.way(row(7), highway="primary", width="11 m")
    it.way(row(8), highway="tertiary", lanes="4")
    it.way(row(9), highway="road")
    for y, tags in enumerate(({"tunnel": "yes"}, {"tunnel": "building_passage"}, {"layer": "-2"}, {"covered": "yes"})):
        it.way(row(10 + y), highway="primary", **tags)
    for y, kind in enumerate(("footway", "path", "steps", "proposed", "construction", "cycleway")):
        it.way(row(14 + y), highway=kind)
    it.way(square(1, 22, 4), highway="service", area="yes")
    it.way(square(7, 22, 4), highway="service")  # a way around a place
    outline = square(15, 22, 9)
    halves = it.way(outline[:3]), it.way(outline[2:][::-1])
    holes = it.way(square(17, 24, 5)), it.way(square(18, 25, 2))
    it.multipolygon(
        [(halves[1], "outer"), (holes[0], "inner"), (halves[0], "outer"), (holes[1], "outer")], building="yes"
    )
    it.way(square(26, 22, 3), landuse="residential")
    return it


BUILDINGS = [
    shapely.box(1, 1, 4, 4),
    shapely.box(5, 1, 8, 4),
    shapely.box(15, 22, 24, 31) - shapely.box(17, 24, 22, 29) | shapely.box(18, 25, 20, 27),
]
WIDTHS = {6: 5.5, 7: 11.0, 8: 14.0, 9: 9.0}
"""Row of each straight road to its width in metres; 9 is what is asked for where nothing is known."""


def check(shapes):
    """Whether shapes are the town's."""

    def cells(geometry):
        return shapely.transform(geometry, lambda xy: xy * [0.1, -0.1] + [0, 40])

    polygons = shapes.width == 0
    outlines = cells(shapes.geometry[polygons & (shapes.label == 1)])
    assert shapely.union_all(outlines).symmetric_difference(shapely.union_all(BUILDINGS)).area < 1e-3
    areas = cells(shapes.geometry[polygons & (shapes.label == 2)])
    assert shapely.union_all(areas).symmetric_difference(shapely.box(1, 22, 5, 26)).area < 1e-3
    lines = cells(shapes.geometry[~polygons])
    found = {
        round(line.bounds[1]): width * METRES
        for line, width in zip(lines, shapes.width[~polygons], strict=True)
        if line.bounds[3] - line.bounds[1] < 0.1
    }
    assert found == pytest.approx(WIDTHS, rel=2e-3)
    rings = [line for line in lines if line.bounds[3] - line.bounds[1] > 0.1]
    assert [line.is_ring for line in rings] == [True]


def read(path, grid=GRID):
    return read_shapes(str(path), grid, DEFAULT_CLASSES, vector_class=None, road_width=9.0)


def test_an_extract(town, tmp_path):
    path = tmp_path / "town.osm.pbf"
    path.write_bytes(town.pbf())
    shapes = read(path)
    check(shapes)
    assert shapes.tally.unclassed > 5
    assert not list(tmp_path.glob("*tmp*"))
    (tmp_path / "cut.osm.pbf").write_bytes(town.pbf()[:-40])
    with pytest.raises(UnusableInput, match="not a vector file"):
        read(tmp_path / "cut.osm.pbf")


def test_an_answer_of_overpass(town):
    seen = set()
    ids, layer = read_answer(town.overpass(), seen)
    assert len(ids) == len(seen) == len(layer.geometry)
    meaning = osm_meaning(layer)
    assert min(ids) == "relation/1"
    known = meaning.names != None  # noqa: E711
    pixels = shapely.transform(meaning.geometry[known], lambda xy: np.column_stack(~GRID.affine @ tuple(xy.T)))
    from tasks.raster.vectors import Shapes

    width = np.where(np.isnan(meaning.width[known]), 9.0, meaning.width[known])
    lines = shapely.get_type_id(pixels) == 1
    label = np.where(meaning.names[known] == "building", 1, 2).astype(np.uint8)
    check(Shapes(pixels, label, np.where(lines, width / METRES, 0.0)))
    assert read_answer(town.overpass(), seen)[0] == []


def test_an_answer_with_holes_in_it():
    """Nodes that the server does not know, relations whose ways are missing, and no geometry at all."""
    node = {"lat": 50.0, "lon": 10.0}
    elements = [
        {"type": "way", "id": 1, "tags": {"highway": "service"}, "geometry": [node, None]},
        {"type": "way", "id": 2, "tags": {"highway": "service"}},
        {"type": "relation", "id": 3, "tags": {"building": "yes"}, "members": []},
        {
            "type": "relation",
            "id": 4,
            "tags": {"building": "yes"},
            "members": [{"type": "way", "geometry": [node, node]}],
        },
    ]
    ids, layer = read_answer({"elements": elements}, set())
    assert ids == []
    assert len(layer.geometry) == 0
    assert len(osm_meaning(layer).names) == 0


def frame(town, **columns):
    ids, layer = read_answer(town.overpass(), set())
    return gpd.GeoDataFrame(
        {"osm_id": ids} | layer.columns.to_dict("list") | columns, geometry=layer.geometry, crs=4326
    )


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.parquet"])
def test_a_file_with_a_column_a_key(town, tmp_path, name):
    """Some have a column `class` that means something else."""
    made = frame(town, **{"class": "residential"})
    made.to_parquet(tmp_path / name) if name.endswith("parquet") else made.to_file(tmp_path / name)
    check(read(tmp_path / name))


def test_a_file_with_other_tags(town, tmp_path):
    """As ogr2ogr makes it: few keys are columns, the others a text."""
    made = frame(town)
    others = [key for key in made.columns if key not in {"osm_id", "building", "highway", "geometry"}]
    made["other_tags"] = [
        ",".join(f'"{key}"=>"{value}"' for key, value in zip(others, values, strict=True) if isinstance(value, str))
        or None
        for values in made[others].to_numpy()
    ]
    made.drop(columns=others).to_file(tmp_path / "a.gpkg")
    check(read(tmp_path / "a.gpkg"))


def test_geofabrik_s_shapefiles(tmp_path):
    boxes = [shapely.Polygon(square(1, 1, 3)), shapely.Polygon(square(10, 10, 20))]
    kinds = {"osm_id": ["1", "2"], "code": [1500, 7203], "fclass": ["building", "residential"]}
    gpd.GeoDataFrame(kinds, geometry=boxes, crs=4326).to_file(tmp_path / "areas.shp")
    found = read(tmp_path / "areas.shp")
    assert found.label.tolist() == [1]
    assert found.tally == Tally(unclassed=1)
    lines = [shapely.LineString(row(y)) for y in (5, 6, 7, 8)]
    kinds = {
        "osm_id": list("1234"), "fclass": ["residential", "primary", "footway", "service"], "layer": [0, 0, 0, -1],
        "tunnel": ["F", "T", "F", "F"],
    }  # fmt: skip
    gpd.GeoDataFrame(kinds, geometry=lines, crs=4326).to_file(tmp_path / "roads.shp")
    found = read(tmp_path / "roads.shp")
    assert (found.width * METRES).tolist() == pytest.approx([5.5], rel=2e-3)


def test_paths_alone_are_refused_in_one_sentence(tmp_path):
    it = Map()
    it.way(row(3), highway="footway")
    (tmp_path / "a.osm.pbf").write_bytes(it.pbf())
    with pytest.raises(UnusableInput, match=r"Nothing of .* is a building or a road"):
        read(tmp_path / "a.osm.pbf")
    with pytest.raises(UnusableInput, match="the scene has no CRS"):
        read(tmp_path / "a.osm.pbf", GeoBox((100, 100), Affine.identity(), None))


def test_a_question_is_cut_into_tiles_that_cover_it():
    box = (10.0, 50.0, 10.12, 50.07)
    parts = tiles(box)
    assert len(parts) == 3 * 2
    for found in (parts, quarters(box)):
        assert shapely.union_all(shapely.box(*np.array(found).T)).symmetric_difference(shapely.box(*box)).area < 1e-12
        assert sum(shapely.area(shapely.box(*np.array(found).T))) == pytest.approx(0.12 * 0.07)
    assert max(e - w for w, _, e, _ in parts) <= SIDE
    assert "[bbox:50.0000000,10.0000000,50.0700000,10.1200000]" in question(box, seconds=99)
    assert "[timeout:99]" in question(box, seconds=99)
