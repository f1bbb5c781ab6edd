"""item.json is a STAC item that says what a map is of, made by what, and where its files are."""

import json
import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pyproj
import pystac
import pytest
import shapely
from predictions import put_prediction
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.mlm import MLMExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterExtension
from pystac.validation import JsonSchemaSTACValidator, validate_dict

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from tasks.catalog import _slug
from tasks.params import ClusterParams, IngestParams, MosaicParams, VectorizeParams
from tasks.raster.gdal import rasterio
from tasks.workspace import open_workspace

EVERYTHING = MosaicParams(products=("classes", "probability", "uncertainty"))


def item_of(workspace):
    """The item as JSON and as pystac reads it; valid by the schemas that come with pystac, without any network."""
    document = json.loads((Path(workspace) / "products/item.json").read_text())
    validate_dict(document | {"stac_extensions": []}, validator=JsonSchemaSTACValidator())
    return document, pystac.Item.from_dict(document)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory, engine, scene, tiny_model):
    """A workspace with all products of a small part of the scene."""
    workspace = str(tmp_path_factory.mktemp("mapped") / "ws")
    params = IngestParams(scenes=(str(scene),), bounds=(450_100, 5_399_500, 450_300, 5_399_700))
    steps.ingest(params, workspace, run=ClusterParams(), progress=Silent())
    engine.predict(workspace, tiny_model)
    steps.mosaic(workspace, EVERYTHING, progress=Silent())
    names = open_workspace(open_store(workspace)).classes.names
    steps.vectorize(VectorizeParams(areas=names[1:2], lines=()), workspace, run=ClusterParams(), progress=Silent())
    return workspace


