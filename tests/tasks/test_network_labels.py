"""Labels that a model makes: objects one by one, whole over the scene; and a scene that Mask R-CNN maps."""

import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rectangles import CARD, draw, drawn, network_of, run
from scipy import ndimage

from flows import steps
from flows.cli import app
from infra.progress import Silent
from infra.store import open_store
from models.batch import Batch
from models.card import load_card
from models.checkpoint import load_model, save_model
from tasks.label_params import LabelParams
from tasks.made_labels import open_made_labels
from tasks.network_labeler import NetworkLabeler
from tasks.params import ClusterParams, IngestParams, RunParams, TrainParams
from tasks.raster.gdal import rasterio
from tasks.raster.labels import open_labels
from tasks.raster.numbering import numbered
from tasks.raster.probability import open_probability
from tasks.recent_cells import RecentCells
from tasks.train_fields import open_fields
from tasks.workspace import open_workspace

SHAPE = (600, 800)
BOXES = [
    (30, 370, 60, 400),  # over the line between two windows at column 384
    (366, 100, 402, 130),  # over that at row 384
    (370, 368, 404, 400),  # over both
    (100, 360, 130, 384), (100, 384, 130, 410),  # side by side, one on each side of the line
    (200, 200, 230, 230), (200, 230, 230, 265), (200, 265, 225, 290),  # three in a row
    (376, 500, 410, 535), (376, 535, 410, 560),  # two side by side over the line
    (500, 600, 530, 620), (20, 20, 50, 60), (300, 700, 330, 730), (450, 300, 480, 330),
]  # fmt: skip
RUN = RunParams(device="cpu", workers=2)


def write(path, image):
    with rasterio.open(
        path, "w", driver="GTiff", height=image.shape[1], width=image.shape[2], count=len(image), dtype="uint8",
        tiled=True, crs="EPSG:32632", transform=rasterio.Affine(0.5, 0, 450_000, 0, -0.5, 5_400_000),
    ) as target:  # fmt: skip
        target.write(image)
    return str(path)


@pytest.fixture(scope="module")
def ids():
    return drawn(SHAPE, BOXES, np.random.default_rng(5))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, ids):
    """A scene of rectangles."""
    folder = tmp_path_factory.mktemp("rectangles")
    params = IngestParams(scenes=(write(folder / "a.tif", ids[0]),), classes=("other", "building", "road"))
    steps.ingest(params, str(folder / "ws"), run=ClusterParams(), progress=Silent())
    return str(folder / "ws")


