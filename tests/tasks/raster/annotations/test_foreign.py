"""Annotations as other tools write them, and damaged ones."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from infra.errors import UnusableInput
from tasks.raster.annotations.formats import FORMATS
from tasks.raster.grid import ground_resolution

SHAPE = (40, 60)
WHOLE = (slice(0, 40), slice(0, 60))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    return tmp_path


def read(name, folder):
    found = FORMATS[name].open(folder)
    (picture,) = found.pictures
    return found, found.read(picture, WHOLE)


def rectangle(*boxes):
    """Labels with boxes of (label, x0, y0, x1, y1)."""
    label = np.zeros(SHAPE, np.uint8)
    for value, x0, y0, x1, y1 in boxes:
        label[y0:y1, x0:x1] = value
    return label


def coco(folder, *annotations, **more):
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 60, "height": 40}],
        "categories": [{"id": 3, "name": "Tree"}, {"id": 1, "name": "Car"}],
        "annotations": [{"id": n, "image_id": 7, "bbox": [0, 0, 1, 1], "iscrowd": 0} | a
                        for n, a in enumerate(annotations, 100)],
    }  # fmt: skip
    (folder / "instances.json").write_text(json.dumps(document | more))


def test_coco_of_others(folder):
    """Polygons, runs, a crowd and a box alone; a small object lies over a large one, whatever their order."""
    coco(
        folder,
        {"category_id": 1, "segmentation": [[10, 10, 14, 10, 14, 14, 10, 14]]},
        {"category_id": 3, "segmentation": [[5, 5, 30, 5, 30, 25, 5, 25], [40, 5, 45, 5, 45, 9, 40, 9]]},
        {"category_id": 1, "segmentation": {"size": [40, 60], "counts": [40 * 50, 3, 2400 - 2003]}, "iscrowd": 1},
        {"category_id": 3, "bbox": [20, 30, 10, 5]},
    )
    found, got = read("coco", folder)
    assert found.about.classes == ("other", "car", "tree"), "in the order of their ids"
    wanted = rectangle(
        (2, 5, 5, 30, 25), (2, 40, 5, 45, 9), (1, 10, 10, 14, 14), (1, 50, 0, 51, 3), (2, 20, 30, 30, 35)
    )
    np.testing.assert_array_equal(got.label, wanted)
    assert [int(got.instance[y, x]) for x, y in ((11, 11), (6, 6), (41, 6), (50, 1), (25, 31))] == [
        100,
        101,
        101,
        0,
        103,
    ]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({"category_id": 9, "segmentation": [[1, 1, 2, 2, 3, 1]]}, "category 9"),
        ({"category_id": 1, "segmentation": [[1, 1, 2, 2]]}, "2 corners"),
        ({"category_id": 1, "segmentation": [[1, 1, 2, "x", 3, 3]]}, "pairs of numbers"),
        ({"category_id": 1, "segmentation": {"size": [40, 60], "counts": [5, 5]}}, "make 10 pixels"),
        ({"category_id": 1, "segmentation": {"size": [41, 60], "counts": [5, 5]}}, "mask of annotation"),
        ({"category_id": 1, "segmentation": {"counts": [5, 5]}}, "lacks 'size'"),
        ({"segmentation": []}, "lacks 'category_id'"),
    ],
)
def test_a_damaged_annotation_is_named(folder, annotation, said):
    coco(folder, annotation)
    with pytest.raises(UnusableInput, match=said) as caught:
        read("coco", folder)
    assert "instances.json" in str(caught.value)


def test_a_picture_of_another_size_is_refused(folder):
    coco(folder, images=[{"id": 7, "file_name": "a.png", "width": 61, "height": 40}])
    with pytest.raises(UnusableInput, match="60 x 40 pixels and its annotation is of 61 x 40"):
        FORMATS["coco"].open(folder)


def test_a_name_never_leads_out_of_the_folder(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(outside)
    for name in (
        str(outside),
        f"../../{outside.parent.name}/secret.png",
        "file:///etc/passwd",
        "/vsicurl/http://x/a.tif",
    ):
        coco(folder, images=[{"id": 7, "file_name": name, "width": 60, "height": 40}])
        found = FORMATS["coco"].open(folder)
        assert found.pictures == ()
        assert name in found.left_out[0]


def shape(label, points, kind="polygon", group=None, **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group} | more


def labelme(folder, *shapes):
    document = {"version": "5.0.1", "imagePath": "..\\images\\a.png", "imageHeight": 40, "imageWidth": 60}
    (folder / "a.json").write_text(json.dumps(document | {"shapes": shapes}))


def test_labelme_of_others(folder):
    held = io.BytesIO()
    Image.fromarray(np.eye(3, dtype=np.uint8) * 255).save(held, "PNG")
    labelme(
        folder,
        shape("road", [[0, 0], [20, 0], [20, 10], [0, 10]]),
        shape("building", [[35, 20], [25, 12]], "rectangle", group=5),
        shape("building", [[40, 20], [50, 20], [50, 30], [40, 30]], group=5),
        shape("water", [[2, 30], [4, 32]], "mask", mask=base64.b64encode(held.getvalue()).decode()),
        shape("ignore", [[55, 35], [60, 35], [60, 40], [55, 40]]),
    )
    found, got = read("labelme", folder)
    wanted = rectangle((2, 0, 0, 20, 10), (1, 25, 12, 35, 20), (1, 40, 20, 50, 30), (255, 55, 35, 60, 40))
    wanted[(30, 31, 32), (2, 3, 4)] = 5
    np.testing.assert_array_equal(got.label, wanted)
    assert got.instance[15, 30] == got.instance[25, 45] == 5, "one group, one object"
    assert got.instance[5, 5] not in {0, 5}
    assert found.about.known == ("building", "road", "water")


def test_a_shape_without_area_is_named(folder):
    labelme(folder, shape("road", [[0, 0], [20, 0]], "line"))
    with pytest.raises(UnusableInput, match=r"line of the class 'road'.*no area"):
        read("labelme", folder)


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><job><labels><label><name>building</name></label><label><name>water</name></label></labels></job></meta>
<image id="0" name="a.png" width="60" height="40">
 <box label="water" source="manual" occluded="0" xtl="4" ytl="4" xbr="12" ybr="9" z_order="2"></box>
 <polygon label="building" occluded="0" points="0.00,0.00;20.00,0.00;20.00,10.00;0.00,10.00" z_order="1"></polygon>
 <mask label="building" occluded="0" rle="1, 2, 1" left="30" top="20" width="2" height="2" z_order="0"></mask>
 {more}
</image></annotations>
"""


