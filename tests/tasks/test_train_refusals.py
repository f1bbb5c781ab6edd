"""Bad input for a training: one sentence, the right exit code, and what was there before is still there."""

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine

from flows.cli import app
from infra.errors import UnusableInput
from models.card import ModelCard, load_card
from models.checkpoint import save_card
from models.registry import build
from tasks.raster.gdal import rasterio
from tasks.train_begin import require_fit

NAMES = ("other", "building", "road", "land", "vegetation", "water")
"""The default classes, which are those of `tiny_model`."""
SIDE = 192
SHORT = ("--steps", 2, "--batch", 2, "--chip", 64, "--tile", 64, "--threads", 1, "--precision", "float32")
TINY = ("--architecture", "tiny", "--start", "random", *SHORT)
TOO_LARGE = ("--loss.cross-entropy", "3e38")
FULL = np.float32(3.4e38)
"""A fill value that a float32 raster does not declare."""


@pytest.fixture
def geoloom(capfd):
    """Runs a command here; gives what it says on standard error."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*words, code=0):
        capfd.readouterr()
        ended = 0
        try:
            app([str(word) for word in words], exit_on_error=False, print_error=False)
        except SystemExit as error:
            ended = error.code or 0
        said = capfd.readouterr().err
        assert ended == code, said
        assert "Traceback" not in said
        return said

    yield run
    signal.signal(signal.SIGTERM, before)


def refusal(said, command="train"):
    """The one sentence that a command ended with."""
    lines = [line for line in said.splitlines() if line.startswith(f"geoloom {command}: ")]
    assert len(lines) == 1, said
    return lines[0]


def write(path, pixels, *, west=450_000.0, crs="EPSG:32632", **tags):
    """A GeoTIFF of (band, y, x); without a CRS it has no place either."""
    profile = {"driver": "GTiff", "count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2]}
    place = {"crs": crs, "transform": Affine(0.5, 0, west, 0, -0.5, 5_400_000)} if crs else {}
    colours = {"photometric": "RGB"} if len(pixels) in {3, 4} else {}
    with rasterio.open(path, "w", dtype=pixels.dtype.name, **profile, **place, **colours) as file:
        file.write(pixels)
        if len(pixels) == 4:
            file.colorinterp = [*file.colorinterp[:3], rasterio.enums.ColorInterp.undefined]
            file.set_band_description(4, "nir")
        file.update_tags(**tags)
    return path


def picture(bands=3, dtype=np.float32):
    """Class 1 to 4 in squares of 16 pixels, each of its own brightness; gives (band, y, x) and (y, x)."""
    random = np.random.default_rng(0)
    truth = np.kron(random.integers(1, 5, (SIDE // 16, SIDE // 16)), np.ones((16, 16))).astype(np.uint8)
    return (truth * 45 + random.integers(0, 30, (bands, SIDE, SIDE))).astype(dtype), truth


def labelled(geoloom, folder, *, bands=3, dtype=np.float32, classes=NAMES, spoil=None):
    """A workspace of a picture with its truth."""
    folder.mkdir(parents=True, exist_ok=True)
    image, truth = picture(bands, dtype)
    if spoil is not None:
        image[:, spoil, spoil] = FULL
    write(folder / "scene.tif", image)
    write(folder / "truth.tif", truth[None], CLASS_NAMES=",".join(NAMES))
    geoloom("ingest", folder / "scene.tif", "--out", folder / "ws", "--classes", ",".join(classes))
    geoloom("label", folder / "ws", "--with", "truth", "--truth", folder / "truth.tif")
    return folder / "ws"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What one test has made, for the others, by its name."""
    root = tmp_path_factory.mktemp("made")

    def once(name, make):
        if not (root / name).exists():
            make(root / name)
        return root / name

    return once


@pytest.fixture
def workspace(made, geoloom):
    return made("plain", lambda folder: labelled(geoloom, folder)) / "ws"


@pytest.fixture
def trained(made, geoloom, workspace, tmp_path):
    """A model's folder with its state, of the workspace, that may be spoilt."""
    model = made("model", lambda folder: geoloom("train", workspace, "--out", folder, *TINY))
    return shutil.copytree(model, tmp_path / "trained")


