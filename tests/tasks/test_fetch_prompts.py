"""Prompts are fetched once for a scene, from servers that stand on this machine, and kept whole or not at all."""

import io
import json
import re
import urllib.parse

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from osm_files import Map, dumped
from small_server import SmallServer

import infra.settings
from flows import steps
from infra.errors import UnusableInput
from infra.lease import hold
from infra.progress import Silent
from infra.store import open_store
from tasks.fetch_model import fetch_model
from tasks.fetch_prompts import fetch_prompts, opened_prompts
from tasks.label_params import LabelParams
from tasks.params import ClusterParams, IngestParams, RunParams
from tasks.raster.gdal import rasterio
from tasks.raster.labels import open_labels
from tasks.raster.vectors import read_shapes
from tasks.workspace import open_workspace

DEGREE = 1e-5
"""A pixel."""


def write(path, side=400, crs="EPSG:4326"):
    place = Affine(DEGREE, 0, 10, 0, -DEGREE, 50 + side * DEGREE)
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "uint8", "crs": crs}
    with rasterio.open(path, "w", **profile, **({"transform": place} if crs else {})) as file:
        file.write(np.random.default_rng(0).integers(1, 255, (1, side, side), dtype=np.uint8))
    return path


@pytest.fixture
def workspace(tmp_path):
    return ingest(write(tmp_path / "scene.tif"), tmp_path / "ws")


def ingest(scene, out):
    steps.ingest(IngestParams(scenes=(str(scene),)), str(out), run=ClusterParams(), progress=Silent())
    return open_workspace(open_store(str(out)))


def fetch(name, workspace, progress=None):
    with hold(workspace.store, command="label") as lease:
        return fetch_prompts(name, workspace, grip=lease.grip, progress=progress or Silent())


def read(name, workspace):
    with opened_prompts(workspace.store, name) as path:
        return read_shapes(path, workspace.grid, workspace.classes, vector_class=None, road_width=9.0)


@pytest.fixture
def use(monkeypatch):
    """Set a setting, for this test."""

    def change(**values):
        made = infra.settings.Settings(**values)
        monkeypatch.setattr("tasks.fetch_prompts.settings", lambda: made)

    return change


def square(x, y, side):
    corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
    return [(10 + cx * DEGREE, 50 + cy * DEGREE) for cx, cy in corners]


@pytest.fixture
def town():
    it = Map()
    it.way(square(20, 20, 40), building="yes")
    outer, inner = it.way(square(200, 200, 100)), it.way(square(230, 230, 40))
    it.multipolygon([(outer, "outer"), (inner, "inner")], building="house")
    it.way(square(10, 100, 380)[:2], highway="residential", width="8")
    it.way(square(10, 120, 380)[:2], highway="unclassified", tunnel="yes")
    it.way(square(10, 140, 380)[:2], highway="footway")
    return it


def answering(town, *, first=(), most=360.0):
    """Overpass in small: answers what meets the box, gives up on sides of more than `most` degrees."""
    before = list(first)

    def reply(_path, body):
        if before:
            return before.pop(0)
        query = urllib.parse.parse_qs(body)["data"][0]
        south, west, north, east = map(float, re.search(r"\[bbox:([^\]]+)\]", query)[1].split(","))
        if east - west > most:
            return 200, {}, dumped({"elements": [], "remark": "runtime error: Query ran out of memory"})
        return 200, {}, dumped(town.overpass((west, south, east, north)))

    return reply


def test_openstreetmap(workspace, town, use):
    busy = (429, {"Retry-After": "0"}, b"")
    with SmallServer(answering(town, first=[busy])) as server:
        use(overpass_url=server.url)
        owners = fetch("osm", workspace)
        assert "© OpenStreetMap contributors" in owners
        assert len(server.asked) == 2
        assert server.most_at_once == 1
    found = read("osm", workspace)  # the server is gone: what was fetched is here
    assert fetch("osm", workspace) == owners
    assert sorted(found.label.tolist()) == [1, 1, 2]
    areas = sorted(shapely.area(found.geometry[found.label == 1]))
    assert areas == pytest.approx([40 * 40, 100 * 100 - 40 * 40], rel=1e-6)
    with opened_prompts(workspace.store, "osm") as path:
        frame = gpd.read_parquet(path)
    assert frame["width"].dropna().tolist() == [8.0]
    assert set(frame["id"]) == {"way/1", "relation/1", "way/4"}


