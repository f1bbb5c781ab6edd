"""A review finds what was put wrong, its file opens in GDAL, and what is edited in it comes back, and nothing else."""

import json
import sqlite3
import warnings
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import shapely
from scipy import ndimage

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from tasks.label_params import LabelParams, ReviewParams
from tasks.params import RunParams
from tasks.raster.gdal import rasterio
from tasks.raster.grid import windows
from tasks.raster.labels import SHARD, create_labels, open_labels, set_cube, write_labels
from tasks.truth_params import EvaluateParams
from tasks.workspace import open_workspace

SHAPE = (1600, 1700)
NAMES = ("other", "building", "road", "land", "vegetation", "water")


@pytest.fixture(scope="module")
def truth():
    """A hundred houses on a lattice, some across the line between blocks, and a road."""
    label = np.zeros(SHAPE, np.uint8)
    label[700:712] = 2
    for row in range(40, SHAPE[0] - 60, 160):
        for col in range(16, SHAPE[1] - 60, 170):
            label[row : row + 40, col : col + 50] = 1
    return label


@pytest.fixture
def made(tmp_path, engine, truth):
    """A workspace whose labels are the truth but for what is wrong by intent, with ids and a confidence."""
    image = np.full((3, *SHAPE), 90, np.uint8)
    valid = np.ones(SHAPE, bool)
    valid[:30] = False
    engine.write_scene(tmp_path / "a.tif", image, valid)
    folder = engine.ingest(tmp_path / "a.tif", tmp_path / "ws")
    workspace = open_workspace(open_store(folder))
    label = truth.copy()
    label[40:80, 16:66] = 0  # forgotten
    label[1500:1560, 1600:1660] = 1  # invented
    label[~valid] = 255
    instance = np.where(label == 1, ndimage.label(label == 1)[0], 0).astype(np.uint32)
    instance[label == 2] = 500
    confidence = np.where(label == 255, 255, 230).astype(np.uint8)
    confidence[1500:1560, 1600:1660] = 60
    place = workspace.store.zarr("labels.zarr")
    create_labels(place, workspace.grid, classes=NAMES, made_by="a test", sources=[], from_truth=False)
    for window in windows(SHAPE, SHARD):
        write_labels(place, window, label=label[window], instance=instance[window], confidence=confidence[window])
    set_cube(place, workspace.cube().fingerprint)
    return SimpleNamespace(folder=folder, label=label, instance=instance, confidence=confidence, valid=valid)


@pytest.fixture
def reference(tmp_path, truth, made):
    """The truth as a file."""
    path = tmp_path / "truth.tif"
    with rasterio.open(made.folder + "/../a.tif") as scene:
        profile = scene.profile | {"count": 1, "nodata": None}
    with rasterio.open(path, "w", **profile) as file:
        file.write(truth, 1)
        file.update_tags(CLASS_NAMES=",".join(NAMES))
    return str(path)


def review(made, **params):
    return steps.review(ReviewParams(**params), made.folder, progress=Silent())


def arrays(folder):
    group = open_labels(open_store(folder).zarr("labels.zarr"))
    return {name: np.asarray(group[name][:]) for name in ("label", "instance", "confidence")}


def update(made, path):
    params = LabelParams(method="truth", truth=str(path), update=True)
    return steps.label(params, made.folder, run=RunParams(device="cpu", workers=1), progress=Silent())


def edited(made, path, change):
    """The review as QGIS would write it back after a change to its objects."""
    frame = gpd.read_file(f"{made.folder}/products/review.gpkg", layer="objects")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        change(frame).to_file(path, layer="objects", driver="GPKG")
    return path


def at(frame, made, row, col):
    """Which object lies over a pixel."""
    with rasterio.open(made.folder + "/../a.tif") as scene:
        x, y = scene.xy(row, col)
    return frame.geometry.intersects(shapely.Point(x, y))


def test_scores_are_those_of_a_plain_count_and_the_worst_comes_first(made, reference, truth):
    done = review(made, truth=reference)
    scores = done.quality.scores
    known = made.label != 255
    for n in (0, 1, 2):
        both = np.count_nonzero((made.label == n) & (truth == n) & known)
        either = np.count_nonzero(((made.label == n) | (truth == n)) & known)
        assert scores.iou[n] == pytest.approx(both / either)
    medium = done.quality.sizes[1]["medium"]
    houses = ndimage.label((truth == 1) & known)[1]
    assert (medium.objects, medium.found, medium.labelled, medium.right) == (houses, houses - 1, houses, houses - 1)
    places = gpd.read_file(f"{made.folder}/products/review.gpkg", layer="review")
    assert list(places["rank"]) == list(range(1, len(places) + 1))
    assert list(places["wrong_px"]) == sorted(places["wrong_px"], reverse=True)
    extra, missing = (places[places["why"] == why].iloc[0] for why in ("extra", "missing"))
    assert (extra["wrong_px"], extra["class"]) == (3600, "building")
    assert (missing["wrong_px"], missing["class"]) == (2000, "building")
    assert places.iloc[0]["why"] == "extra"
    document = json.loads(open_store(made.folder).read("products/label_quality.json"))
    assert document["confidence"]["auroc"] > 0.5
    with rasterio.open(f"{made.folder}/products/agreement.tif") as file:
        agreement = file.read(1)
    assert (agreement == 255)[~known].all()
    assert np.count_nonzero(agreement == 2) == 3600
    assert np.count_nonzero(agreement == 3) == 2000
    page = open_store(made.folder).read("products/label_report.html").decode()
    assert page.count("<figure>") == min(24, len(places))