def contents(folder):
    """Digest of every file of a folder."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_loss_that_is_no_number_keeps_what_was_learnt(geoloom, workspace, trained, tmp_path):
    """A model is to be tuned on a scene that has changed, by a loss too large for float32."""
    words = ("--out", trained, *TINY, "--resume")
    spoilt = labelled(geoloom, tmp_path / "spoilt", spoil=slice(0, SIDE // 4))
    before = contents(trained)
    said = refusal(geoloom("train", spoilt, *words, *TOO_LARGE, code=2))
    assert "At step 0 the loss is inf" in said
    assert "check the scenes' values and the labels, or resume from the last good state, which is kept, with " in said
    assert contents(trained) == before
    geoloom("train", workspace, *words, "--learning-rate", 1e-4)
    said = refusal(geoloom("train", workspace, *words, "--learning-rate", 1e-2, code=2))
    assert "learning_rate 0.001, not 0.01" in said
    # A fill value of 3.4e38 that the scene does not declare is cut, and costs no number.
    assert "The scenes have changed since" in geoloom("train", spoilt, *words)


def test_a_new_training_without_numbers_leaves_nothing(geoloom, workspace, tmp_path):
    said = refusal(geoloom("train", workspace, "--out", tmp_path / "m", *TINY, *TOO_LARGE, code=2))
    assert said.endswith("check the scenes' values and the labels, or train with a learning rate below 0.001.")
    assert contents(tmp_path / "m") == {}


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("smaller, without CRS", "without a CRS on both they must be of the same size and place."),
        ("elsewhere", "does not overlap the scene"),
        ("no names", "does not say what its ids mean"),
        ("not bytes", "has pixels of type float32; a class raster is uint8."),
    ],
)
def test_labels_that_do_not_fit_are_refused(geoloom, workspace, tmp_path, case, sentence):
    """And the labels that the workspace has are as they were."""
    _, truth = picture()
    there, tags, path = {}, {"CLASS_NAMES": ",".join(NAMES)}, tmp_path / "truth.tif"
    if case == "smaller, without CRS":
        truth, there = truth[: SIDE // 2], {"crs": None}
    elif case == "elsewhere":
        there = {"west": 600_000.0}
    elif case == "no names":
        tags = {}
    else:
        truth = truth.astype(np.float32)
    with np.errstate(all="ignore"):
        write(path, truth[None], **there, **tags)
    before = contents(workspace / "labels.zarr")
    said = refusal(geoloom("label", workspace, "--with", "truth", "--truth", path, code=2), "label")
    assert sentence in said
    assert contents(workspace / "labels.zarr") == before


def test_ids_without_a_name_are_refused(geoloom, workspace, tmp_path):
    """They are met while labels are made: what is made by then is not finished, and nothing learns from it."""
    _, truth = picture()
    truth[100, 100] = 77
    path, copy = tmp_path / "truth.tif", shutil.copytree(workspace, tmp_path / "ws")
    write(path, truth[None], CLASS_NAMES=",".join(NAMES))
    said = refusal(geoloom("label", copy, "--with", "truth", "--truth", path, code=2), "label")
    assert f"{path} holds the id 77, and names are known of ids 0 to 5; name all of them with --truth-classes" in said
    said = refusal(geoloom("train", copy, "--out", tmp_path / "m", *TINY, code=2))
    assert "are not finished" in said
    assert contents(tmp_path / "m") == {}


def test_a_class_without_a_label_is_told_and_not_scored(geoloom, workspace, tmp_path):
    said = geoloom("train", workspace, "--out", tmp_path / "m", *TINY)
    assert "No label of water to learn from: the model cannot be expected to map it." in said.splitlines()
    scores = load_card(tmp_path / "m").scores["validation"]
    assert set(scores["iou"]) >= {"building", "road", "land", "vegetation"}
    last = json.loads((tmp_path / "m" / "history.json").read_text())["checks"][-1]
    assert last["iou"][5] is None or last["iou"][5] == 0  # not met, or predicted by a network of two steps


def test_four_bands(geoloom, made, tmp_path):
    """ImageNet's first convolution is fitted to them; a model of three bands is refused."""
    workspace = made("four", lambda folder: labelled(geoloom, folder, bands=4, dtype=np.uint8)) / "ws"
    said = refusal(geoloom("train", workspace, "--out", tmp_path / "d", "--start", "default", *SHORT, code=2))
    assert "takes the bands red, green, blue and the scenes have " in said
    assert contents(tmp_path / "d") == {}
    weights = tmp_path / "resnet18.safetensors"
    _imagenet_like(weights)
    network = ("--architecture", "smp-unet", "--encoder", "resnet18", "--start", weights)
    geoloom("train", workspace, "--out", tmp_path / "m", *network, *SHORT)
    assert len(load_card(tmp_path / "m").bands) == 4


