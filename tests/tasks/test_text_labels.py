"""Labelling by text: the step with a small untrained SAM 3, and how what it finds becomes labels."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from small_sams import save_sam2, save_sam3, save_sam3_video

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from models.sam_later import LaterSam
from models.sam_text import Objects, TextSam
from tasks.label_params import LabelParams
from tasks.params import IngestParams, RunParams
from tasks.raster.gdal import rasterio
from tasks.raster.labels import create_labels, open_labels, set_cube, write_labels
from tasks.raster.texts import TEXTS, texts_of
from tasks.text_labeler import TextLabeler
from tasks.workspace import open_workspace

pytest.importorskip("transformers")
CLASSES = ("other", "building", "road", "water")
SHAPE = (500, 700)  # two windows high and wide, of which the lower right one is invalid


@pytest.fixture(scope="module")
def sam3(tmp_path_factory):
    return save_sam3(tmp_path_factory.mktemp("sam") / "sam3", seed=3)


@pytest.fixture
def workspace(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(1, 255, (3, SHAPE[0] // 20, SHAPE[1] // 20), dtype=np.uint8).repeat(20, 1).repeat(20, 2)
    image[:, 384:, 384:] = 0
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=SHAPE[0], width=SHAPE[1], count=3, dtype="uint8", nodata=0,
        crs="EPSG:32632", transform=Affine(0.5, 0, 450_000, 0, -0.5, 5_400_000),
    ) as target:  # fmt: skip
        target.write(image)
    params = IngestParams(scenes=(str(tmp_path / "a.tif"),), classes=CLASSES)
    steps.ingest(params, str(tmp_path / "ws"), run=RunParams(), progress=Silent())
    return str(tmp_path / "ws")


def label(workspace, sam3, *, workers=1, **params):
    chosen = {"method": "text", "sam_checkpoint": str(sam3), "accept_license": True} | params
    run = RunParams(device="cpu", workers=workers)
    return steps.label(LabelParams(**chosen), workspace, run=run, progress=Silent())


def read(workspace):
    group = open_labels(open_store(workspace).zarr("labels.zarr"))
    return {name: np.asarray(group[name][:]) for name in ("label", "instance", "confidence")}, dict(group.attrs)


class Finds:
    """A SAM that finds the same in every picture."""

    classes = frozenset({1, 2, 3})

    def __init__(self, found):
        self.found = found

    def __call__(self, picture):
        return self.found


def one_house(folder):
    """A file of prompts: a house of 35 x 35 m."""
    import geopandas as gpd
    import shapely

    house = shapely.box(450_025, 5_399_935, 450_060, 5_399_970)
    gpd.GeoDataFrame({"class": ["building"]}, geometry=[house], crs="EPSG:32632").to_file(folder / "one.gpkg")
    return str(folder / "one.gpkg")


def test_a_workspace_is_labelled_the_same_way_twice_and_no_window_without_data_is_looked_at(
    workspace, sam3, monkeypatch
):
    looked = []
    real = TextSam.__call__
    monkeypatch.setattr(TextSam, "__call__", lambda sam, picture: looked.append(picture.shape) or real(sam, picture))
    done = label(workspace, sam3)
    assert sorted(looked) == [(180, 448, 3), (448, 380, 3), (448, 448, 3)]
    found, about = read(workspace)
    assert about["made_by"] == "text"
    assert not about["from_truth"]
    assert list(about["sources"]) == []
    ignored = found["label"] == 255
    assert 0 < ignored[:384].mean() < 1, "what no text finds stays unlabelled"
    assert ignored[384:, 384:].all()
    assert set(np.unique(found["label"])) <= {1, 2, 3, 255}
    assert ((found["instance"] == 0) == ignored).all()
    assert ((found["confidence"] == 255) == ignored).all()
    for number in np.unique(found["instance"][~ignored]):
        assert len(np.unique(found["label"][found["instance"] == number])) == 1, "an object has one class"
    assert done.labelled == pytest.approx((~ignored).sum() / (SHAPE[0] * SHAPE[1] - 116 * 316))

    # The same again costs nothing, and whether the licence was accepted is no part of what labels depend on.
    assert label(workspace, sam3).units_run == 0
    open_store(workspace).delete_all("labels.zarr")
    again = label(workspace, sam3, workers=2)
    assert again.units_run == done.units_total
    for name, array in read(workspace)[0].items():
        np.testing.assert_array_equal(array, found[name])
    assert label(workspace, sam3, texts=("road=lane",)).units_run == done.units_total, "other texts, other labels"


def test_the_published_file_of_both_parts_serves_text_and_prompts(workspace, tmp_path):
    both = save_sam3_video(tmp_path / "sam3", seed=3)
    assert label(workspace, both).labelled > 0
    done = label(workspace, both, method="vectors", prompts=one_house(tmp_path), sam="sam3")
    assert done.shares["other"] > 0.9
    assert any((Path(workspace) / "embeddings").glob("sam3-*"))


def test_sam_2_answers_vectors_and_keeps_what_it_sees(workspace, tmp_path, monkeypatch):
    sam2 = save_sam2(tmp_path / "sam2")
    asked = {"method": "vectors", "prompts": one_house(tmp_path), "sam": "sam2-tiny"}
    label(workspace, sam2, **asked)
    first = read(workspace)[0]
    monkeypatch.setattr(LaterSam, "encode", None)
    label(workspace, sam2, **asked, from_truth=True)
    np.testing.assert_array_equal(read(workspace)[0]["label"], first["label"])


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"accept_license": False}, "SAM License.* ITAR.* --accept-license"),
        ({"accept_license": False, "sam": "sam3", "method": "vectors", "prompts": __file__}, "--accept-license"),
        ({"sam": "sam2-tiny"}, "--sam was sam2-tiny for labelling by text"),
        ({"texts": ("road=",)}, "class 'road' has no text; give road=TEXT,TEXT"),
        ({"texts": ("canal=canal",)}, "one of the map's classes: other, building, road, water"),
        ({"sam_checkpoint": "nowhere"}, "--sam-checkpoint was nowhere for sam3; expected a folder"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_old_labels_stay(workspace, sam3, params, words):
    label(workspace, sam3)
    before = read(workspace)[0]["label"]
    with pytest.raises(UnusableInput, match=words):
        label(workspace, sam3, **params)
    np.testing.assert_array_equal(read(workspace)[0]["label"], before)


def test_weights_that_are_not_what_their_list_says_are_refused(workspace, tmp_path):
    folder = save_sam3(tmp_path / "sam3")
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  model.safetensors\n")
    with pytest.raises(UnusableInput, match=r"model\.safetensors is damaged or another file"):
        label(workspace, folder)


def test_a_scene_where_nothing_is_found_is_told(workspace, sam3, monkeypatch):
    nothing = Objects(np.zeros((0, 1, 1), bool), np.zeros(0, np.uint8), np.zeros(0, np.float32))
    monkeypatch.setattr(TextSam, "__call__", lambda *_: nothing)
    with pytest.raises(UnusableInput, match="None of the texts is found"):
        label(workspace, sam3)


def test_a_map_without_classes_has_nothing_to_ask_for():
    with pytest.raises(UnusableInput, match="no class but the first"):
        texts_of(("other",), ())


def test_texts_of_classes():
    found = texts_of(("other", "road", "solar_panel"), ("other=field, meadow,field",))
    assert found == {0: ("field", "meadow"), 1: TEXTS["road"], 2: ("solar panel",)}
    assert texts_of(("other", "road"), ("road=lane",)) == {1: ("lane",)}


def anywhere(shape):
    """Pictures of a scene that nobody looks at."""
    return SimpleNamespace(
        cube=SimpleNamespace(grid=GeoBox(shape, None, None)), around=lambda window: window, picture=lambda _: None
    )


def test_holes_and_specks_of_a_mask_are_cleaned():
    """A field of 40 x 40 with a pinhole and a courtyard, a speck beside it, and a hut of 5 x 5 that is all there is."""
    masks = np.zeros((2, 160, 200), bool)
    masks[0, 20:60, 20:60] = True
    masks[0, 30:33, 30:33] = False
    masks[0, 40:50, 40:50] = False
    expected = masks[0].copy()
    expected[30:33, 30:33] = True
    masks[0, 90:94, 90:94] = True
    masks[1, 150:155, 150:155] = True
    found = Objects(masks, np.array([3, 1], np.uint8), np.array([0.9, 0.8], np.float32))
    done = TextLabeler(anywhere((160, 200)), Finds(found))((slice(0, 160), slice(0, 200)))
    np.testing.assert_array_equal(done.label == 3, expected)
    np.testing.assert_array_equal(done.label == 1, masks[1])


def test_where_objects_overlap_the_surest_wins_and_ties_go_to_the_first():
    shape = (60, 80)
    rng = np.random.default_rng(0)
    count = 9
    masks = np.zeros((count, *shape), bool)
    for mask in masks:
        y, x = rng.integers(0, 40, 2)
        mask[y : y + 30, x : x + 40] = True
    confidences = np.array([0.9, 0.9, 0.8, 0.7, 0.7, 0.6, 0.5, 0.4, 0.31], np.float32)
    found = Objects(masks, rng.integers(1, 4, count).astype(np.uint8), confidences)
    window = (slice(0, 60), slice(0, 80))
    labelled = TextLabeler(anywhere(shape), Finds(found))(window)

    on = masks.any(0)
    first = masks.argmax(0)  # the surest stand first
    np.testing.assert_array_equal(labelled.label, np.where(on, found.classes[first], 255))
    np.testing.assert_array_equal(labelled.instance, np.where(on, first + 1, 0))
    np.testing.assert_array_equal(labelled.confidence, np.where(on, np.round(confidences[first] * 254.0), 255))


def test_text_fills_in_the_classes_that_a_data_set_lacks(workspace, sam3):
    """Of a data set of roads; what is no road may be anything."""
    store = open_store(workspace)
    place, opened = store.zarr("labels.zarr"), open_workspace(store)
    roads = np.full(SHAPE, 255, np.uint8)
    roads[100:140] = 2
    ids = np.where(roads == 2, 77, 0).astype(np.uint32)
    about = {"classes": CLASSES, "made_by": "a data set", "sources": ["0" * 64], "from_truth": True}
    create_labels(place, opened.grid, known=("road",), rest="unknown", **about)
    whole = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    confidence = np.where(roads == 2, 254, 255).astype(np.uint8)
    write_labels(place, whole, label=roads, instance=ids, confidence=confidence)
    set_cube(place, opened.cube().fingerprint)
    label(workspace, sam3)
    alone = read(workspace)[0]["label"]
    store.delete_all("labels.zarr")
    create_labels(place, opened.grid, known=("road",), rest="unknown", **about)
    write_labels(place, whole, label=roads, instance=ids, confidence=confidence)
    set_cube(place, opened.cube().fingerprint)

    done = label(workspace, sam3, method=("present", "text"))
    found, told = read(workspace)
    invalid = np.zeros(SHAPE, bool)
    invalid[384:, 384:] = True
    expected = np.where(np.isin(alone, [1, 3]), alone, 0)  # all classes are known now, so the rest is other
    expected[100:140] = 2
    expected[invalid] = 255
    np.testing.assert_array_equal(found["label"], expected)
    assert np.isin(alone, [1, 3]).any(), "the text finds nothing, or there is nothing to test"
    assert (told["made_by"], told["from_truth"], told["rest"]) == ("present, text", True, "other")
    assert sorted(told["known"]) == ["building", "road", "water"]
    assert len(np.unique(found["instance"][100:140, :384])) == 1
    again = label(workspace, sam3, method=("present", "text"))  # from the data set's, not from what was made of them
    assert (done.units_run, again.units_run) == (1, 0)
    np.testing.assert_array_equal(read(workspace)[0]["label"], expected)
