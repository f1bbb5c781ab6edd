"""Labels that are written in a format and read again are the same in every pixel, wherever it can carry them."""

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tasks.raster import grid as grids
from tasks.raster.annotations.formats import FORMATS
from tasks.raster.annotations.picture import About, Annotation, Picture
from tasks.raster.annotations.places import write_picture, write_place
from tasks.raster.annotations.regions import Drawing, one_ring, ring_of, trace
from tasks.raster.classes import DEFAULT_CLASSES, IGNORE
from tasks.raster.scene import describe_scene

EXACT = sorted(set(FORMATS) - {"dota"})
"""Oriented boxes carry no outlines."""
ABOUT = About(DEFAULT_CLASSES.names, ("building", "road"), "Somebody, CC BY 4.0", "unlabelled", ours=True)
PLACES = {
    "no place": (None, Affine.identity()),
    "utm": ("EPSG:32632", Affine(0.5, 0, 450_000, 0, -0.5, 5_400_000)),
    "degrees": ("EPSG:4326", Affine(2.7e-6, 0, -115.1678, 0, -2.7e-6, 36.2385)),
    "turned": ("EPSG:32632", Affine(0.4, 0.1, 450_000, 0.1, -0.4, 5_400_000)),
}
SHAPE = (210, 200)
WINDOWS = [(slice(r, min(r + 128, 210)), slice(c, c + 100)) for r in (0, 128) for c in (0, 100)]


@pytest.fixture(scope="module")
def scene():
    """Blocks of all classes, dust, holes, objects of several parts, and what is ignored."""
    rng = np.random.default_rng(0)
    block = np.ones((7, 5), np.int64)
    small = rng.integers(0, 7, (30, 40))
    label = np.kron(np.where(small == 6, IGNORE, small), block).astype(np.uint8)
    instance = np.kron(rng.integers(0, 3, (30, 40)), block).astype(np.uint32) * 2_000_000_000
    label[rng.random(SHAPE) < 0.02] = 2
    instance[label == IGNORE] = 0
    confidence = np.where(label == IGNORE, 255, 200).astype(np.uint8)
    return Annotation(label, instance, confidence)


def part_of(annotation, window):
    return Annotation(*(getattr(annotation, name)[window] for name in ("label", "instance", "confidence")))


def write(name, folder, annotation, place):
    crs, transform = PLACES[place]
    whole = GeoBox(SHAPE, transform, crs)
    style = FORMATS[name]
    (folder / style.images).mkdir(parents=True, exist_ok=True)
    writer = style.write(folder, ABOUT)
    for rows, cols in WINDOWS:
        at = rows.start, cols.start
        file = folder / style.images / f"s_{at[0]}_{at[1]}.png"
        part = part_of(annotation, (rows, cols))
        picture = Picture(file.stem, file, part.label.shape, "s", whole, at)
        write_picture(file, np.zeros((*part.label.shape, 3), np.uint8), np.ones(part.label.shape, bool))
        write_place(file, picture.grid)
        writer.add(picture, part)
    writer.close()
    return whole


def whole_of(picture):
    return slice(0, picture.shape[0]), slice(0, picture.shape[1])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", EXACT)
def test_what_is_written_is_read(name, place, scene, tmp_path):
    whole = write(name, tmp_path, scene, place)
    found = FORMATS[name].open(tmp_path)
    assert found.about == ABOUT
    assert found.left_out == ()
    assert sorted(p.at for p in found.pictures) == [(r.start, c.start) for r, c in WINDOWS]
    for picture in found.pictures:
        assert picture.scene == "s"
        assert picture.whole == whole, "CRS, transform and shape, to the bit"
        wanted, read = part_of(scene, picture.window), found.read(picture, whole_of(picture))
        np.testing.assert_array_equal(read.label, wanted.label)
        np.testing.assert_array_equal(read.instance, wanted.instance)
        rows, cols = slice(17, 60), slice(31, 77)
        np.testing.assert_array_equal(found.read(picture, (rows, cols)).label, wanted.label[rows, cols])


@pytest.mark.parametrize("name", sorted(set(EXACT) - {"masks"}))
def test_the_confidence_of_an_object_is_kept(name, tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    label[10:50, 20:60] = 1
    certain = Annotation(label, label * np.uint32(7), np.where(label == 1, 127, 254).astype(np.uint8))
    write(name, tmp_path, certain, "utm")
    found = FORMATS[name].open(tmp_path)
    first = next(p for p in found.pictures if p.at == (0, 0))
    np.testing.assert_array_equal(found.read(first, whole_of(first)).confidence, certain.confidence[:128, :100])


@pytest.mark.parametrize("name", FORMATS)
def test_a_set_without_any_object_is_read(name, tmp_path):
    none = Annotation(np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint32), np.full(SHAPE, 254, np.uint8))
    write(name, tmp_path, none, "utm")
    found = FORMATS[name].open(tmp_path)
    assert len(found.pictures) == 4
    assert not any(found.read(p, whole_of(p)).label.any() for p in found.pictures)


