"""Training as a step: from labelled workspaces to a model that maps another scene, and says where it comes from."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import geopandas as gpd
import numpy as np
import psutil
import pytest
import safetensors.numpy
import segmentation_models_pytorch as smp
from safetensors.torch import save_file

from flows import steps
from infra.alone import alone_in
from infra.errors import GeoloomError, UnusableInput, WorkspaceBusy
from infra.progress import Silent
from infra.store import open_store
from models.card import load_card
from models.checkpoint import load_model
from models.predictor import load_predictor
from models.ranks import Rank
from tasks import train_settings
from tasks.disagreement import measure
from tasks.label_params import LabelParams, ReviewParams
from tasks.params import ClusterParams, IngestParams, PredictParams, RunParams, TrainParams
from tasks.raster.grid import whole
from tasks.train_chips import drawer
from tasks.train_fields import open_fields
from tasks.workspace import open_workspace

RECIPE = {"architecture": "unet", "start": "random", "steps": 4, "batch": 2, "chip": 64, "tile": 128, "threads": 1}


CPU = RunParams(device="cpu")
CORNER = (450_000, 5_399_808, 450_192, 5_400_000)
"""384 x 384 pixels: what takes long is to measure the seams, on every pixel and with every margin."""


def ingest(world, out):
    params = IngestParams(scenes=(world.scene,), bounds=CORNER)
    steps.ingest(params, str(out), run=ClusterParams(), progress=Silent())


def label(world, out):
    steps.label(
        LabelParams(method="truth", truth=world.truth), str(out), run=RunParams(device="cpu"), progress=Silent()
    )


def train(workspace, out, **recipe):
    return steps.train(TrainParams(**RECIPE | recipe), [str(workspace)], out, run=CPU, progress=Silent())


@pytest.fixture(scope="module")
def labelled(world, tmp_path_factory):
    """A corner of the world as a workspace labelled with its truth."""
    out = str(tmp_path_factory.mktemp("train") / "ws")
    ingest(world, out)
    label(world, out)
    return out


@pytest.fixture(scope="module")
def trained(labelled, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "model"
    return train(labelled, out), out


@pytest.mark.slow
def test_a_model_says_what_it_is_and_where_it_comes_from(trained, labelled):
    done, out = trained
    card = load_card(out)
    workspace = open_workspace(open_store(labelled))
    assert card.architecture == "unet"
    assert card.bands == ("red", "green", "blue")
    assert card.classes == workspace.classes.names
    assert card.resolution == pytest.approx(0.5, rel=0.01)
    assert card.tile in (128, 256)  # as asked, or the next larger one, where that agrees better with one whole pass
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
    params, run = PredictParams(model=str(out), precision="float32"), RunParams(device="cpu")
    done = steps.predict(params, labelled, run=run, progress=Silent())
    assert done.trained_here


@pytest.mark.slow
def test_a_finished_training_stays_as_it_is_and_another_is_not_resumed(labelled, trained, tmp_path, monkeypatch):
    out = tmp_path / "once"
    once = train(labelled, out, steps=6)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.iterdir()}
    assert train(labelled, out, steps=6) == train(labelled, out, steps=6, resume=True) == once
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.iterdir()} == before
    monkeypatch.setattr(train_settings, "has_bfloat16", lambda _: False)  # as on another machine
    assert train(labelled, out, steps=6) == once
    assert (out / "weights.safetensors").stat().st_mtime_ns == before["weights.safetensors"][0]
    monkeypatch.undo()
    (out / "curves.png").unlink()  # as where it was killed before the last file
    again = train(labelled, out, steps=6)
    assert (again, once.steps) == (once, 6)
    card = before.pop("model.json")
    assert json.loads((out / "model.json").read_text()) == json.loads(card[1])
    for name, (_, content) in before.items():
        assert (out / name).read_bytes() == content, name
    with pytest.raises(UnusableInput, match="steps 4, not 6"):
        train(labelled, trained[1], steps=6, resume=True)
    with pytest.raises(UnusableInput, match="no interrupted training"):
        train(labelled, tmp_path / "none", steps=6, resume=True)


class Stopped(Exception):
    """As Ctrl-C would."""


class Stopping(Silent):
    """Ends a training at a step, and keeps what it is told."""

    def __init__(self, at):
        self.at, self.steps, self.texts = at, 0, []

    def start(self, name, *, total, unit):
        return self

    def advance(self, amount=1.0):
        self.steps += amount
        if self.steps >= self.at:
            raise Stopped

    def say(self, text):
        pass

    def note(self, text):
        self.texts.append(text)


@pytest.mark.slow
def test_the_same_command_again_does_what_is_left_and_another_one_loses_nothing(labelled, tmp_path):
    """Of a training that was interrupted after its first state, at step 100."""
    recipe = RECIPE | {"architecture": "tiny", "steps": 120, "precision": "float32"}

    def run(out, at=10_000, **other):
        progress = Stopping(at)
        params = TrainParams(**recipe | other)
        return steps.train(params, [labelled], out, run=CPU, progress=progress), progress

    run(tmp_path / "undisturbed")
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        run(out, at=110)
    state = (out / "training.safetensors").read_bytes()
    _, progress = run(out, tile=192)
    assert f"Going on with the training in {out}, at step 100 of 120." in progress.texts
    assert progress.steps == 120
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("undisturbed", "out")]
    assert weights[0] == weights[1]

    (out / "training.safetensors").write_bytes(state)
    _, progress = run(out, seed=1, steps=3)
    assert any("were interrupted (training-before-1.safetensors)" in text for text in progress.texts)
    (out / "training.safetensors").write_bytes(state[:1000])  # nobody can tell what it was
    _, progress = run(out, seed=2, steps=3)
    kept = [out / f"training-before-{n}.safetensors" for n in (1, 2)]
    assert any(f"({kept[0].name}, {kept[1].name})" in text for text in progress.texts)
    assert [path.read_bytes() for path in kept] == [state, state[:1000]]
    kept[0].replace(out / "training.safetensors")
    run(out)
    assert (out / "weights.safetensors").read_bytes() == weights[0]


@pytest.mark.slow
def test_a_file_of_other_weights_begins_another_training(labelled, tmp_path):
    path, out = tmp_path / "encoder.safetensors", tmp_path / "out"
    recipe = {"architecture": "smp-unet", "encoder": "resnet18", "start": str(path), "steps": 1}
    made = []
    for _ in range(2):
        encoder = smp.encoders.get_encoder("resnet18", in_channels=3, weights=None)
        save_file({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}, path)
        for _ in range(2):
            train(labelled, out, **recipe)
            made.append(load_card(out).weights_sha256)
    assert made[0] == made[1]
    assert made[2] == made[3] != made[0]


def test_two_trainings_do_not_mix(labelled, tmp_path):
    with alone_in(tmp_path), pytest.raises(WorkspaceBusy, match=r"Another training writes into .* another --out"):
        train(labelled, tmp_path)
    assert list(tmp_path.iterdir()) == []


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def correct(workspace, path):
    """A review in which a person calls every building water, taken back."""
    steps.review(ReviewParams(), workspace, progress=Silent())
    frame = gpd.read_file(f"{workspace}/products/review.gpkg", layer="objects")
    assert (frame["class"] == "building").any()
    frame.loc[frame["class"] == "building", "class"] = "water"
    frame.to_file(path, layer="objects", driver="GPKG")
    steps.label(
        LabelParams(method="truth", truth=str(path), update=True),
        workspace,
        run=RunParams(device="cpu"),
        progress=Silent(),
    )


@pytest.mark.slow
def test_corrections_are_fine_tuned_on(world, tmp_path):
    """The same labels leave a finished model as it is, to the bit; corrected ones are learnt from its weights."""
    workspace, out, notes = str(tmp_path / "ws"), tmp_path / "model", Notes()
    ingest(world, workspace)
    label(world, workspace)
    train(workspace, out)
    first = (out / "weights.safetensors").read_bytes()

    def resume(**recipe):
        params = TrainParams(**RECIPE | recipe, resume=True)
        return steps.train(params, [workspace], out, run=CPU, progress=notes)

    resume()
    assert (out / "weights.safetensors").read_bytes() == first
    assert "fine_tuned_from" not in load_card(out).lineage
    correct(workspace, tmp_path / "edited.gpkg")
    # A rate at which nothing can be learnt: what comes out is where it began.
    assert resume(steps=3, learning_rate=1e-9).steps == 3
    changed = f"The labels have changed since: fine-tuning the model of {out} for 3 steps"
    assert notes.texts.count(changed) == 1
    assert any(text.startswith("No label of building") for text in notes.texts)
    assert load_card(out).lineage["fine_tuned_from"] == hashlib.sha256(first).hexdigest()
    tuned = (out / "weights.safetensors").read_bytes()
    assert tuned != first
    before, after = safetensors.numpy.load(first), safetensors.numpy.load(tuned)
    assert all(np.allclose(before[n], after[n], atol=1e-6) for n in before if n.endswith(("weight", "bias")))
    resume(steps=3, learning_rate=1e-9)
    assert (out / "weights.safetensors").read_bytes() == tuned
    assert load_card(out).lineage["fine_tuned_from"] == hashlib.sha256(first).hexdigest()
    assert notes.texts.count(changed) == 1
    train(workspace, out, steps=3, learning_rate=1e-9)  # without --resume it learns from the beginning
    assert (out / "weights.safetensors").read_bytes() != tuned
    assert "fine_tuned_from" not in load_card(out).lineage


@pytest.mark.slow
def test_a_training_may_begin_with_a_model_and_has_seen_its_scenes(world, labelled, trained, tmp_path):
    """Another place, other classes: it begins with what it knows of them, and says whose scenes it has learnt."""
    other, out, notes = str(tmp_path / "other"), tmp_path / "tuned", Notes()
    bounds = (450_200, 5_399_700, 450_330, 5_399_830)
    params = IngestParams(scenes=(world.scene,), bounds=bounds, classes=("other", "road", "building", "pool"))
    steps.ingest(params, other, run=ClusterParams(), progress=Silent())
    label_it = LabelParams(method="truth", truth=world.vectors)
    steps.label(label_it, other, run=RunParams(device="cpu"), progress=Silent())
    recipe = TrainParams(**RECIPE | {"start": str(trained[1]), "architecture": "lite-unet", "steps": 1})
    steps.train(recipe, [other], out, run=CPU, progress=notes)
    old, new = load_card(trained[1]), load_card(out)
    assert notes.texts == [
        f"The model {trained[1]} does not know pool: that is learnt from the beginning.",
        "No label of pool to learn from: the model cannot be expected to map it.",
    ]
    assert (new.architecture, new.mean, new.std) == ("unet", old.mean, old.std)
    assert new.classes == ("other", "road", "building", "pool")
    assert new.lineage["fine_tuned_from"] == old.weights_sha256
    prints = [open_workspace(open_store(root)).cube().fingerprint for root in (labelled, other)]
    assert new.lineage["fingerprints"] == sorted(prints)
    run = RunParams(device="cpu")
    done = steps.predict(PredictParams(model=str(out), precision="float32"), labelled, run=run, progress=Silent())
    assert done.trained_here


def test_a_model_to_begin_with_that_is_not_there_is_told(labelled, tmp_path):
    with pytest.raises(UnusableInput, match="There is no model 'nowhere'"):
        train(labelled, tmp_path / "m", start="nowhere")


TINY = {"architecture": "tiny", "batch": 4, "steps": 3, "validation_share": 0.2}


def test_processes_share_what_one_would_draw(labelled):
    """Chip by chip: what two or three draw is together what one draws, and none is drawn by two."""
    params = TrainParams(**RECIPE | TINY | {"batch": 7})
    fields = open_fields(params, [labelled])

    def drawn(step, count):
        parts = [drawer(params, fields, Rank(number, count))(step) for number in range(count)]
        assert [len(part) for part in parts] == [len(range(number, 7, count)) for number in range(count)]
        pairs = [pair for part in parts for pair in zip(part.images, part.labels, strict=True)]
        return sorted(image.tobytes() + label.tobytes() for image, label in pairs)

    for step in range(3):
        assert drawn(step, 1) == drawn(step, 2) == drawn(step, 3)


@pytest.mark.slow
def test_two_processes_make_a_model_and_the_same_one_again(labelled, tmp_path):
    logs = {"one": ("tensorboard",), "two": ()}
    made = [train(labelled, tmp_path / name, **TINY, processes=2, logs=logs[name]) for name in logs]
    cards = [load_card(tmp_path / name) for name in ("one", "two")]
    assert [done.steps for done in made] == [3, 3]
    assert cards[0].weights_sha256 == cards[1].weights_sha256
    assert cards[0].lineage["recipe"]["processes"] == 2
    assert set(made[0].scores["validation"]) == {"iou", "mean_iou", "step"}
    assert len(list((tmp_path / "one" / "tensorboard").iterdir())) == 1  # the leader's
    assert not (tmp_path / "two" / "tensorboard").exists()
    again = train(labelled, tmp_path / "one", **TINY, processes=2, resume=True)
    assert again.steps == 3
    assert load_card(tmp_path / "one").weights_sha256 == cards[0].weights_sha256


@pytest.mark.slow
def test_where_one_of_two_processes_is_killed_the_training_ends_and_its_state_is_whole(labelled, tmp_path):
    recipe = TINY | {"steps": 100_000}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(train, labelled, tmp_path / "m", **recipe, processes=2)
        assert _until(lambda: (tmp_path / "m" / "training.safetensors").exists() or running.done(), seconds=120)
        (_, follower) = sorted(_members(), key=lambda process: process.pid)
        follower.kill()
        with pytest.raises(GeoloomError, match=r"ended \(exit code -9\).*run the same command again"):
            running.result(60)
    assert not _members()
    state = safetensors.numpy.load_file(tmp_path / "m" / "training.safetensors")
    assert all(np.isfinite(tensor).all() for tensor in state.values())


def _members():
    """Processes that learn for this one."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def _until(condition, *, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def test_a_batch_that_cannot_be_shared_is_refused(labelled, tmp_path):
    with pytest.raises(
        UnusableInput, match=r"3 processes cannot share a batch of 4 evenly; give --batch 3 or a multiple"
    ):
        train(labelled, tmp_path / "m", processes=3, batch=4)