def test_what_is_too_much_is_asked_in_parts_and_is_in_once(workspace, town, use):
    with SmallServer(answering(town, most=0.003)) as server:
        use(overpass_url=server.url)
        fetch("osm", workspace)
        assert len(server.asked) == 5
    assert sorted(read("osm", workspace).label.tolist()) == [1, 1, 2]


def test_another_place_is_fetched_anew(workspace, town, use, tmp_path):
    with SmallServer(answering(town)) as server:
        use(overpass_url=server.url)
        fetch("osm", workspace)
        larger = ingest(write(tmp_path / "scene.tif", side=500), tmp_path / "ws")
        fetch("osm", larger)
        assert len(server.asked) == 2
        smaller = ingest(write(tmp_path / "scene.tif", side=300), tmp_path / "ws")
        fetch("osm", smaller)
        assert len(server.asked) == 2


@pytest.mark.parametrize("name", ["osm", "overture"])
def test_what_cannot_be_fetched_is_said_and_leaves_nothing(workspace, tmp_path, use, name):
    use(overpass_url="http://127.0.0.1:1", overture_url="http://127.0.0.1:1/catalog.json")
    with pytest.raises(UnusableInput, match=r"127\.0\.0\.1.* cannot be") as caught:
        fetch(name, workspace)
    assert "\n" not in str(caught.value)
    assert not workspace.store.keys("prompts")
    nowhere = ingest(write(tmp_path / "plain.tif", crs=None), tmp_path / "plain")
    with pytest.raises(UnusableInput, match="has no CRS"):
        fetch(name, nowhere)


def test_nothing_there(workspace, use):
    with SmallServer(answering(Map())) as server:
        use(overpass_url=server.url)
        with pytest.raises(UnusableInput, match="OpenStreetMap has no buildings or roads where"):
            fetch("osm", workspace)
    assert not workspace.store.keys("prompts")


def test_a_country_is_not_asked_of_a_public_server(tmp_path, use):
    path = tmp_path / "wide.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 20, "width": 20, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", **profile, transform=Affine(0.2, 0, 10, 0, -0.2, 50)) as file:
        file.write(np.full((1, 20, 20), 7, np.uint8))
    with SmallServer(answering(Map())) as server:
        use(overpass_url=server.url)
        with pytest.raises(UnusableInput, match=r"too large .*\.osm\.pbf"):
            fetch("osm", ingest(path, tmp_path / "ws"))
        assert server.asked == []


@pytest.mark.slow
def test_labels_of_what_was_fetched(tmp_path, town, use):
    """The whole step: told of, attributed, and without a network the second time."""
    try:
        fetch_model("sam-vit-t", progress=Silent())
    except UnusableInput as error:
        pytest.skip(f"SAM's weights cannot be had here: {error}")
    workspace = ingest(write(tmp_path / "scene.tif", side=320), tmp_path / "ws")
    notes = []
    telling = Silent()
    telling.note = notes.append

    def label():
        params = LabelParams(method="vectors", prompts="osm")
        return steps.label(params, workspace.store.url, run=RunParams(device="cpu"), progress=telling)

    with SmallServer(answering(town)) as server:
        use(overpass_url=server.url)
        first = label()
    assert first.shares["building"] > 0
    assert any("© OpenStreetMap contributors" in note for note in notes)
    assert "osm: 3 shapes on the scene." in notes
    assert "© OpenStreetMap contributors" in open_labels(workspace.store.zarr("labels.zarr")).attrs["attribution"]
    assert label().units_run == 0


RELEASE = "2031-02-03.0"