def uniform(workspace, side):
    """A prediction that prefers no class."""
    names = open_workspace(open_store(workspace)).classes.names
    put_prediction(workspace, np.full((len(names), side, side), 254 // len(names), np.uint8))
    steps.mosaic(workspace, progress=Silent())
    return workspace


def test_the_item_lies_where_the_map_lies(mapped):
    _, item = item_of(mapped)
    with rasterio.open(Path(mapped) / "products/classes.tif") as source:
        crs, shape, transform, bounds = source.crs, source.shape, source.transform, source.bounds
    placed = ProjectionExtension.ext(item.assets["classes.tif"])
    assert ProjectionExtension.ext(item).code == crs.to_string()
    assert ProjectionExtension.ext(item.assets["buildings.pmtiles"]).code == "EPSG:3857"
    assert placed.shape == list(shape)
    assert placed.transform == list(transform)[:6]
    degrees = pyproj.Transformer.from_crs(crs.to_wkt(), 4326, always_xy=True)
    assert item.bbox == pytest.approx(degrees.transform_bounds(*bounds), abs=1e-7)
    outline = shapely.geometry.shape(item.geometry)
    assert outline.is_valid
    assert outline.exterior.is_ccw
    assert outline.bounds == pytest.approx(item.bbox)


def test_every_file_beside_it_is_an_asset_and_every_asset_is_there(mapped):
    document, item = item_of(mapped)
    files = {p.name for p in (Path(mapped) / "products").iterdir()}
    here = {asset.href.removeprefix("./") for key, asset in item.assets.items() if key != "model"}
    assert here == files - {"item.json", "classes.tif.aux.xml"}
    assert item.assets["classes.tif"].media_type == pystac.MediaType.COG
    for name in ("probability.tif", "uncertainty.tif"):
        with rasterio.open(Path(mapped) / "products" / name) as source:
            asset = document["assets"][name]
            assert tuple(band["name"] for band in asset["bands"]) == source.descriptions
            assert {asset["raster:scale"]} == set(source.scales)
            assert asset["nodata"] == source.nodata
    classes = document["assets"]["classes.tif"]["bands"][0]["classification:classes"]
    with rasterio.open(Path(mapped) / "products/classes.tif") as source:
        assert ",".join(one["name"] for one in classes) == source.tags()["CLASS_NAMES"]
        colours = source.colormap(1)
    assert [bytes.fromhex(one["color_hint"]) for one in classes] == [bytes(colours[n][:3]) for n in range(len(classes))]
    assert RasterExtension.has_extension(item)
    assert ClassificationExtension.has_extension(item)


def test_it_names_the_model_and_the_scenes(mapped, tiny_model, scene):
    document, item = item_of(mapped)
    card = json.loads((Path(tiny_model) / "model.json").read_text())
    model = MLMExtension.ext(item)
    assert model.architecture == card["architecture"]
    assert model.tasks == ["semantic-segmentation"]
    assert document["properties"]["mlm:input"][0]["bands"] == card["bands"]
    # The extension wants the bands that its input names described (AnyBandsRef), which STAC wants of an asset too.
    for place in (document["properties"], document["assets"]["model"]):
        assert [band["name"] for band in place["bands"]] == card["bands"]
    assert [c["name"] for c in document["properties"]["mlm:output"][0]["classification:classes"]] == card["classes"]
    assert item.assets["model"].extra_fields["file:checksum"] == "1220" + card["weights_sha256"]
    assert "mlm:model" in item.assets["model"].roles
    assert Path(scene).name in item.properties["processing:lineage"]
    assert item.properties["processing:software"]["geoloom"]
    assert item.datetime == datetime.fromisoformat(item.properties["created"])


@pytest.mark.parametrize("name", ["m8", "2024-unet", "modèle", "unet_", "dubai (1)", "x", "林", "a.b"])
def test_a_model_s_name_is_one_that_the_extension_takes(name):
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", _slug(name))  # mlm v1.4.0


def test_rules_of_extensions_hold_where_no_raster_was_made(predicted):
    names = open_workspace(open_store(predicted)).classes.names
    steps.vectorize(VectorizeParams(areas=names[1:2], lines=()), predicted, run=ClusterParams(), progress=Silent())
    document, _ = item_of(predicted)
    # The raster extension wants one of its fields wherever it is declared.
    assert not any("/raster/" in name for name in document["stac_extensions"])
    steps.mosaic(predicted, MosaicParams(products=("classes",)), progress=Silent())
    document, _ = item_of(predicted)
    assert any("/raster/" in name for name in document["stac_extensions"])
    assert document["assets"]["classes.tif"]["raster:sampling"] == "area"


def test_it_changes_with_the_products_and_with_nothing_else(predicted):
    path = Path(predicted) / "products/item.json"
    steps.mosaic(predicted, MosaicParams(products=("classes",)), progress=Silent())
    first, when = path.read_bytes(), path.stat().st_mtime_ns
    steps.mosaic(predicted, MosaicParams(products=("classes",)), progress=Silent())
    assert path.stat().st_mtime_ns == when
    steps.mosaic(predicted, EVERYTHING, progress=Silent())
    assert set(json.loads(path.read_bytes())["assets"]) > set(json.loads(first)["assets"])


def test_files_of_another_map_are_not_this_one_s(predicted):
    steps.mosaic(predicted, EVERYTHING, progress=Silent())
    names = open_workspace(open_store(predicted)).classes.names
    with rasterio.open(Path(predicted) / "products/classes.tif") as source:
        height, width = source.shape
    put_prediction(predicted, np.full((len(names), height, width), 254 // len(names), np.uint8))
    steps.mosaic(predicted, MosaicParams(products=("classes",)), progress=Silent())
    document, _ = item_of(predicted)
    assert set(document["assets"]) == {"classes.tif", "classes.qml", "map.qgs", "model"}


@pytest.mark.parametrize("crs", [None, "IAU_2015:49900"], ids=["pixel space", "Mars"])
def test_what_lies_nowhere_on_earth_has_no_geometry(tmp_path, engine, crs):
    pixels = np.random.default_rng(0).integers(1, 255, (3, 300, 300), dtype=np.uint8)
    place = {} if crs is None else {"crs": crs, "transform": rasterio.Affine(1e-3, 0, 10, 0, -1e-3, 20)}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=300, width=300, count=3, dtype="uint8", **place
    ) as target:
        target.write(pixels)
    document, item = item_of(uniform(engine.ingest(tmp_path / "a.tif", tmp_path / "ws"), 300))
    assert document["geometry"] is None
    assert "bbox" not in document
    assert ProjectionExtension.ext(item.assets["classes.tif"]).shape == [300, 300]


@pytest.mark.parametrize(("crs", "pixel", "corners"), [("EPSG:4326", 1e-5, 4), ("EPSG:32633", 100, 80)])
def test_a_side_has_as_many_points_as_it_bends(tmp_path, engine, crs, pixel, corners):
    west, north = (10, 20) if pixel < 1 else (600_000, 5_000_000)
    place = {"crs": crs, "transform": rasterio.Affine(pixel, 0, west, 0, -pixel, north)}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=300, width=300, count=3, dtype="uint8", **place
    ) as target:
        target.write(np.full((3, 300, 300), 9, np.uint8))
    document, _ = item_of(uniform(engine.ingest(tmp_path / "a.tif", tmp_path / "ws"), 300))
    (ring,) = document["geometry"]["coordinates"]
    assert len(ring) == corners + 1


def test_the_scene_s_own_time_is_the_item_s(tmp_path, engine):
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=99, width=99, count=3, dtype="uint8") as target:
        target.write(np.full((3, 99, 99), 7, np.uint8))
        target.update_tags(TIFFTAG_DATETIME="2024:05:06 07:08:09", TIFFTAG_COPYRIGHT="(c) Somebody")
    document, _ = item_of(uniform(engine.ingest(tmp_path / "a.tif", tmp_path / "ws"), 99))
    assert document["properties"]["datetime"] == "2024-05-06T07:08:09Z"
    assert document["properties"]["providers"] == [{"name": "(c) Somebody", "roles": ["licensor"]}]


def test_a_camera_without_a_clock_says_no_time(tmp_path, engine):
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=99, width=99, count=3, dtype="uint8") as target:
        target.write(np.full((3, 99, 99), 7, np.uint8))
        target.update_tags(TIFFTAG_DATETIME="0000:00:00 00:00:00")
    document, _ = item_of(uniform(engine.ingest(tmp_path / "a.tif", tmp_path / "ws"), 99))
    assert document["properties"]["datetime"] == document["properties"]["created"]


