"""Training as a step: from labelled workspaces to a model that maps another scene, and says where it comes from."""

import json

import numpy as np
import pytest

from infra.cluster import open_cluster
from infra.errors import UnusableInput
from infra.progress import Silent
from models.card import load_card
from models.checkpoint import load_model
from models.predictor import load_predictor
from tasks.disagreement import measure
from tasks.ingest import ingest
from tasks.label import label
from tasks.params import IngestParams, LabelParams, PredictParams, TrainParams
from tasks.predict import predict
from tasks.raster.grid import whole
from tasks.train import train
from tasks.workspace import open_workspace

RECIPE = {"architecture": "unet", "start": "random", "steps": 4, "batch": 2, "chip": 64, "tile": 128, "threads": 1}


@pytest.fixture(scope="module")
def labelled(world, tmp_path_factory):
    """The world as a workspace labelled with its truth."""
    out = tmp_path_factory.mktemp("train") / "ws"
    with open_cluster() as cluster:
        ingest(IngestParams(scenes=(world.scene,)), out, cluster=cluster, progress=Silent())
    label(LabelParams(method="truth", truth=world.truth), out, device="cpu", progress=Silent())
    return out


@pytest.fixture(scope="module")
def trained(labelled, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "model"
    return train(TrainParams(**RECIPE), [labelled], out, device="cpu", progress=Silent()), out


@pytest.mark.slow
def test_a_model_says_what_it_is_and_where_it_comes_from(trained, labelled):
    done, out = trained
    card = load_card(out)
    workspace = open_workspace(labelled)
    assert card.architecture == "unet"
    assert card.bands == ("red", "green", "blue")
    assert card.classes == workspace.classes.names
    assert card.resolution == pytest.approx(0.5, rel=0.01)
    assert card.tile == 128
    assert card.lineage["fingerprints"] == [workspace.cube().fingerprint]
    assert card.lineage["labels"] == ["truth"]
    assert card.lineage["attribution"] == ["geoloom world, CC0"]
    assert card.lineage["steps"] == done.steps == 4
    assert card.lineage["recipe"]["chip"] == 64
    assert set(card.scores["validation"]["iou"]) <= set(card.classes)
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((out / "history.json").read_text())["steps"]) == 4
    # Whether or not a margin was found that is small enough, what was measured is what is written.
    assert card.disagreement == done.disagreement


@pytest.mark.slow
def test_a_model_knows_the_scene_it_was_trained_on(trained, labelled):
    _, out = trained
    with open_cluster() as cluster:
        done = predict(PredictParams(model=str(out)), labelled, cluster=cluster, device="cpu", progress=Silent())
    assert done.trained_here


@pytest.mark.slow
def test_resuming_goes_on_from_the_last_state(labelled, trained, tmp_path):
    """Six steps in one go, and six with a stop after four, end with the same weights."""
    longer = RECIPE | {"steps": 6}
    once = train(TrainParams(**longer), [labelled], tmp_path / "once", device="cpu", progress=Silent())
    assert once.steps == 6
    again = train(TrainParams(**longer, resume=True), [labelled], tmp_path / "once", device="cpu", progress=Silent())
    assert again.steps == 6
    with pytest.raises(UnusableInput, match="steps 4, not 6"):
        train(TrainParams(**longer, resume=True), [labelled], trained[1], device="cpu", progress=Silent())
    with pytest.raises(UnusableInput, match="no interrupted training"):
        train(TrainParams(**longer, resume=True), [labelled], tmp_path / "none", device="cpu", progress=Silent())


def test_what_is_not_labelled_is_refused(world, tmp_path):
    with open_cluster() as cluster:
        ingest(IngestParams(scenes=(world.scene,)), tmp_path / "ws", cluster=cluster, progress=Silent())
    with pytest.raises(UnusableInput, match="geoloom label"):
        train(TrainParams(**RECIPE), [tmp_path / "ws"], tmp_path / "model", device="cpu", progress=Silent())
    with pytest.raises(UnusableInput, match="not a workspace"):
        train(TrainParams(**RECIPE), [tmp_path / "nothing"], tmp_path / "model", device="cpu", progress=Silent())
    label(LabelParams(method="truth", truth=world.truth), tmp_path / "ws", device="cpu", progress=Silent())
    with pytest.raises(UnusableInput, match="not known"):
        train(
            TrainParams(**RECIPE | {"architecture": "castle"}), [tmp_path / "ws"], tmp_path / "model",
            device="cpu", progress=Silent(),
        )  # fmt: skip


def test_disagreement_is_nothing_where_the_margin_holds_the_reach(labelled, tiny_model):
    """The tiny network sees 3 pixels around: a margin of 3 is enough, none is not."""
    predictor = load_predictor(tiny_model)
    cube = open_workspace(labelled).cube()
    window = (slice(100, 500), slice(100, 500))
    common = {"bands": (0, 1, 2), "tile": 128, "ramp": 0}
    assert measure(predictor, cube, window, margin=3, **common) == 0
    assert measure(predictor, cube, window, margin=0, **common) > 0
    assert whole(cube.grid)[0].stop == 768


@pytest.mark.parametrize("name", ["default", "dubai"])
def test_the_shipped_model_is_small_and_carries_its_score(name):
    from tasks.model import find_model

    folder = find_model(name)
    card = load_card(folder)
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 16_000_000
    assert card.scores["dubai_tile_8"]["mean_iou"] > 0.6
    assert card.disagreement <= 0.005
    network, _ = load_model(folder)
    assert all(np.isfinite(t.numpy()).all() for t in network.state_dict().values() if t.is_floating_point())
