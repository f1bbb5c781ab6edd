"""Vectors are the buildings and roads that are there, once each, however blocks were cut and whoever worked."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import shapely
from predictions import put_prediction

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from tasks.params import ClusterParams, VectorizeParams, WorldParams
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.gdal import rasterio
from tasks.raster.ogr import geopandas

SIDE = 512


def vectorize(workspace, *, cluster="lanes", **params):
    run = ClusterParams(cluster=cluster, workers=2)
    return steps.vectorize(VectorizeParams(**params), str(workspace), run=run, progress=Silent())


def certain(labels):
    """Labels (y, x) as probabilities: a little short of certainty, whole numbers that sum to 254."""
    classes = len(DEFAULT_CLASSES.names)
    planes = np.where(np.arange(classes)[:, None, None] == labels, 254 - 4 * (classes - 1), 4).astype(np.uint8)
    planes[:, labels == 255] = 255
    return planes


def corners(shape):
    return shapely.get_num_coordinates(shape) - 1 - shapely.get_num_interior_rings(shape)


@pytest.fixture(scope="module")
def town(tmp_path_factory, engine):
    """A world of 2000 x 2000 pixels whose prediction is its truth: (workspace, labels, buildings, roads)."""
    folder = tmp_path_factory.mktemp("town")
    made = steps.make_world(WorldParams(size=2000, seed=5), folder / "scene.tif", progress=Silent())
    workspace = engine.ingest(made.scene, folder / "ws")
    with rasterio.open(made.truth) as source:
        labels = source.read(1)
    put_prediction(workspace, certain(labels), side=SIDE)
    truth = [geopandas.read_file(made.vectors, layer=layer) for layer in ("buildings", "roads")]
    return workspace, labels, *truth


@pytest.fixture
def copied(town, tmp_path):
    """A copy of the town's workspace that may be spoilt."""
    return shutil.copytree(town[0], tmp_path / "ws")


@pytest.fixture(scope="module")
def drawn(town):
    """What the town's vectors are."""
    return vectorize(town[0])


def read(workspace, layer):
    file = layer.removesuffix("_nodes")
    return geopandas.read_file(Path(workspace) / f"products/{file}.gpkg", layer=layer)


def test_buildings_are_those_of_the_truth_with_few_corners(town, drawn):
    workspace, labels, truth, _ = town
    found, raw = read(workspace, "buildings"), vectorize_raw(workspace)
    assert drawn.features["buildings"] == len(found) > 40
    assert found.geometry.is_valid.all()
    assert set(found.geom_type) == {"Polygon"}
    assert found.crs == truth.crs
    ids, pixels = raw
    assert set(found["id"]) <= set(ids)
    shared = found.merge(pixels, on="id", suffixes=("", "_raw"))
    iou = shared.geometry.intersection(shared.geometry_raw).area / shared.geometry.union(shared.geometry_raw).area
    assert iou.min() >= 0.9
    assert corners(shared.geometry.values).sum() < corners(shared.geometry_raw.values).sum() / 5
    # A building of the world that stands alone is one feature: the same ground, whatever blocks it lies in.
    alone = found.sjoin(truth, predicate="intersects").groupby("id_left").filter(lambda g: len(g) == 1)
    for _, one in alone.drop_duplicates("id_left").iterrows():
        building = truth.geometry[one["index_right"]]
        if truth.geometry.intersects(building).sum() == 1 and building.within(shapely.box(*found.total_bounds)):
            assert one.geometry.intersection(building).area / one.geometry.union(building).area > 0.75
    assert found.area_m2.sum() == pytest.approx((labels == 1).sum() * 0.25, rel=0.03)
    assert found.probability.to_numpy() == pytest.approx(234 / 254)


def vectorize_raw(workspace):
    """Ids and outlines along pixel edges, of scipy's labelling of the whole."""
    from scipy import ndimage

    with rasterio.open(Path(workspace).parent / "scene_truth.tif") as source:
        mask, transform, crs = source.read(1) == 1, source.transform, source.crs
    labels, count = ndimage.label(mask)
    first = np.array([np.flatnonzero(labels == n)[0] + 1 for n in range(1, count + 1)])
    shapes = [
        (int(first[int(n) - 1]), shapely.geometry.shape(s))
        for s, n in rasterio.features.shapes(labels.astype(np.int32), mask=mask, transform=transform)
    ]
    frame = geopandas.GeoDataFrame({"id": [n for n, _ in shapes]}, geometry=[s for _, s in shapes], crs=crs.to_wkt())
    return first, frame.assign(geometry_raw=frame.geometry)[["id", "geometry_raw"]]