def _imagenet_like(path):
    """Weights of a three-band encoder, as a file."""
    import segmentation_models_pytorch as smp
    from safetensors.torch import save_file

    encoder = smp.encoders.get_encoder("resnet18", in_channels=3, weights=None)
    save_file({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}, path)


class Evil:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def cut(path, _):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path, _):
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    path.write_bytes(content)


def poison(path, canary):
    torch.save({"weights": Evil(canary)}, path)


def test_that_poison_works(tmp_path):
    poison(tmp_path / "evil.pth", tmp_path / "canary")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "canary").is_dir()


def tell_wrongly(path, _):
    """Another number of steps in the header, at the same length."""
    content = path.read_bytes()
    assert content.count(b'"step":"2"') == 1
    path.write_bytes(content.replace(b'"step":"2"', b'"step":"1"'))


def misname(path, _):
    """One bit of a word in the header that is asked for before anything else."""
    content = bytearray(path.read_bytes())
    content[content.index(b"fingerprints")] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [cut, flip, poison, tell_wrongly, misname])
def test_a_spoilt_state_is_not_resumed(geoloom, workspace, trained, tmp_path, spoil):
    spoil(trained / "training.safetensors", tmp_path / "canary")
    before = contents(trained)
    said = refusal(geoloom("train", workspace, "--out", trained, *TINY, "--resume", code=2))
    assert "training.safetensors is damaged" in said
    assert said.endswith("train again without resuming.")
    assert contents(trained) == before
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("spoil", [cut, flip, poison])
def test_a_spoilt_model_is_not_begun_with(geoloom, workspace, trained, tmp_path, spoil):
    spoil(trained / "weights.safetensors", tmp_path / "canary")
    said = refusal(geoloom("train", workspace, "--out", tmp_path / "m", "--start", trained, *SHORT, code=2))
    assert str(trained) in said
    assert contents(tmp_path / "m") == {}
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("spoil", [cut, flip, poison])
def test_a_spoilt_file_of_weights_is_not_begun_with(geoloom, workspace, tmp_path, spoil):
    """torch's own files are pickles: only tensors are read from them. A flipped bit shows in the name's digest."""
    import segmentation_models_pytorch as smp

    path = tmp_path / "resnet18.pth"
    torch.save(smp.encoders.get_encoder("resnet18", in_channels=3, weights=None).state_dict(), path)
    whole = path.rename(tmp_path / f"resnet18-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    spoil(whole, tmp_path / "canary")
    if spoil is poison:
        whole = whole.rename(path)
    network = ("--architecture", "smp-unet", "--encoder", "resnet18", "--start", whole)
    said = refusal(geoloom("train", workspace, "--out", tmp_path / "m", *network, *SHORT, code=2))
    assert ("no weights that can be read safely" if spoil is poison else "is damaged") in said
    assert contents(tmp_path / "m") == {}
    assert not (tmp_path / "canary").exists()


OTHERS = {
    "classes": "is of the classes other, building, road, land, vegetation, water and the workspaces have ",
    "order of classes": "have other, road, building, land, vegetation, water: train anew, or begin with its model",
    "bands": "is of the bands red, green, blue and the workspaces have ",
    "architecture": "began with --architecture tiny, not unet: resume it without --architecture",
    "steps": "steps 2, not 3",
    "batch": "batch 2, not 4",
    "validation": "validation_share 0.125, not 0.5",
    "labels and seed": "seed 0, not 7",
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_state_of_another_training_is_not_resumed(geoloom, made, workspace, trained, other):
    words = TINY
    if other == "classes":
        make = lambda folder: labelled(geoloom, folder, classes=(*NAMES, "pool"))  # noqa: E731
        workspace = made("more classes", make) / "ws"
    elif other == "order of classes":
        make = lambda folder: labelled(geoloom, folder, classes=("other", "road", "building", *NAMES[3:]))  # noqa: E731
        workspace = made("turned classes", make) / "ws"
    elif other == "batch":
        words = tuple(4 if before == "--batch" else word for before, word in zip(("", *TINY), TINY, strict=False))
    elif other == "validation":
        words = (*TINY, "--validation-share", 0.5)
    elif other == "labels and seed":
        workspace, words = (
            made("spoilt", lambda folder: labelled(geoloom, folder, spoil=slice(0, 48))) / "ws",
            (*TINY, "--seed", 7),
        )
    elif other == "bands":
        workspace = made("four", lambda folder: labelled(geoloom, folder, bands=4, dtype=np.uint8)) / "ws"
    elif other == "architecture":
        words = ("--architecture", "unet", *TINY[2:])
    else:
        words = (*TINY[:4], "--steps", 3, *SHORT[2:])
    before = contents(trained)
    said = refusal(geoloom("train", workspace, "--out", trained, *words, "--resume", code=2))
    assert OTHERS[other] in said
    assert contents(trained) == before


@pytest.mark.parametrize("other", ["bands", "architecture"])
def test_a_model_that_does_not_fit_is_not_begun_with(geoloom, made, workspace, trained, tmp_path, other):
    """Other classes are no hindrance: what both know is taken over by name."""
    sentence = "takes the bands red, green, blue and the scenes have"
    if other == "bands":
        workspace = made("four", lambda folder: labelled(geoloom, folder, bands=4, dtype=np.uint8)) / "ws"
    else:
        card = json.loads((trained / "model.json").read_text())
        (trained / "model.json").write_text(json.dumps(card | {"architecture": "unet", "stride": 16}))
        sentence = "the weights and model.json are of different models."
    said = refusal(geoloom("train", workspace, "--out", tmp_path / "m", "--start", trained, *SHORT, code=2))
    assert sentence in said
    assert contents(tmp_path / "m") == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(geoloom, workspace, tmp_path):
    said = refusal(geoloom("train", workspace, "--out", tmp_path / "m", "--device", "cuda", *TINY, code=2))
    assert "--device cpu" in said
    assert contents(tmp_path / "m") == {}


def test_a_log_that_is_unknown_is_refused(geoloom, workspace, tmp_path):
    said = refusal(geoloom("train", workspace, "--out", tmp_path / "m", "--logs", "wandb", *TINY, code=2))
    assert "There is no log 'wandb'; give --logs tensorboard or mlflow, or both." in said
    assert not (tmp_path / "m").exists()


def test_a_network_that_cannot_take_what_it_would_be_given_is_refused(geoloom, workspace, tmp_path):
    """An encoder of one image size, and one that halves its image away."""
    swin = ("--architecture", "smp-unet", "--encoder", "tu-swin_tiny_patch4_window7_224", "--start", "random")
    pan = ("--architecture", "smp-pan", "--encoder", "resnet18", "--start", "random")
    for network in (swin, pan):
        said = refusal(geoloom("train", workspace, "--out", tmp_path / "m", *network, *SHORT, code=2))
        assert f"{network[1]} of {network[3]} cannot take chips of 64 x 64 pixels (" in said
        assert said.endswith("choose a network that takes any size, or another --chip.")
    assert contents(tmp_path / "m") == {}


def test_an_encoder_that_has_no_part_is_refused(geoloom, workspace, tmp_path):
    words = ("--architecture", "unet", "--encoder", "resnet18", "--start", "random")
    said = refusal(geoloom("train", workspace, "--out", tmp_path / "m", *words, *SHORT, code=2))
    assert "Encoder 'resnet18' was given to 'unet', which has none to choose: leave it away" in said
    assert contents(tmp_path / "m") == {}


def test_an_encoder_of_one_size_is_refused_also_where_chips_and_tiles_have_it():
    """Training ends by measuring larger pieces of the scene."""
    arguments = {"encoder": "tu-swin_tiny_patch4_window7_224"}
    card = ModelCard(
        architecture="smp-unet", arguments=arguments, bands=("red", "green", "blue"), classes=NAMES[:2],
        mean=(0.0,) * 3, std=(1.0,) * 3, colours=((0, 0, 0),) * 2, stride=32, tile=224, margin=28, ramp=14,
    )  # fmt: skip
    network = build("smp-unet", arguments, bands=3, classes=2)
    with pytest.raises(UnusableInput, match="cannot take tiles of 256 x 256 pixels"):
        require_fit(network, card, chip=224, part=2)


def _smp(name):
    arguments = {"encoder": "resnet18"}
    card = ModelCard(
        architecture=name, arguments=arguments, bands=("red", "green", "blue"), classes=NAMES[:2],
        mean=(0.0,) * 3, std=(1.0,) * 3, colours=((0, 0, 0),) * 2, stride=32, tile=64, margin=8, ramp=8,
    )  # fmt: skip
    return build(name, arguments, bands=3, classes=2), card


def test_chips_one_by_one_where_a_network_needs_two():
    network, card = _smp("smp-deeplabv3plus")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    require_fit(network, card, chip=64, part=2)
    with pytest.raises(UnusableInput, match=r"cannot learn from 1 chips of 64 x 64 .* larger --batch"):
        require_fit(network, card, chip=64, part=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_what_has_no_part_in_the_answer_is_frozen():
    """Processes that learn together would wait for its gradients."""
    network, card = _smp("smp-pspnet")
    require_fit(network, card, chip=64, part=2)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {n for n, _ in network.named_parameters() if n.startswith(("encoder.layer3.", "encoder.layer4."))}


def test_what_has_no_part_in_objects_is_frozen_too():
    arguments = {"encoder": "efficientnet-b0", "width": 8}
    network = build("mask-rcnn", arguments, bands=3, classes=2)
    _, card = _smp("smp-unet")
    require_fit(network, card.model_copy(update={"architecture": "mask-rcnn"}), chip=64, part=2)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {"encoder._conv_head.weight", "encoder._bn1.weight", "encoder._bn1.bias"}


def test_an_empty_file_of_weights_and_one_of_no_numbers(geoloom, workspace, tmp_path):
    import segmentation_models_pytorch as smp
    from safetensors.torch import save_file

    (tmp_path / "empty.pth").touch()
    tensors = smp.encoders.get_encoder("resnet18", in_channels=3, weights=None).state_dict()
    tensors["layer1.0.bn1.weight"][3] = float("nan")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "nan.safetensors")
    for name, sentence in (("empty.pth", "no weights that can be read safely"), ("nan.safetensors", "no numbers")):
        network = ("--architecture", "smp-unet", "--encoder", "resnet18", "--start", tmp_path / name)
        assert sentence in refusal(geoloom("train", workspace, "--out", tmp_path / "m", *network, *SHORT, code=2))


def test_a_model_that_tells_its_past_wrong(geoloom, workspace, trained, tmp_path):
    """Nobody could say which ground it must not be scored on."""
    start = shutil.copytree(trained, tmp_path / "start")
    card = load_card(start)
    save_card(start, card.model_copy(update={"lineage": card.lineage | {"regions": {"cube": {"side": "wide"}}}}))
    said = refusal(geoloom("train", workspace, "--out", tmp_path / "m", "--start", start, *SHORT, code=2))
    assert "the `regions` that" in said
    assert "nobody knows what it learnt from" in said
    assert not (tmp_path / "m" / "model.json").exists()


def test_what_a_training_began_with_is_not_forgotten_when_it_is_resumed(geoloom, workspace, trained, tmp_path):
    """Its bands are normalised as before, and a model that it began with has shown it other scenes."""
    tuned = tmp_path / "tuned"
    geoloom("train", workspace, "--out", tuned, "--start", trained, *SHORT)
    assert "fine_tuned_from" in load_card(tuned).lineage
    for folder, start in ((trained, ("--start", "imagenet")), (tuned, ())):
        before = load_card(folder)
        others = {"start": (before.lineage["recipe"]["start"], "default"), "architecture": ("tiny", "unet")}
        for name, (began, other) in others.items():
            words = (f"--{name}", other, *SHORT, "--resume")
            said = refusal(geoloom("train", workspace, "--out", folder, *words, code=2))
            assert f"began with --{name} {began}, not {other}: resume it without --{name}, or train anew." in said
        assert load_card(folder) == before
        geoloom("train", workspace, "--out", folder, *start, *SHORT, "--resume")
        after = load_card(folder)
        assert (after.mean, after.std, after.weights_sha256) == (before.mean, before.std, before.weights_sha256)
        old, new = (dict(card.lineage) for card in (before, after))
        recipes = [lineage.pop("recipe") for lineage in (old, new)]
        assert all(recipes[0][name] == recipes[1][name] for name in ("start", "architecture", "encoder"))
        assert new == old