def dated(tmp_path, engine, name, day):
    with rasterio.open(
        tmp_path / f"{name}.tif", "w", driver="GTiff", height=99, width=99, count=3, dtype="uint8", crs="EPSG:32636",
        transform=rasterio.Affine(10, 0, 500_000 + 990 * day, 0, -10, 4_000_000),
    ) as target:  # fmt: skip
        target.write(np.full((3, 99, 99), day, np.uint8))
        target.update_tags(TIFFTAG_DATETIME=f"2024:05:{day:02d} 07:08:09", TIFFTAG_COPYRIGHT=f"(c) {name}")
    workspace = uniform(engine.ingest(tmp_path / f"{name}.tif", tmp_path / "runs" / name), 99)
    steps.mosaic(workspace, MosaicParams(products=("classes",)), progress=Silent())
    return str(workspace)


def test_a_series_of_runs_is_a_collection(tmp_path, engine):
    runs = [dated(tmp_path, engine, f"night{day}", day) for day in (1, 3, 2)]
    made = steps.collect(runs, str(tmp_path / "runs"))
    document = json.loads(Path(made.collection).read_text())
    validate_dict(document | {"stac_extensions": []}, validator=JsonSchemaSTACValidator())
    collection = pystac.Collection.from_file(made.collection)
    items = list(collection.get_items())
    assert [item.datetime.day for item in items] == [3, 2, 1]
    for item, day in zip(items, (3, 2, 1), strict=True):
        validate_dict(item.to_dict() | {"stac_extensions": []}, validator=JsonSchemaSTACValidator())
        assert item.get_collection().id == document["id"]
        assert item.assets["classes.tif"].href == f"../night{day}/products/classes.tif"
        assert Path(item.assets["classes.tif"].get_absolute_href()).is_file()
    first, *each = collection.extent.spatial.bboxes
    assert first == pytest.approx(np.concatenate([np.min(each, axis=0)[:2], np.max(each, axis=0)[2:]]))
    assert [t.day for t in collection.extent.temporal.intervals[0]] == [1, 3]
    assert {p.name for p in collection.providers} == {"(c) night1", "(c) night2", "(c) night3"}
    assert collection.summaries.get_list("proj:code") == ["EPSG:32636"]


def test_a_collection_needs_maps_that_are_there_and_differ(tmp_path, engine):
    one = dated(tmp_path, engine, "one", 1)
    empty = str(engine.ingest(tmp_path / "one.tif", tmp_path / "empty"))
    with pytest.raises(UnusableInput, match="empty has no products"):
        steps.collect([one, empty], str(tmp_path))
    with pytest.raises(UnusableInput, match="hold the same map"):
        steps.collect([one, one], str(tmp_path))
    assert not (tmp_path / "collection.json").exists()