def test_roads_follow_the_truth_s_and_are_joined(town, drawn):
    workspace, _, _, truth = town
    roads, nodes = read(workspace, "roads"), read(workspace, "roads_nodes")
    assert drawn.features["roads"] == len(roads)
    assert drawn.features["roads_nodes"] == len(nodes)
    lines = shapely.union_all(roads.geometry.values)
    inside = truth.geometry.clip(shapely.box(*roads.total_bounds).buffer(-15))
    covered = inside.intersection(lines.buffer(4)).length.sum() / inside.length.sum()
    assert covered > 0.93
    there = shapely.union_all(truth.geometry.values).buffer(8)
    assert roads.geometry.intersection(there).length.sum() / roads.geometry.length.sum() > 0.97
    # Every line's ends are nodes, and their degrees count those ends.
    ends = np.concatenate([roads["start"], roads["end"]])
    numbers, degrees = np.unique(ends, return_counts=True)
    assert dict(zip(numbers, degrees, strict=True)) == dict(zip(nodes["id"], nodes.degree, strict=True))
    where = nodes.set_index("id").geometry
    for side, n in (("start", 0), ("end", -1)):
        tips = shapely.get_point(roads.geometry.values, n)
        assert shapely.distance(tips, where.loc[roads[side]].values).max() < 1e-6
    assert roads.length_m.to_numpy() == pytest.approx(roads.geometry.length.to_numpy(), rel=2e-3)
    assert roads.width_m.median() == pytest.approx(truth.width.median(), rel=0.25)


def test_the_bits_do_not_depend_on_who_works(town, drawn, copied):
    shutil.rmtree(copied / "products")
    shutil.rmtree(copied / "vectors")
    shutil.rmtree(copied / "ledger/vectorize")
    again = vectorize(copied, cluster="processes")
    assert again.units_run == again.units_total == 16
    for name in ("buildings.parquet", "roads.parquet", "roads_nodes.parquet"):
        files = [(Path(w) / "products" / name).read_bytes() for w in (town[0], copied)]
        assert hashlib.sha256(files[0]).digest() == hashlib.sha256(files[1]).digest()


def test_a_bucket_gets_the_same(town, drawn, bucket, engine):
    workspace = engine.ingest(Path(town[0]).parent / "scene.tif", f"s3://{bucket}/town")
    put_prediction(workspace, certain(town[1]), side=SIDE)
    done = vectorize(workspace)
    assert done.features == drawn.features
    assert set(done.products) == set(drawn.products)
    store = open_store(workspace)
    for name in ("buildings.parquet", "roads.parquet"):
        assert store.read(f"products/{name}") == (Path(town[0]) / "products" / name).read_bytes()


def test_what_is_drawn_is_not_drawn_again_and_a_changed_block_costs_its_neighbours(town, drawn, copied):
    before = (copied / "products/roads.gpkg").stat().st_mtime_ns
    assert vectorize(copied).units_run == 0
    assert (copied / "products/roads.gpkg").stat().st_mtime_ns == before
    labels = town[1].copy()
    labels[:100, :100] = 1
    put_prediction(copied, certain(labels), side=SIDE)
    again = vectorize(copied)
    assert again.units_run == 9  # lines look 616 pixels around: of 4 x 4 blocks the first 3 x 3
    assert (copied / "products/roads.gpkg").stat().st_mtime_ns != before


def test_a_killed_run_is_gone_on_with(town, drawn, copied, engine):
    for name in ("products", "vectors", "ledger/vectorize", "ledger/draw"):
        shutil.rmtree(copied / name)
    call = f"steps.vectorize(VectorizeParams(), {str(copied)!r}, run=ClusterParams(workers=1), progress=Dying())"
    engine.die(call, units=10)
    done = vectorize(copied)
    assert 5 <= done.units_run <= 7
    assert done.features == drawn.features


def test_a_damaged_part_is_told_and_made_again(drawn, copied):
    part = copied / "vectors/2_3.npz"
    part.write_bytes(part.read_bytes()[:-7])
    (copied / "products/buildings.gpkg").unlink()
    with pytest.raises(UnusableInput, match=r"vectors/2_3.npz is damaged; run 'geoloom vectorize' again"):
        vectorize(copied)
    assert vectorize(copied).units_run == 1


