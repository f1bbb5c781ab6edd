"""Corrections: only what was changed counts, an id stays one object's, and nothing that a person said is lost."""

import json
import warnings
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from flows import dataset_steps, steps
from infra.errors import UnusableInput
from infra.ledger import Ledger
from infra.progress import Silent
from infra.store import open_store
from tasks.dataset_params import DatasetImportParams
from tasks.label_params import LabelParams, ReviewParams
from tasks.params import ClusterParams, RunParams
from tasks.raster.gdal import rasterio
from tasks.raster.labels import create_labels, open_labels, set_cube, write_labels
from tasks.truth_params import EvaluateParams
from tasks.workspace import LABEL, open_workspace

SHAPE = (200, 300)
HOUSES = {7: (20, 20), 8: (20, 80), 9: (20, 140)}
"""Row and column of houses of 20 x 30 pixels, by id."""
ROAD = 5
"""A road of two pieces."""


class Told(Silent):
    """What is said to a person."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def drawn_labels():
    """Class and id of every pixel, as they are before anything is corrected."""
    label, instance = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint32)
    for number, (row, col) in HOUSES.items():
        there = (slice(row, row + 20), slice(col, col + 30))
        label[there], instance[there] = 1, number
    for cols in (slice(0, 100), slice(150, 300)):
        label[100:110, cols], instance[100:110, cols] = 2, ROAD
    return label, instance


@pytest.fixture
def made(tmp_path, engine):
    """A workspace with three houses and a road of two pieces, reviewed."""
    engine.write_scene(tmp_path / "a.tif", np.full((3, *SHAPE), 90, np.uint8), np.ones(SHAPE, bool))
    folder = engine.ingest(tmp_path / "a.tif", tmp_path / "ws")
    workspace = open_workspace(open_store(folder))
    place = workspace.store.zarr("labels.zarr")
    create_labels(
        place, workspace.grid, classes=workspace.classes.names, made_by="a test", sources=[], from_truth=False
    )
    label, instance = drawn_labels()
    everything = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    confidence = np.full(SHAPE, 200, np.uint8)
    write_labels(place, everything, label=label, instance=instance, confidence=confidence)
    set_cube(place, workspace.cube().fingerprint)
    steps.review(ReviewParams(), folder, progress=Silent())
    return SimpleNamespace(folder=folder, path=tmp_path / "edited.gpkg", grid=workspace.grid)


def arrays(folder):
    group = open_labels(open_store(folder).zarr("labels.zarr"))
    return {name: np.asarray(group[name][:]) for name in ("label", "instance", "confidence")}


def objects(folder):
    """Objects of the review, by key, so that rows are numbers."""
    return gpd.read_file(f"{folder}/products/review.gpkg", layer="objects").sort_values("key", ignore_index=True)


def row_of(frame, made, row, col):
    """Number of the object that lies over a pixel."""
    x, y = made.grid.affine @ (col + 0.5, row + 0.5)
    return int(np.flatnonzero(frame.geometry.intersects(shapely.Point(x, y)))[0])


def moved(outline, *, rows=0, cols=0):
    return shapely.affinity.translate(outline, cols * 0.5, -rows * 0.5)


def update(made, frame, *, folder=None):
    """Take a file of these objects in; gives how many blocks it touched and what was said."""
    frame.to_file(made.path, layer="objects", driver="GPKG")
    told = Told()
    params = LabelParams(method=("truth",), truth=str(made.path), update=True)
    done = steps.label(params, folder or made.folder, run=RunParams(device="cpu", workers=1), progress=told)
    return done.units_run, " ".join(told.notes)


@pytest.mark.parametrize(
    "saved",
    [
        lambda frame: frame.set_geometry([shapely.MultiPolygon([one]) for one in frame.geometry], crs=frame.crs),
        lambda frame: frame.set_geometry([shapely.Polygon(np.roll(one.exterior.coords[:-1], 2, axis=0)) for one in
                                          frame.geometry], crs=frame.crs),
        lambda frame: frame.set_geometry(frame.geometry.reverse()),
        lambda frame: frame.to_crs(4326),
        lambda frame: frame.assign(key=None),
        lambda frame: frame.drop(columns="key"),
        lambda frame: frame.iloc[::-1],
    ],
    ids=["multipart", "other vertex", "reversed", "degrees", "keys lost", "no keys", "other order"],
)  # fmt: skip
def test_objects_that_were_only_saved_in_another_way_are_not_touched(made, saved):
    before = arrays(made.folder)
    run, said = update(made, saved(objects(made.folder)))
    assert run == 0
    assert "says what the labels say already" in said
    for name, pixels in before.items():
        np.testing.assert_array_equal(arrays(made.folder)[name], pixels)


def test_beside_one_multipart_object_the_others_are_not_touched(made):
    frame = objects(made.folder)
    house = row_of(frame, made, 30, 30)
    both = shapely.MultiPolygon([frame.geometry[house], moved(frame.geometry[house], rows=120)])
    frame.loc[[house], "geometry"] = gpd.GeoSeries([both], [house], crs=frame.crs)
    _, said = update(made, frame)
    assert "1 objects were changed" in said
    after = arrays(made.folder)
    assert set(np.unique(after["instance"][140:160, 20:50])) == {7}
    assert (after["confidence"] == 254).sum() == 2 * 600  # a person's word


def test_a_copy_that_keeps_its_attributes_is_another_object(made):
    frame = objects(made.folder)
    house = row_of(frame, made, 30, 30)
    copy = frame.loc[[house]].set_geometry([moved(frame.geometry[house], rows=120)], crs=frame.crs)
    frame = pd.concat([frame, copy], ignore_index=True)
    _, said = update(made, frame)
    assert "1 objects were changed" in said
    instance = arrays(made.folder)["instance"]
    assert set(np.unique(instance[20:40, 20:50])) == {7}
    assert set(np.unique(instance[140:160, 20:50])) == {10}
    assert update(made, frame)[0] == 0
    frame.loc[[len(frame) - 1], "geometry"] = moved(copy.geometry.iloc[0], cols=100)  # the copy, again
    _, said = update(made, frame)
    assert "1 objects were changed" in said
    instance = arrays(made.folder)["instance"]
    assert not instance[140:160, 20:50].any()
    assert set(np.unique(instance[140:160, 120:150])) == {10}


def test_a_split_object_is_not_changed_again(made):
    frame = objects(made.folder)
    house = row_of(frame, made, 30, 30)
    left, bottom, right, top = frame.geometry[house].bounds
    halves = [shapely.box(left, bottom, left + 5, top), shapely.box(left + 5, bottom, right, top)]
    parts = pd.concat([frame.loc[[house]]] * 2).set_geometry(halves, crs=frame.crs)
    frame = pd.concat([frame.drop(index=house), parts], ignore_index=True)
    assert update(made, frame)[0] == 1
    before = arrays(made.folder)
    assert sorted(np.unique(before["instance"][20:40, 20:50])) == [7, 10]
    run, said = update(made, frame)
    assert run == 0
    assert "says what the labels say already" in said
    np.testing.assert_array_equal(arrays(made.folder)["instance"], before["instance"])


def test_pieces_of_one_object_that_were_both_edited_stay_one(made):
    frame = objects(made.folder)
    pieces = [row_of(frame, made, 105, col) for col in (50, 200)]
    for piece in pieces:
        frame.loc[[piece], "geometry"] = moved(frame.geometry[piece], rows=20)
    _, said = update(made, frame)
    assert "2 objects were changed" in said
    instance = arrays(made.folder)["instance"]
    assert set(np.unique(instance[120:130])) == {0, ROAD}


def test_the_id_of_a_removed_object_is_not_given_again(made):
    frame = objects(made.folder)
    house = row_of(frame, made, 30, 150)
    outline = frame.geometry[house]
    frame = frame.drop(index=house)
    _, said = update(made, frame)
    assert "1 objects were changed" in said
    new = gpd.GeoDataFrame({"class": ["building"]}, geometry=[moved(outline, rows=120)], crs=frame.crs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pandas: columns of nothing
        frame = pd.concat([frame, new], ignore_index=True)
    update(made, frame)
    assert set(np.unique(arrays(made.folder)["instance"][140:160, 140:170])) == {10}


def import_houses(engine, folder, out, boxes):
    """Import a scene whose objects are houses at (row, col), the first with the id 1."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if not (folder / "images" / "a.tif").exists():
        engine.write_scene(folder / "images" / "a.tif", np.full((3, *SHAPE), 90, np.uint8), np.ones(SHAPE, bool))
    image = {"id": 1, "file_name": "images/a.tif", "width": SHAPE[1], "height": SHAPE[0]}
    houses = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": [col, row, 30, 20], "area": 600, "iscrowd": 0}
        for n, (row, col) in enumerate(boxes, 1)
    ]
    document = {"images": [image], "annotations": houses, "categories": [{"id": 1, "name": "building"}]}
    (folder / "annotations.json").write_text(json.dumps(document))
    told = Told()
    params = DatasetImportParams(rest="other")
    done = dataset_steps.import_dataset("coco", folder, str(out), params, run=ClusterParams(), progress=told)
    return done.workspaces["a"], " ".join(told.notes)