def test_every_object_is_given_out_once_with_its_pixels(made):
    review(made)
    frame = gpd.read_file(f"{made.folder}/products/review.gpkg", layer="objects")
    ids, counts = np.unique(made.instance[made.instance > 0], return_counts=True)
    pixel = 0.25
    measured = frame.groupby("id").geometry.agg(lambda parts: sum(p.area for p in parts))
    assert dict(zip(ids.tolist(), counts * pixel, strict=True)) == pytest.approx(measured.to_dict())
    assert set(frame[frame["id"] == 500]["class"]) == {"road"}
    with sqlite3.connect(f"{made.folder}/products/review.gpkg") as database:
        styled = database.execute("SELECT f_table_name, useAsDefault FROM layer_styles ORDER BY 1").fetchall()
    assert styled == [("objects", 1), ("review", 1)]


def test_only_what_was_edited_changes(tmp_path, made):
    review(made)
    before = arrays(made.folder)

    def change(frame):
        frame.loc[at(frame, made, 1530, 1630), "class"] = "vegetation"  # another class
        frame = frame[~at(frame, made, 220, 210)].copy()  # removed
        moved = at(frame, made, 380, 380)
        frame.loc[moved, "geometry"] = frame[moved].geometry.translate(5, 0)  # 10 columns to the east
        with rasterio.open(made.folder + "/../a.tif") as scene:
            left, top = scene.transform @ (16, 40)
        drawn = gpd.GeoDataFrame(
            {"class": ["building"]}, geometry=[shapely.box(left, top - 20, left + 25, top)], crs=frame.crs
        )
        return gpd.pd.concat([frame, drawn])

    done = update(made, edited(made, tmp_path / "edited.gpkg", change))
    after = arrays(made.folder)
    expected = {name: pixels.copy() for name, pixels in before.items()}
    new = int(before["instance"].max()) + 1

    def burn(rows, cols, label, instance):
        expected["label"][rows, cols], expected["instance"][rows, cols] = label, instance
        expected["confidence"][rows, cols] = 254

    own = before["instance"][1530, 1630]
    burn(slice(1500, 1560), slice(1600, 1660), 4, own)
    burn(slice(200, 240), slice(186, 236), 0, 0)
    own = before["instance"][380, 380]
    burn(slice(360, 400), slice(356, 406), 0, 0)
    burn(slice(360, 400), slice(366, 416), 1, own)
    burn(slice(40, 80), slice(16, 66), 1, new)
    for name, pixels in expected.items():
        np.testing.assert_array_equal(after[name], pixels)
    assert done.units_run == 3
    again = update(made, tmp_path / "edited.gpkg")  # says what the labels say already
    assert again.units_run == 0
    for name, pixels in expected.items():
        np.testing.assert_array_equal(arrays(made.folder)[name], pixels)


def test_a_split_object_keeps_its_id_in_one_part(tmp_path, made):
    review(made)
    own = made.instance[220, 210]

    def split(frame):
        there = at(frame, made, 220, 210)
        left, bottom, right, top = frame[there].total_bounds
        halves = frame[there].copy(), frame[there].copy()
        halves[0].geometry = [shapely.box(left, bottom, left + 10, top)]
        halves[1].geometry = [shapely.box(left + 10, bottom, right, top)]
        return gpd.pd.concat([frame[~there], *halves])

    update(made, edited(made, tmp_path / "edited.gpkg", split))
    instance = arrays(made.folder)["instance"]
    assert set(np.unique(instance[200:240, 186:206])) == {own}
    other = set(np.unique(instance[200:240, 206:236]))
    assert len(other) == 1
    assert other.isdisjoint(np.unique(made.instance))