def test_a_damaged_prediction_is_told(copied):
    shard = next(p for p in (copied / "probability.zarr").rglob("c/0/1/1"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    shutil.rmtree(copied / "ledger/vectorize", ignore_errors=True)
    with pytest.raises(UnusableInput, match=r"probability.zarr is damaged in rows .*run 'geoloom predict' again"):
        vectorize(copied)


def test_a_class_that_the_map_lacks_is_refused(town):
    with pytest.raises(UnusableInput, match=r"no class 'bridge' to draw; it has building, road"):
        vectorize(town[0], areas=("bridge",))


def test_a_class_is_drawn_one_way(town):
    with pytest.raises(UnusableInput, match=r"'road' is named by both --areas and --lines"):
        vectorize(town[0], areas=("road",), lines=("road",))


def test_a_map_without_buildings_and_roads_is_left_alone(tmp_path, town, engine):
    workspace = engine.ingest(Path(town[0]).parent / "scene.tif", tmp_path / "ws")
    planes = np.full((2, 2000, 2000), 127, np.uint8)
    put_prediction(workspace, planes, side=SIDE, classes=("other", "water"), colours=[[0, 0, 0], [0, 0, 255]])
    assert vectorize(workspace).products == {}


def test_odd_class_names_make_plain_file_names(tmp_path, town, engine):
    names = ("other", "low vegetation", "b\u00e2timent/../x", "classes")
    workspace = engine.ingest(Path(town[0]).parent / "scene.tif", tmp_path / "ws")
    planes = np.full((4, 2000, 2000), 20, np.uint8)
    planes[0], planes[1, :500], planes[2, 500:900], planes[3, 900:1200] = 194, 214, 214, 214
    put_prediction(workspace, planes, side=SIDE, classes=names, colours=[[n, n, n] for n in range(4)])
    done = vectorize(workspace, areas=names[1:])
    assert set(done.features) == {"low-vegetation", "batiment-x", "classes-3"}
    assert {p.parent for p in tmp_path.rglob("*.gpkg")} == {tmp_path / "ws/products"}
    document = json.loads((tmp_path / "ws/products/item.json").read_text())
    listed = document["properties"]["mlm:output"][0]["classification:classes"]
    assert [c["name"] for c in listed] == ["other", "low-vegetation", "batiment-x", "classes"]
    assert [c["title"] for c in listed] == list(names)


def test_every_file_that_is_gone_is_made_again(drawn, copied):
    for name in ("buildings.parquet", "roads.pmtiles", "roads_nodes.parquet"):
        (copied / "products" / name).unlink()
        assert vectorize(copied).products.keys() == drawn.products.keys()
        assert (copied / "products" / name).exists()


def test_other_classes_have_their_own_names_and_small_ones_go(drawn, copied):
    done = vectorize(copied, areas=("water", "building"), lines=(), outlines="pixels", smallest=30)
    assert set(done.features) == {"water", "buildings"}
    found = read(copied, "buildings")
    assert found.area_m2.min() >= 30
    assert done.features["buildings"] < drawn.features["buildings"]


def test_a_scene_of_nodata_gives_empty_layers(copied):
    put_prediction(copied, np.full((len(DEFAULT_CLASSES.names), 2000, 2000), 255, np.uint8), side=SIDE)
    done = vectorize(copied)
    assert done.features == {"buildings": 0, "roads": 0, "roads_nodes": 0}
    assert len(read(copied, "buildings")) == len(read(copied, "roads")) == 0
    assert not (copied / "products/roads.pmtiles").exists()


def test_the_parquet_is_geoparquet_1_1_with_boxes(town, drawn):
    import duckdb
    import pyarrow.parquet as pq

    path = Path(town[0]) / "products/buildings.parquet"
    frame = geopandas.read_parquet(path)
    assert len(frame) == drawn.features["buildings"]
    assert frame.crs.equals(town[2].crs) or frame.crs.to_epsg() == town[2].crs.to_epsg()
    left, bottom, right, top = frame.total_bounds
    west = geopandas.read_parquet(path, bbox=(left, bottom, (left + right) / 2, top))
    assert 0 < len(west) < len(frame)
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    column = geo["columns"]["geometry"]
    assert column["geometry_types"] == ["Polygon"]
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert column["bbox"] == pytest.approx(frame.total_bounds.tolist())
    with duckdb.connect() as database:
        query = f"select count(*), sum(area_m2), min(bbox.xmin) from read_parquet('{path}')"
        count, area, edge = database.execute(query).fetchone()
    assert count == len(frame)
    assert area == pytest.approx(frame.area_m2.sum())
    assert edge == left


def test_the_tiles_lie_where_the_buildings_are(town, drawn):
    from pmtiles.reader import MmapSource, Reader

    with (Path(town[0]) / "products/buildings.pmtiles").open("rb") as file:
        reader = Reader(MmapSource(file))
        header, about = reader.header(), reader.metadata()
    found = read(town[0], "buildings").to_crs(4326)
    sides = [header[key] / 1e7 for key in ("min_lon_e7", "min_lat_e7", "max_lon_e7", "max_lat_e7")]
    assert sides == pytest.approx(found.total_bounds.tolist(), abs=1e-4)
    assert [layer["id"] for layer in about["vector_layers"]] == ["buildings"]
    # The finest level tells a pixel of half a metre apart.
    assert 40_075_017 / 4096 / 2 ** header["max_zoom"] <= 0.5
    assert header["min_zoom"] == header["max_zoom"] - 6


@pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="ogrinfo is not installed (apt-get install gdal-bin)")
def test_ogrinfo_reads_it(town, drawn):
    path = Path(town[0]) / "products/roads.gpkg"
    done = subprocess.run(["ogrinfo", "-so", path, "roads"], capture_output=True, text=True, check=True)
    assert "Geometry: Line String" in done.stdout
    assert f"Feature Count: {drawn.features['roads']}" in done.stdout
    assert "GEOLOOM_MODEL_SHA256" in done.stdout
    assert "ERROR" not in done.stderr