@pytest.fixture
def overture(s3, bucket):
    """A release in a bucket that everybody may read: two files of buildings, of which one lies elsewhere, and segments.

    Returns:
        The root catalog's address, and what was asked for.
    """
    root = f"{s3.meta.endpoint_url}/{bucket}"

    def put(key, document):
        s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(document).encode(), ACL="public-read")

    def child(folder, name, rel="child"):
        return {"rel": rel, "href": f"./{folder}/{name}.json"}

    def file(theme, kind, number, frame):
        key = f"release/{RELEASE}/theme={theme}/type={kind}/part-{number}.parquet"
        held = io.BytesIO()
        frame.to_parquet(held, write_covering_bbox=True, row_group_size=2)
        s3.put_object(Bucket=bucket, Key=key, Body=held.getvalue(), ACL="public-read")
        assets = {"aws": {"href": f"{root}/{key}"}, "azure": {"href": "https://nowhere.invalid/"}}
        item = {"type": "Feature", "bbox": frame.total_bounds.tolist(), "assets": assets}
        put(f"{RELEASE}/{theme}/{kind}/{number}/{number}.json", item)

    releases = [{"rel": "child", "href": f"{root}/{name}/catalog.json"} for name in (RELEASE, "2031-01-01.0")]
    put("catalog.json", {"type": "Catalog", "latest": RELEASE, "links": releases})
    kinds = {"buildings": ("building", "building_part"), "transportation": ("segment", "connector"), "base": ("land",)}
    put(f"{RELEASE}/catalog.json", {"links": [child(theme, "catalog") for theme in kinds]})
    for theme, names in kinds.items():
        put(f"{RELEASE}/{theme}/catalog.json", {"links": [child(name, "collection") for name in names]})
    put(f"{RELEASE}/buildings/building/collection.json", {"links": [child(n, n, "item") for n in ("1", "2")]})
    put(f"{RELEASE}/transportation/segment/collection.json", {"links": [child("1", "1", "item")]})

    shapes = [shapely.Polygon(square(x, 50, 30)) for x in (50, 150, 250)]
    far = [shapely.Polygon(square(x, 90_000, 30)) for x in (50, 150, 250)]
    for number, outlines in (("1", shapes + far), ("2", far)):
        rows = {"id": [f"b{i}" for i in range(len(outlines))], "subtype": None, "class": None, "has_parts": False}
        below = [i == 1 for i in range(len(outlines))]
        made = gpd.GeoDataFrame(rows | {"is_underground": below}, geometry=outlines, crs=4326)
        file("buildings", "building", number, made)
    line = shapely.LineString(square(10, 200, 380)[:2])
    rules = {"width_rules": [[{"value": 12.5, "between": None}], None]}
    segments = {"id": ["s0", "s1"], "subtype": ["road", "rail"], "class": ["primary", "tram"]} | rules
    file("transportation", "segment", "1", gpd.GeoDataFrame(segments, geometry=[line, line], crs=4326))
    return f"{root}/catalog.json"


def test_overture(workspace, overture, use):
    notes = []
    telling = Silent()
    telling.note = notes.append
    use(overture_url=overture)
    assert "Overture" in fetch("overture", workspace, telling)
    assert any(RELEASE in note for note in notes)
    found = read("overture", workspace)
    assert sorted(found.label.tolist()) == [1, 1, 2]
    with opened_prompts(workspace.store, "overture") as path:
        frame = gpd.read_parquet(path)
    assert sorted(frame["id"]) == ["b0", "b2", "s0"]
    assert frame["width"].dropna().tolist() == [12.5]


def test_a_catalog_that_is_none(workspace, s3, bucket, use):
    s3.put_object(Bucket=bucket, Key="catalog.json", Body=b"{}", ACL="public-read")
    use(overture_url=f"{s3.meta.endpoint_url}/{bucket}/catalog.json")
    with pytest.raises(UnusableInput, match=r"is no catalog of Overture's .*GEOLOOM_OVERTURE_URL"):
        fetch("overture", workspace)


def test_into_a_bucket(town, bucket, use, tmp_path):
    workspace = ingest(write(tmp_path / "scene.tif"), f"s3://{bucket}/ws")
    with SmallServer(answering(town)) as server:
        use(overpass_url=server.url)
        fetch("osm", workspace)
        fetch("osm", workspace)
        assert len(server.asked) == 1
    assert sorted(read("osm", workspace).label.tolist()) == [1, 1, 2]