@pytest.fixture
def corrected(tmp_path, engine):
    """An imported scene of three houses, the third of which a person moved down by 120 rows."""
    folder, _ = import_houses(engine, tmp_path / "set", tmp_path / "out", HOUSES.values())
    steps.review(ReviewParams(), folder, progress=Silent())
    made = SimpleNamespace(folder=folder, path=tmp_path / "edited.gpkg", grid=open_workspace(open_store(folder)).grid)
    frame = objects(folder)
    house = row_of(frame, made, 30, 150)
    frame.loc[[house], "geometry"] = moved(frame.geometry[house], rows=120)
    update(made, frame)
    instance = arrays(folder)["instance"]
    assert (instance[140:160, 140:170] == 3).all()
    assert not instance[20:40, 140:170].any()
    return made


def test_annotations_imported_anew_keep_what_a_person_said_under_an_id_of_its_own(tmp_path, engine, corrected):
    more = [(60, 20), (60, 80), (60, 140), (60, 200), *HOUSES.values()]
    _, said = import_houses(engine, tmp_path / "set", tmp_path / "out", more)
    assert "corrections" in said
    instance = arrays(corrected.folder)["instance"]
    assert (instance[60:80, 140:170] == 3).all(), "an id of the new labels"
    assert not instance[20:40, 140:170].any()
    assert set(np.unique(instance[140:160, 140:170])) == {7}, "the moved house's own 7 is free: nothing of it is left"
    ids, counts = np.unique(instance[instance > 0], return_counts=True)
    assert (ids.tolist(), counts.tolist()) == ([1, 2, 3, 4, 5, 6, 7], [600] * 7)