@pytest.fixture(scope="module")
def rectangle_model(tmp_path_factory):
    """A Mask R-CNN that has learnt to find rectangles of 18 to 40 pixels: 40 s of one core."""
    folder, threads = tmp_path_factory.mktemp("model"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = run(folder, network_of(), steps=90, learning_rate=2e-3, validate_every=90)
    finally:
        torch.set_num_threads(threads)
    save_model(folder, result.network, CARD.model_copy(update={"scores": {"iou": result.history.checks[-1].iou[1]}}))
    return folder


def labels_of(workspace):
    group = open_labels(open_store(workspace).zarr("labels.zarr"))
    return {name: np.asarray(group[name][:]) for name in ("label", "instance", "confidence")}, dict(group.attrs)


class Notes(Silent):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


@pytest.mark.slow
def test_it_learns_to_find_objects_one_by_one(rectangle_model):
    network, card = load_model(rectangle_model)
    assert card.scores["iou"] > 0.8
    chips = draw(20_000)
    batch = Batch.of(chips, CARD, torch.device("cpu"))
    with torch.no_grad():
        found = network.instances(batch.images)
    touching, overlaps = 0, []
    for seen, ids in zip(found, chips.objects, strict=True):
        masks = []
        for one in seen:
            masks.append(np.zeros(ids.shape, bool))
            masks[-1][one.place] = (one.mask > 0.5).numpy()
        for number in range(1, ids.max() + 1):
            wanted = ids == number
            overlaps.append(max((wanted & mask).sum() / (wanted | mask).sum() for mask in masks))
            touching += (np.roll(wanted, 1, axis=1) & (ids > number)).any()
    assert touching
    assert len(overlaps) > 6
    assert np.mean(overlaps) > 0.75
    blank = [len([s for s in seen if s.score > 0.5]) for seen in network.instances(torch.full((1, 3, 128, 128), -0.9))]
    assert blank == [0]


@pytest.mark.slow
def test_objects_are_whole_over_windows_and_those_that_touch_stay_apart(workspace, ids, rectangle_model):
    params = LabelParams(method="network", model=str(rectangle_model))
    notes = Notes()
    steps.label(params, workspace, run=RUN, progress=notes)
    made, about = labels_of(workspace)
    found = []
    for number in range(1, len(BOXES) + 1):
        wanted = ids[1] == number
        own, counts = np.unique(made["instance"][wanted], return_counts=True)
        most = own[counts.argmax()]
        assert most > 0, BOXES[number - 1]
        mask = made["instance"] == most
        assert (wanted & mask).sum() / (wanted | mask).sum() > 0.5, BOXES[number - 1]
        found.append(int(most))
        assert (
            len(np.unique(made["confidence"][mask & (made["label"] == 1)])) <= 4
        )  # a score for each window that sees it
    assert len(set(found)) == len(BOXES)
    assert set(np.unique(made["label"])) == {0, 1}
    assert np.array_equal(made["label"] == 1, made["instance"] > 0)
    card = load_card(rectangle_model)
    assert about["sources"] == [card.weights_sha256]
    assert (about["made_by"], about["known"], about["rest"]) == ("network", ["building"], "other")
    assert about["from_truth"] is False
    assert not [text for text in notes.texts if "trained on this scene" in text]
    again = steps.label(params, workspace, run=RUN, progress=Silent())
    assert again.units_run == 0


@pytest.mark.slow
def test_a_scene_is_mapped_without_seams(workspace, ids, rectangle_model, engine):
    engine.predict(workspace, rectangle_model)
    likely = np.asarray(open_probability(open_store(workspace).zarr("probability.zarr"))[:])
    assert (likely.sum(axis=0, dtype=int) == 254).all()
    building, wanted = likely[1] > 127, ids[1] > 0
    assert (building & wanted).sum() / (building | wanted).sum() > 0.7


def test_any_model_labels_by_regions(workspace, tiny_model, tmp_path):
    """As one pass over each window says, whose connected regions are its objects."""
    store = open_store(workspace)
    space = open_workspace(store)
    labeler = NetworkLabeler.of(space.cube(), str(tiny_model), space.classes, device="cpu")
    window = (slice(384, 600), slice(384, 768))
    got = labeler(window)
    image, valid = space.cube().read(got.seen)
    likely = labeler.predictor(image[None], valid[None])[0]
    names = load_card(tiny_model).classes
    expected = np.array([{"building": 1, "road": 2}.get(name, 0) for name in names])[likely.argmax(axis=0)]
    assert np.array_equal(got.label, expected)
    assert np.array_equal(got.confidence, likely.max(axis=0))
    assert np.array_equal(got.instance > 0, expected > 0)
    for klass in (1, 2):
        parts, count = ndimage.label(expected == klass)
        pairs = np.unique(np.stack([parts[parts > 0], got.instance[parts > 0]]), axis=1)
        assert pairs.shape[1] == count == len(np.unique(pairs[1]))
    assert labeler.tells == {0, 1, 2}


def test_numbers_are_those_of_instances_and_of_regions_where_there_are_none():
    label = np.array([[1, 1, 0, 1], [1, 2, 0, 1], [0, 2, 2, 255], [1, 0, 2, 1]], np.uint8)
    instance = np.array([[9, 7, 0, 0], [9, 5, 0, 0], [0, 0, 5, 4], [9, 0, 0, 0]], np.uint32)
    found = numbered(label, [1], instance=instance)
    assert found.tolist() == [[2, 1, 0, 3], [2, 0, 0, 3], [0, 0, 0, 0], [2, 0, 0, 4]]
    assert numbered(label, [1, 2]).max() == 5
    assert not numbered(label, []).any()


@pytest.fixture
def labelled(tmp_path, world):
    """A corner of the world with its vectors for labels."""
    params = IngestParams(scenes=(world.scene,), bounds=(450_000, 5_399_872, 450_128, 5_400_000))
    steps.ingest(params, str(tmp_path / "ws"), run=ClusterParams(), progress=Silent())
    steps.label(LabelParams(method="truth", truth=world.vectors), str(tmp_path / "ws"), run=RUN, progress=Silent())
    return str(tmp_path / "ws")


def test_chips_bring_their_objects_along(labelled):
    params = TrainParams(chip=64, architecture="mask-rcnn")
    (field,) = open_fields(params, [labelled], objects=True)
    made = open_made_labels(open_workspace(open_store(labelled)))
    chips = field.read([(0, 0), (64, 96)], 128, recent=RecentCells())
    for n, (row, col) in enumerate([(0, 0), (64, 96)]):
        place = np.s_[row : row + 128, col : col + 128]
        label, instance = made.read(place), made.read(place, "instance")
        assert np.array_equal(chips.labels[n], np.where(label == 255, 255, label == 1))
        assert np.array_equal(chips.objects[n] > 0, label == 1)
        pairs = np.unique(np.stack([chips.objects[n][label == 1], instance[label == 1]]), axis=1)
        assert pairs.shape[1] == chips.objects[n].max() == len(np.unique(pairs[1])) > 0
    assert chips.told[0].tolist() == [True, True, False, False, False, False]
    (plain,) = open_fields(params, [labelled])
    assert plain.read([(0, 0)], 64, recent=RecentCells()).objects is None
    assert plain.labels.digests((256, 256)) != field.labels.digests((256, 256))


@pytest.fixture
def geoloom(capfd):
    """Runs a command here; gives what it says on standard error."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*words):
        capfd.readouterr()
        ended = 0
        try:
            app([str(word) for word in words], exit_on_error=False, print_error=False)
        except SystemExit as error:
            ended = error.code or 0
        return SimpleNamespace(code=ended, said=capfd.readouterr().err)

    yield run
    signal.signal(signal.SIGTERM, before)


def test_bad_input_is_told_in_a_sentence(geoloom, workspace, tiny_model, labelled, tmp_path):
    def refused(*words):
        done = geoloom(*words)
        assert done.code == 2, done.said
        assert "Traceback" not in done.said
        return done.said

    assert "--model" in refused("label", workspace, "--with", "network")
    assert "no model 'nowhere'" in refused("label", workspace, "--with", "network", "--model", "nowhere")
    scene = write(tmp_path / "scene.tif", np.ones((3, 96, 96), np.uint8))
    geoloom("ingest", scene, "--out", tmp_path / "two", "--bands", "1,2")
    said = refused("label", tmp_path / "two", "--with", "network", "--model", tiny_model)
    assert "3 bands" in said
    assert "2 bands" in said
    geoloom("ingest", scene, "--out", tmp_path / "odd", "--classes", "other,pool")
    said = refused("label", tmp_path / "odd", "--with", "network", "--model", tiny_model)
    assert "other, pool" in said
    train = ("train", labelled, "--out", tmp_path / "m", "--architecture", "mask-rcnn", "--chip", 64)
    assert "no class 'house'" in refused(*train, "--objects", "house")
    assert "one by one" in refused(*train, "--objects", "other")


@pytest.mark.slow
def test_it_is_trained_and_kept_as_any_network(labelled, geoloom, tmp_path, monkeypatch):
    monkeypatch.setattr("models.mask_rcnn.MOST", 10)  # before it has learnt anything, it sees as many as it may
    words = ("--architecture", "mask-rcnn", "--start", "random", "--encoder", "resnet18", "--batch", 2, "--chip", 64,
             "--tile", 128, "--threads", 1, "--precision", "float32", "--steps", 3)  # fmt: skip
    done = geoloom("train", labelled, "--out", tmp_path / "model", *words)
    assert done.code == 0, done.said
    assert "road" not in done.said
    card = load_card(tmp_path / "model")
    assert card.architecture == "mask-rcnn"
    assert card.lineage["recipe"]["objects"] == ["building"]
    assert set(card.scores["validation"]["iou"]) <= {"other", "building"}
    done = geoloom("label", labelled, "--with", "network", "--model", tmp_path / "model")
    assert done.code == 0, done.said
    assert "trained on this scene" in done.said
    assert labels_of(labelled)[1]["from_truth"] is True


def test_what_learns_from_a_model_s_labels_has_seen_its_scenes(workspace, tiny_model, tmp_path):
    """Else a model could be scored on the truth that taught the one that labelled for it."""
    import shutil

    from models.checkpoint import save_card

    shutil.copytree(tiny_model, tmp_path / "model")
    card = load_card(tiny_model)
    save_card(tmp_path / "model", card.model_copy(update={"lineage": {"fingerprints": ["aa"], "attribution": ["Us"]}}))
    shutil.copytree(workspace, tmp_path / "ws", ignore=shutil.ignore_patterns("lease"))
    params = LabelParams(method=("network",), model=str(tmp_path / "model"))
    steps.label(params, str(tmp_path / "ws"), run=RunParams(device="cpu"), progress=Silent())
    recipe = TrainParams(
        architecture="tiny", start="random", steps=1, chip=64, batch=1, validation_share=0, keep="last"
    )
    steps.train(recipe, [str(tmp_path / "ws")], tmp_path / "made", run=RunParams(device="cpu"), progress=Silent())
    lineage = load_card(tmp_path / "made").lineage
    assert "aa" in lineage["fingerprints"]
    assert len(lineage["fingerprints"]) == 2
    assert "Us" in lineage["attribution"]