def test_what_is_not_labelled_is_refused(world, tmp_path):
    ingest(world, tmp_path / "ws")
    with pytest.raises(UnusableInput, match="geoloom label"):
        train(tmp_path / "ws", tmp_path / "model")
    with pytest.raises(UnusableInput, match="not a workspace"):
        train(tmp_path / "nothing", tmp_path / "model")
    label(world, tmp_path / "ws")
    with pytest.raises(UnusableInput, match="not known"):
        train(tmp_path / "ws", tmp_path / "model", architecture="castle")


def test_disagreement_is_nothing_where_the_margin_holds_the_reach(labelled, tiny_model):
    """The tiny network sees 3 pixels around: a margin of 3 is enough, none is not."""
    predictor = load_predictor(tiny_model)
    cube = open_workspace(open_store(labelled)).cube()
    window = (slice(20, 380), slice(20, 380))
    common = {"bands": (0, 1, 2), "tile": 128, "ramp": 0}
    assert measure(predictor, cube, window, margin=3, **common) == 0
    assert measure(predictor, cube, window, margin=0, **common) > 0
    assert whole(cube.grid)[0].stop == 384


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


def test_the_shipped_model_knows_the_scenes_it_learnt_from(tmp_path, data):
    """Else scores on them would pass for evidence: what a scene's fingerprint is must not change behind its back."""
    from tasks.model import default_model, trained_here
    from tasks.raster.dubai import write_scene

    scene, _ = write_scene(data / "dubai", 2, tmp_path)
    steps.ingest(IngestParams(scenes=(str(scene),)), str(tmp_path / "ws"), run=ClusterParams(), progress=Silent())
    workspace = open_workspace(open_store(str(tmp_path / "ws")))
    assert trained_here(load_card(default_model()), workspace, workspace.cube())
