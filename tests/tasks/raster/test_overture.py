"""Overture's features are the buildings and roads that a camera sees."""

import json

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.overture import without
from tasks.raster.vectors import read_shapes

GRID = GeoBox((400, 400), Affine(1e-5, 0, 10, 0, -1e-5, 50.004), "EPSG:4326")
METRES = 0.893


def at(cells):
    return np.array(cells) * 1e-4 + [10, 50]


def building(x, **columns):
    outline = shapely.transform(shapely.box(x, 1, x + 3, 4), at)
    return {"geometry": outline, "subtype": None, "class": None, "is_underground": False, "has_parts": False} | columns


def segment(y, **columns):
    line = shapely.LineString(at([(0, y), (40, y)]))
    empty = {"subclass": None, "width_rules": None, "level_rules": None, "road_flags": None}
    return {"geometry": line, "subtype": "road", "class": "residential"} | empty | columns


BUILDINGS = [
    building(1, subtype="residential", **{"class": "house"}),
    building(5),
    building(9, is_underground=True),
    building(13, **{"class": "house"}),
]
ROADS = [
    segment(6),
    segment(7, **{"class": "primary"}, width_rules=[{"value": 9.0, "between": None}]),
    segment(8, **{"class": "motorway"}, subclass="link"),
    segment(9, width_rules=[{"value": 4.0, "between": [0.0, 0.2]}, {"value": 7.0, "between": [0.2, 1.0]}]),
    segment(10, road_flags=[{"values": ["is_bridge"], "between": None}]),
    segment(11, road_flags=[{"values": ["is_tunnel"], "between": [0.25, 0.5]}]),
    segment(12, level_rules=[{"value": -1, "between": None}]),
    segment(13, level_rules=[{"value": 1, "between": None}]),
    segment(14, road_flags=[{"values": ["is_under_construction"], "between": None}]),
    segment(15, **{"class": "footway"}),
    segment(16, subtype="rail", **{"class": "standard_gauge"}),
    segment(17, **{"class": "unknown"}),
]
WIDTHS = {6: 5.5, 7: 9.0, 8: 6.0, 9: 7.0, 10: 5.5, 11: 5.5, 13: 5.5, 17: 8.0}


def write(path, rows):
    frame = gpd.GeoDataFrame(rows, geometry="geometry", crs=4326)
    frame["sources"] = [[{"dataset": "OpenStreetMap"}] for _ in rows]
    if path.suffix == ".parquet":
        frame.to_parquet(path, write_covering_bbox=True)
        return path
    for column in ("width_rules", "level_rules", "road_flags", "sources"):
        if column in frame:
            frame[column] = [None if value is None else json.dumps(value) for value in frame[column]]
    frame.to_file(path)
    return path


def read(path):
    return read_shapes(str(path), GRID, DEFAULT_CLASSES, vector_class=None, road_width=8.0)


@pytest.mark.parametrize("suffix", ["parquet", "gpkg", "geojson"])
def test_buildings(tmp_path, suffix):
    found = read(write(tmp_path / f"a.{suffix}", BUILDINGS))
    assert found.label.tolist() == [1, 1, 1]
    assert [round(shape.bounds[0]) for shape in found.geometry] == [10, 50, 130]
    assert found.tally.unclassed == 1


@pytest.mark.parametrize("suffix", ["parquet", "gpkg", "geojson"])
def test_roads(tmp_path, suffix):
    found = read(write(tmp_path / f"a.{suffix}", ROADS))
    assert set(found.label.tolist()) == {2}
    rows = [round(40 - line.bounds[1] / 10) for line in found.geometry]
    assert dict(zip(rows, found.width * METRES, strict=True)) == pytest.approx(WIDTHS, rel=2e-3)
    lengths = dict(zip(rows, shapely.length(found.geometry), strict=True))
    assert lengths.pop(11) == pytest.approx(300, rel=1e-3)
    assert list(lengths.values()) == pytest.approx([400] * 7, rel=1e-3)


def test_other_themes_are_no_buildings(tmp_path):
    """Land use has the same columns, and a subtype 'residential'."""
    rows = [building(1, subtype="residential", **{"class": "residential"})]
    for row in rows:
        del row["is_underground"], row["has_parts"]
    from infra.errors import UnusableInput

    with pytest.raises(UnusableInput, match=r"Nothing of .* is a building"):
        read(write(tmp_path / "a.parquet", rows))


def test_a_box_without_its_description_is_used(tmp_path):
    """Overture's files before GeoParquet 1.1 have the column, and say nothing of it."""
    path = write(tmp_path / "a.parquet", BUILDINGS)
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    del geo["columns"]["geometry"]["covering"]
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)
    assert len(read(path)) == 3


SPANS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda s: (min(s) / 20, max(s) / 20)), max_size=4
)


@given(spans=SPANS)
def test_a_line_without_spans_is_the_rest(spans):
    line = shapely.LineString([(0, 0), (10, 0), (10, 10)])
    left = without(line, spans)
    middles = (np.arange(20) + 0.5) / 20
    kept = [not any(low < m < high for low, high in spans) for m in middles]
    places = [line.interpolate(m, normalized=True) for m in middles]
    assert [left is not None and left.distance(p) < 1e-9 for p in places] == kept
    assert (0 if left is None else left.length) == pytest.approx(sum(kept), abs=1e-9)