def test_boxes_come_back_as_boxes(tmp_path):
    """An upright rectangle is its own smallest box."""
    label = np.zeros(SHAPE, np.uint8)
    label[10:50, 20:60], label[100:120, 5:95], label[150:200, 150:170] = 1, 2, IGNORE
    write("dota", tmp_path, Annotation(label, np.zeros(SHAPE, np.uint32), np.full(SHAPE, 254, np.uint8)), "utm")
    found = FORMATS["dota"].open(tmp_path)
    for picture in found.pictures:
        np.testing.assert_array_equal(found.read(picture, whole_of(picture)).label, label[picture.window])
    text = (tmp_path / "labelTxt" / "s_0_0.txt").read_text().splitlines()
    assert text[0] == "imagesource:geoloom"
    assert float(text[1].removeprefix("gsd:")) == pytest.approx(0.5, rel=1e-3)
    assert len(text) == 4


@pytest.mark.parametrize("place", ["utm", "degrees", "turned"])
def test_a_world_file_and_a_prj_place_a_picture(place, scene, tmp_path):
    """Read by GDAL, without a word from us."""
    whole = write("labelme", tmp_path, scene, place)
    for rows, cols in WINDOWS:
        found = describe_scene(tmp_path / f"s_{rows.start}_{cols.start}.png").grid
        assert grids.same_place(found, grids.crop(whole, (rows, cols)))
        assert found.crs.epsg == whole.crs.epsg


labels = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).choice([0, 1, 2, IGNORE], (12, 15), p=[0.4, 0.4, 0.1, 0.1])
)


@given(labels, st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_what_is_traced_is_painted_again(label, seed):
    """As polygons with holes, and as rings that go there and back; the oracle is what was traced."""
    instance = np.random.default_rng(seed).integers(0, 3, label.shape, dtype=np.uint32)
    instance[label == IGNORE] = 0
    wanted = np.where(label == IGNORE, 0, label).astype(np.uint8)
    regions = trace(Annotation(label.astype(np.uint8), instance, np.full(label.shape, 254, np.uint8)))
    window = slice(0, 12), slice(0, 15)
    drawn = Drawing(regions, label.shape).read(window)
    np.testing.assert_array_equal(drawn.label, wanted)
    np.testing.assert_array_equal(drawn.instance, instance)
    rings = Drawing(regions, label.shape)
    rings.parts = [(rank, (ring_of(one_ring([part])),)) for rank, part in rings.parts]
    np.testing.assert_array_equal(rings.read(window).label, wanted)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_coco_is_what_its_own_tools_read(scene, tmp_path):
    oracle = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    write("coco", tmp_path, scene, "utm")
    document = json.loads((tmp_path / "annotations.json").read_text())
    image = next(i for i in document["images"] if i["geoloom"]["at"] == [0, 0])
    painted = np.zeros((128, 100), int)
    names = {c["id"]: c["name"] for c in document["categories"]}
    for entry in (a for a in document["annotations"] if a["image_id"] == image["id"]):
        runs = oracle.frPyObjects(entry["segmentation"], 128, 100)
        mask = oracle.decode(runs if isinstance(runs, dict) else oracle.merge(runs))
        assert entry["area"] == mask.sum()
        painted[mask > 0] = DEFAULT_CLASSES.id(names[entry["category_id"]])
    wanted = scene.label[:128, :100]
    np.testing.assert_array_equal(painted, np.where(wanted == IGNORE, 0, wanted))


def test_panoptic_ids_are_in_the_colours(scene, tmp_path):
    from PIL import Image

    write("coco-panoptic", tmp_path, scene, "utm")
    document = json.loads((tmp_path / "panoptic.json").read_text())
    names = {c["id"]: c["name"] for c in document["categories"]}
    entry = document["annotations"][0]
    pixels = np.asarray(Image.open(tmp_path / "panoptic" / entry["file_name"])).astype(int)
    ids = pixels[..., 0] + 256 * pixels[..., 1] + 256**2 * pixels[..., 2]
    painted = np.full(ids.shape, IGNORE)
    for segment in entry["segments_info"]:
        there = ids == segment["id"]
        assert there.sum() == segment["area"]
        x, y, width, height = segment["bbox"]
        rows, cols = np.nonzero(there)
        assert (cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1) == (x, y, width, height)
        painted[there] = DEFAULT_CLASSES.id(names[segment["category_id"]])
    np.testing.assert_array_equal(painted, scene.label[:128, :100])


def test_cvat_is_plain_xml(scene, tmp_path):
    write("cvat", tmp_path, scene, "utm")
    root = ET.parse(tmp_path / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert {e.tag for e in root.iterfind("image/*")} == {"polygon", "mask"}
    assert not list(tmp_path.glob("*.images"))