def test_an_import_after_a_correction_that_was_interrupted_keeps_it(tmp_path, engine, corrected):
    store = open_store(corrected.folder)
    before = arrays(corrected.folder)
    ledger = Ledger(store, LABEL)
    ledger.forget([entry.unit for entry in ledger.entries()])  # as it stands before the first block is drawn
    set_cube(store.zarr("labels.zarr"), "")
    with pytest.raises(UnusableInput, match="run 'geoloom dataset import' again"):
        update(corrected, objects(corrected.folder))
    import_houses(engine, tmp_path / "set", tmp_path / "out", HOUSES.values())
    for name, pixels in before.items():
        np.testing.assert_array_equal(arrays(corrected.folder)[name], pixels)


def test_a_truth_that_was_in_sight_of_a_correction_says_nothing_of_the_labels(made, tmp_path):
    label, _ = drawn_labels()
    label[140:160, 20:50] = 1
    with rasterio.open(made.folder + "/../a.tif") as scene:
        profile = scene.profile | {"count": 1, "nodata": None}
    with rasterio.open(tmp_path / "truth.tif", "w", **profile) as file:
        file.write(label, 1)
        file.update_tags(CLASS_NAMES=",".join(open_workspace(open_store(made.folder)).classes.names))
    truth = str(tmp_path / "truth.tif")
    steps.review(ReviewParams(truth=truth), made.folder, progress=Silent())
    evaluated = EvaluateParams(truth=truth, what="labels")
    steps.evaluate(evaluated, made.folder, progress=Silent())  # nothing has been corrected yet
    frame = objects(made.folder)
    update(made, frame.drop(index=row_of(frame, made, 30, 150)))
    with pytest.raises(UnusableInput, match=r"corrected by a review against .*truth\.tif, so"):
        steps.evaluate(evaluated, made.folder, progress=Silent())
    with pytest.raises(UnusableInput, match="corrected by a review against"):
        steps.review(ReviewParams(truth=truth), made.folder, progress=Silent())
    steps.review(ReviewParams(truth=truth, ablation=True), made.folder, progress=Silent())
    made_anew = LabelParams(method=("truth",), truth=str(tmp_path / "mask.tif"))
    with rasterio.open(tmp_path / "mask.tif", "w", **profile) as file:
        file.write(drawn_labels()[0], 1)
        file.update_tags(CLASS_NAMES=",".join(open_workspace(open_store(made.folder)).classes.names))
    steps.label(made_anew, made.folder, run=RunParams(device="cpu", workers=1), progress=Silent())
    assert open_labels(open_store(made.folder).zarr("labels.zarr")).attrs["looked_at"]