def test_labels_made_anew_keep_what_a_person_said(tmp_path, engine, made, reference):
    params = LabelParams(method="truth", truth=reference)
    run = RunParams(device="cpu", workers=1)
    steps.label(params, made.folder, run=run, progress=Silent())
    review(made)
    update(made, edited(made, tmp_path / "edited.gpkg", lambda frame: frame[~at(frame, made, 220, 210)]))
    assert not arrays(made.folder)["label"][200:240, 186:236].any()
    steps.label(
        params.model_copy(update={"from_truth": True}), made.folder, run=run, progress=Silent()
    )  # another recipe: all is made anew
    assert not arrays(made.folder)["label"][200:240, 186:236].any()
    assert arrays(made.folder)["label"][200:240, 356:406].all()


def test_what_is_no_review_changes_nothing(tmp_path, made, reference):
    with pytest.raises(UnusableInput, match="have not been reviewed"):
        update(made, tmp_path / "none.gpkg")
    review(made)
    before = arrays(made.folder)
    with pytest.raises(UnusableInput, match="There is no file"):
        update(made, tmp_path / "none.gpkg")
    with pytest.raises(UnusableInput, match="is not a review"):
        update(made, reference)
    strange = edited(made, tmp_path / "strange.gpkg", lambda frame: frame.assign(**{"class": "castle"}))
    with pytest.raises(UnusableInput, match="class 'castle'; expected one of other, building"):
        update(made, strange)
    bare = edited(made, tmp_path / "bare.gpkg", lambda frame: frame.drop(columns="id"))
    with pytest.raises(UnusableInput, match="no column 'id'"):
        update(made, bare)
    for name, pixels in before.items():
        np.testing.assert_array_equal(arrays(made.folder)[name], pixels)


def test_labels_are_not_compared_with_the_truth_they_were_made_from(made, reference):
    params = LabelParams(method="truth", truth=reference)
    steps.label(params, made.folder, run=RunParams(device="cpu", workers=1), progress=Silent())
    with pytest.raises(UnusableInput, match="says nothing"):
        review(made, truth=reference)
    with pytest.raises(UnusableInput, match="says nothing"):
        steps.evaluate(EvaluateParams(truth=reference, what="labels"), made.folder, progress=Silent())
    assert review(made, truth=reference, ablation=True).quality.scores.pixel_accuracy == 1


def test_vectors_that_name_no_crs_are_compared_in_the_one_that_is_said(made, tmp_path, truth):
    with rasterio.open(made.folder + "/../a.tif") as scene:
        place, crs = scene.transform, scene.crs.to_string()
    boxes = [(slice(700, 712), slice(0, SHAPE[1])), *ndimage.find_objects(ndimage.label(truth == 1)[0])]
    outlines = [
        shapely.box(*(place @ (cols.start, rows.stop)), *(place @ (cols.stop, rows.start))) for rows, cols in boxes
    ]
    frame = gpd.GeoDataFrame({"class": ["road"] + ["building"] * (len(boxes) - 1)}, geometry=outlines)
    told, silent = (str(tmp_path / name) for name in ("told.fgb", "silent.fgb"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        frame.set_crs(crs).to_file(told)
        frame.to_file(silent)
    with pytest.raises(UnusableInput, match="assume-crs"):
        review(made, truth=silent)
    scores = review(made, truth=silent, assume_crs=crs).quality.scores
    assert scores.pixel_accuracy > 0.99
    assert scores.to_json() == review(made, truth=told).quality.scores.to_json()


def test_of_a_picture_that_lies_nowhere_it_is_edited_as_qgis_shows_it(tmp_path, engine):
    image = np.full((3, 200, 300), 90, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", height=200, width=300, count=3, dtype="uint8"
        ) as file:
            file.write(image)
    folder = engine.ingest(tmp_path / "a.tif", tmp_path / "ws")
    workspace = open_workspace(open_store(folder))
    label = np.zeros((200, 300), np.uint8)
    label[20:50, 100:180] = 1
    place = workspace.store.zarr("labels.zarr")
    create_labels(place, workspace.grid, classes=NAMES, made_by="a test", sources=[], from_truth=False)
    everything = (slice(0, 200), slice(0, 300))
    confidence = np.full(label.shape, 200, np.uint8)
    write_labels(place, everything, label=label, instance=label * np.uint32(3), confidence=confidence)
    set_cube(place, workspace.cube().fingerprint)
    made = SimpleNamespace(folder=folder)
    review(made)
    frame = gpd.read_file(f"{folder}/products/review.gpkg", layer="objects")
    assert frame.crs is None or "Undefined" in str(frame.crs)
    assert tuple(frame.total_bounds) == (100, -50, 180, -20)
    path = edited(made, tmp_path / "e.gpkg", lambda f: f.set_geometry(f.geometry.translate(0, -10)))  # down by 10
    update(made, path)
    np.testing.assert_array_equal(arrays(folder)["label"], np.roll(label, 10, axis=0))
