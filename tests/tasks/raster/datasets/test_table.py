"""Published data sets, as the samples of them lie here and as they are laid out where they come from."""

import json

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

from infra.errors import UnusableInput
from tasks.raster import grid as grids
from tasks.raster.annotations.assemble import filled
from tasks.raster.datasets.table import DATASETS, ISAID_COLOURS
from tasks.raster.dubai import stitch
from tasks.raster.gdal import rasterio


def whole_of(picture):
    return slice(0, picture.shape[0]), slice(0, picture.shape[1])


def test_dubai_is_what_is_stitched(data):
    """Tile 2, the smallest; tile 8 is read by nobody but the report."""
    found = DATASETS["dubai"](data / "dubai")
    image, label = stitch(data / "dubai", 2)
    pictures = [p for p in found.pictures if p.scene == "dubai_2"]
    assert len(pictures) == 9
    assert pictures[0].whole.shape == label.shape == image.shape[1:]
    for picture in pictures:
        np.testing.assert_array_equal(found.read(picture, whole_of(picture)).label, label[picture.window])
    assert found.about.known == ("building", "road", "land", "vegetation", "water")
    assert found.about.rest == "unlabelled"
    assert "CC0" in found.about.attribution


def test_massachusetts_knows_roads_and_nothing_else(data):
    found = DATASETS["massachusetts-roads"](data / "massroads")
    assert [p.name for p in found.pictures] == ["10078660_15", "10078675_15"]
    first = found.pictures[0]
    with Image.open(data / "massroads" / "10078660_15_label.jpg") as mask:
        road = np.asarray(mask)[..., 0] > 127
    np.testing.assert_array_equal(found.read(first, whole_of(first)).label, np.where(road, 2, 255))
    assert (found.about.known, found.about.rest) == (("road",), "unknown")
    assert grids.ground_resolution(first.whole) == pytest.approx(1.0)
    with Image.open(first.file) as picture:
        white = filled(np.asarray(picture).transpose(2, 0, 1), found.fill)
    assert white.mean() == pytest.approx(0.32, abs=0.01)
    with Image.open(found.pictures[1].file) as picture:
        assert not filled(np.asarray(picture).transpose(2, 0, 1), found.fill).any()


def test_inria_and_dota_samples(data):
    inria = DATASETS["inria"](data / "inria")
    assert len(inria.pictures) == 2
    assert grids.ground_resolution(inria.pictures[0].whole) == pytest.approx(0.3)
    with Image.open(data / "inria" / "austin1_patch_042_x512_y128_labels.png") as mask:
        house = np.asarray(mask) > 127
    last = inria.pictures[1]
    np.testing.assert_array_equal(inria.read(last, whole_of(last)).label, np.where(house, 1, 255))

    dota = DATASETS["dota"](data / "dota")
    by_name = {p.name: p for p in dota.pictures}
    assert grids.ground_resolution(by_name["P0706"].whole) == pytest.approx(0.255589285596)
    seen = dota.read(by_name["P0706"], whole_of(by_name["P0706"]))
    ship = dota.about.classes.index("ship")
    assert seen.label[1040, 1087] == ship
    assert len(np.unique(seen.instance[seen.label == ship])) > 500
    assert dota.about.classes[0] == "other"


def test_spacenet_samples(data):
    roads = DATASETS["spacenet-roads"](data / "spacenet")
    buildings = DATASETS["spacenet-buildings"](data / "spacenet")
    assert sorted(p.name for p in roads.pictures) == ["RGB-PanSharpen_AOI_2_Vegas_img0", "road_mask_input"]
    vegas = roads.pictures[0]
    label = roads.read(vegas, whole_of(vegas)).label
    assert set(np.unique(label)) == {2, 255}
    assert 0.02 < (label == 2).mean() < 0.4
    (atlanta,) = buildings.pictures
    got = buildings.read(atlanta, whole_of(atlanta))
    assert len(np.unique(got.instance[got.label == 1])) == 43
    assert vegas.whole.crs.epsg == 4326


def tif(path, shape=(20, 30), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": 3, "dtype": "uint8"} | more
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.full((profile["count"], *shape), 255, np.uint8))


@pytest.mark.parametrize(
    ("name", "picture", "mask"),
    [
        ("massachusetts-roads", "train/sat/1_15.tiff", "train/map/1_15.tif"),
        ("massachusetts-roads", "tiff/train/1_15.tiff", "tiff/train_labels/1_15.tif"),
        ("massachusetts-roads", "tiff/val/1_15.tiff", "tiff/val_labels/1_15.tif"),
        ("inria", "AerialImageDataset/train/images/austin1.tif", "AerialImageDataset/train/gt/austin1.tif"),
    ],
)
def test_layouts_as_they_are_unpacked(name, picture, mask, tmp_path):
    tif(tmp_path / picture)
    tif(tmp_path / mask, count=1)
    found = DATASETS[name](tmp_path)
    assert [p.file for p in found.pictures] == [tmp_path / picture]
    assert found.files(found.pictures[0]) == (tmp_path / mask,)
    assert found.left_out == ()
    assert set(np.unique(found.read(found.pictures[0], whole_of(found.pictures[0])).label)) == {
        2 if "roads" in name else 1
    }