def test_cvat_of_others(folder):
    (folder / "annotations.xml").write_text(CVAT.format(more=""))
    found, got = read("cvat", folder)
    wanted = rectangle((1, 0, 0, 20, 10), (5, 4, 4, 12, 9), (1, 31, 20, 32, 21), (1, 30, 21, 31, 22))
    np.testing.assert_array_equal(got.label, wanted)
    assert found.about.known == ("building", "water")
    assert len(np.unique(got.instance[got.label > 0])) == 3


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotations>&b;</annotations>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "document type"),
        (BOMB.encode("utf-16"), "UTF-8"),
        ("<annotations><image></annotations>", "is no XML"),
        (CVAT.format(more='<points label="building" points="1,1"></points>'), "points of the class"),
        (CVAT.format(more='<polygon label="car" points="1,1;2,2;3,1"></polygon>')
         .replace("<label><name>water</name></label>", ""), "UTF-8|car"),
        (CVAT.format(more='<mask label="water" rle="9" left="0" top="0" width="2" height="2"></mask>'), "make 9"),
        (CVAT.format(more='<polygon label="water" points="1,1;2,2;3"></polygon>'), "pairs"),
    ],
)  # fmt: skip
def test_damaged_xml_is_told(folder, text, said):
    (folder / "annotations.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    if "car" in said:
        assert read("cvat", folder)[0].about.classes == ("other", "building", "car", "water")
        return
    with pytest.raises(UnusableInput, match=said):
        read("cvat", folder)


def test_yolo_of_others(folder):
    """Outlines and boxes; a picture without a text shows nothing."""
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(folder / "images" / "b.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("1 0.5 0.5 1 0.5 1 1 0.5 1\n0 0.25 0.25 0.1 0.2\n")
    (folder / "data.yaml").write_text("names:\n  0: ship\n  1: plane\n")
    found = FORMATS["yolo"].open(folder)
    label = {p.name: found.read(p, WHOLE).label for p in found.pictures}
    assert found.about.classes == ("other", "ship", "plane")
    np.testing.assert_array_equal(label["a"], rectangle((2, 30, 20, 60, 40), (1, 12, 6, 18, 14)))
    assert not label["b"].any()


@pytest.mark.parametrize(
    ("names", "line", "said"),
    [
        ("names: [ship]", "1 0 0 1 0 1 1", "class 1"),
        ("names: [ship]", "0 0 0 1 0 1", "5 numbers"),
        ("names: [ship]", "0 0 0 1 0 1 x", "float"),
        ("names: [ship", "0 0 0 1 0 1 1", "no YAML"),
        ("path: x", "0 0 0 1 0 1 1", "lacks 'names'"),
        ("names: []", "0 0 0 1 0 1 1", "names no class"),
    ],
)
def test_damaged_yolo_is_told(folder, names, line, said):
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text(line)
    (folder / "data.yaml").write_text(names)
    with pytest.raises(UnusableInput, match=said):
        read("yolo", folder)


def test_dota_of_others(folder):
    (folder / "labelTxt").mkdir()
    (folder / "labelTxt" / "a.txt").write_text(
        "imagesource:GoogleEarth\ngsd:0.25\n10 10 20 10 20 15 10 15 ship 0\n30.0 5 40.0 5 40.0 9 30.0 9 plane 1\n"
    )
    found, got = read("dota", folder)
    np.testing.assert_array_equal(got.label, rectangle((2, 10, 10, 20, 15), (1, 30, 5, 40, 9)))
    assert found.about.classes == ("other", "plane", "ship")
    assert ground_resolution(found.pictures[0].whole) == pytest.approx(0.25)
    (folder / "labelTxt" / "a.txt").write_text("10 10 20 10 20 15 ship 0\n")
    with pytest.raises(UnusableInput, match="line 1: expected x1 y1"):
        read("dota", folder)


def test_geojson_of_others_is_brought_to_the_pictures(tmp_path):
    """Degrees over a picture in UTM; the oracle is pyproj's, by hand."""
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

    from tasks.raster.annotations.places import write_place

    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(tmp_path / "a.png")
    write_place(tmp_path / "a.png", GeoBox(SHAPE, Affine(2, 0, 450_000, 0, -2, 5_400_000), "EPSG:32632"))
    degrees = Transformer.from_crs(32632, 4326, always_xy=True)
    ring = [
        degrees.transform(450_000 + 2 * x, 5_400_000 - 2 * y)
        for x, y in ((10, 5), (30, 5), (30, 20), (10, 20), (10, 5))
    ]
    feature = {
        "type": "Feature",
        "properties": {"class": "building"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    path = tmp_path / "b.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    _, got = read("geojson", tmp_path)
    np.testing.assert_array_equal(got.label, rectangle((1, 10, 5, 30, 20)))
    assert got.instance.max() == 1
    feature["properties"] = {"name": "x"}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(UnusableInput, match="column 'class'"):
        read("geojson", tmp_path)
    path.write_text("{")
    with pytest.raises(UnusableInput, match="vector file"):
        read("geojson", tmp_path)


def test_masks_of_others_are_read_by_colour(folder):
    (folder / "masks").mkdir()
    (folder / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:9,8,7::\nignore:1,1,1::\n"
    )
    colours = np.zeros((*SHAPE, 3), np.uint8)
    colours[5:9], colours[20:25] = (9, 8, 7), (1, 1, 1)
    path = folder / "masks" / "a.png"
    for picture in (Image.fromarray(colours), Image.fromarray(colours).quantize(8, dither=Image.Dither.NONE)):
        picture.save(path)
        np.testing.assert_array_equal(read("masks", folder)[1].label, rectangle((2, 0, 5, 60, 9), (255, 0, 20, 60, 25)))
    colours[0, 0] = (200, 100, 50)
    Image.fromarray(colours).save(path)
    with pytest.raises(UnusableInput, match="200,100,50, which is no class"):
        read("masks", folder)


@pytest.mark.parametrize("name", ["coco", "coco-panoptic", "labelme"])
@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"shapes": 3, "imagePath": 4}', "\0\0", "[" * 100_000])
def test_damaged_json_is_told(folder, name, text):
    (folder / "a.json").write_text(text)
    with pytest.raises(UnusableInput):
        FORMATS[name].open(folder)


def test_a_hundred_thousand_objects_are_read_in_seconds(tmp_path):
    import time

    side, each = 1280, 4
    Image.fromarray(np.zeros((side, side), np.uint8)).save(tmp_path / "a.png")
    corners = np.stack(np.meshgrid(np.arange(0, side, each), np.arange(0, side, each)), axis=-1).reshape(-1, 2)[
        :100_000
    ]
    x, y = corners.T
    boxes = np.stack([x, y, x + 3, y, x + 3, y + 3, x, y + 3], axis=1).tolist()
    rows = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0, "segmentation": [b]}
        for n, b in enumerate(boxes, 1)
    ]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": side, "height": side}],
        "categories": [{"id": 1, "name": "building"}], "annotations": rows,
    }  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(document))
    begun = time.process_time()
    found = FORMATS["coco"].open(tmp_path)
    got = found.read(found.pictures[0], (slice(0, side), slice(0, side)))
    assert time.process_time() - begun < 60
    assert len(np.unique(got.instance)) == 100_001
    assert (got.label > 0).sum() == 900_000