def test_a_picture_without_its_mask_is_named_and_the_part_for_tests_is_none(tmp_path):
    for name in ("a1", "a2"):
        tif(tmp_path / "train" / "images" / f"{name}.tif")
    tif(tmp_path / "test" / "images" / "b1.tif")
    tif(tmp_path / "train" / "gt" / "a1.tif", count=1)
    found = DATASETS["inria"](tmp_path)
    assert [p.name for p in found.pictures] == ["a1"]
    assert len(found.left_out) == 1
    assert "a2.tif has no mask" in found.left_out[0]


def test_a_mask_of_another_size_is_told(tmp_path):
    tif(tmp_path / "sat" / "a.tif")
    tif(tmp_path / "map" / "a.tif", shape=(20, 31))
    found = DATASETS["massachusetts-roads"](tmp_path)
    with pytest.raises(UnusableInput, match="31 x 20 pixels and its picture 30 x 20"):
        found.read(found.pictures[0], whole_of(found.pictures[0]))


@pytest.mark.parametrize(
    ("what", "picture", "mask"),
    [
        ("buildings", "PS-RGB/SN2_x_PS-RGB_img1.tif", "geojson_buildings/SN2_x_geojson_buildings_img1.geojson"),
        ("buildings", "RGB-PanSharpen/RGB-PanSharpen_A_img1.tif", "geojson/buildings/buildings_A_img1.geojson"),
        ("buildings", "3band/3band_A_img1.tif", "vectordata/geojson/Geo_A_img1.geojson"),
        ("roads", "PS-RGB/SN3_x_PS-RGB_img1.tif", "geojson_roads/SN3_x_geojson_roads_img1.geojson"),
        ("roads", "RGB-PanSharpen/RGB-PanSharpen_A_img1.tif", "geojson/spacenetroads/spacenetroads_A_img1.geojson"),
    ],
)
def test_spacenet_as_it_is_unpacked(what, picture, mask, tmp_path):
    """A tile with one square, and the same one with nothing."""
    grid = GeoBox((20, 30), Affine(1, 0, 450_000, 0, -1, 5_400_000), "EPSG:32632")
    tif(tmp_path / picture, crs="EPSG:32632", transform=grid.affine)
    (tmp_path / mask).parent.mkdir(parents=True)
    ring = [
        [450_005, 5_399_995],
        [450_015, 5_399_995],
        [450_015, 5_399_990],
        [450_005, 5_399_990],
        [450_005, 5_399_995],
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    for features in ([feature], []):
        (tmp_path / mask).write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
        found = DATASETS[f"spacenet-{what}"](tmp_path)
        got = found.read(found.pictures[0], whole_of(found.pictures[0]))
        wanted = np.full((20, 30), 255)
        if features:
            wanted[5:10, 5:15] = 1 if what == "buildings" else 2
        np.testing.assert_array_equal(got.label, wanted)


def test_isaid_keeps_its_objects(tmp_path):
    for folder in ("images", "Semantic_masks/images", "Instance_masks/images"):
        (tmp_path / folder).mkdir(parents=True)
    colours, numbers = np.zeros((2, 20, 30, 3), np.uint8)
    colours[2:6, 3:9], colours[10:12] = (0, 127, 255), (0, 0, 63)
    numbers[2:6, 3:9], numbers[10:12] = (1, 2, 3), (7, 0, 0)
    Image.fromarray(colours).save(tmp_path / "images" / "P0003.png")
    Image.fromarray(colours).save(tmp_path / "Semantic_masks" / "images" / "P0003_instance_color_RGB.png")
    Image.fromarray(numbers).save(tmp_path / "Instance_masks" / "images" / "P0003_instance_id_RGB.png")
    found = DATASETS["isaid"](tmp_path)
    got = found.read(found.pictures[0], whole_of(found.pictures[0]))
    names = [name for name, _ in ISAID_COLOURS]
    wanted, objects = np.zeros((2, 20, 30), int)
    wanted[2:6, 3:9], wanted[10:12] = names.index("plane"), 1
    objects[2:6, 3:9], objects[10:12] = 1 + 2 * 256 + 3 * 65536, 7
    np.testing.assert_array_equal(got.label, wanted)
    np.testing.assert_array_equal(got.instance, objects)
