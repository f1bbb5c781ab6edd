"""Every architecture takes what it promises, and refuses the rest in one sentence."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from infra.errors import UnusableInput
from models.batch import Batch
from models.card import ModelCard
from models.checkpoint import save_model
from models.lesson import OWN_LOSS, Lesson
from models.predictor import load_predictor
from models.recipe import TrainSettings
from models.registry import architectures, build, learns_objects, network_stride

SMALL = {
    "lite-unet": {},
    "unet": {"width": 4, "depth": 2},
    "tiny": {},
    "mask-rcnn": {"encoder": "resnet18", "width": 16},
}
LITE_OF_SMP = ("smp-unet", {"encoder": "tu-tf_efficientnet_lite0"})


def arguments_of(name):
    return SMALL.get(name, {"encoder": "tu-tf_efficientnet_lite0"})


def batch_of(bands, classes, y, x):
    """Two images of noise; the first has a square object of class 1, the second is half unlabelled."""
    labels, objects = (torch.zeros(2, y, x, dtype=torch.int64) for _ in range(2))
    labels[0, 2:14, 3:15] = objects[0, 2:14, 3:15] = 1
    labels[1, : y // 2] = 255
    told = torch.ones(2, classes, dtype=torch.bool)
    return Batch(torch.randn(2, bands, y, x), labels, labels >= 0, told, None, objects)


@pytest.mark.parametrize("name", architectures())
@pytest.mark.parametrize(("bands", "classes"), [(1, 2), (3, 6), (20, 3)])
def test_every_architecture_keeps_the_shape_and_has_finite_gradients(name, bands, classes):
    """By the loss that training makes small, which is the network's own where it has one."""
    torch.manual_seed(0)
    arguments = arguments_of(name)
    network = build(name, arguments, bands=bands, classes=classes)
    stride = network_stride(name, arguments)
    y, x = (19, 23) if stride == 1 else (2 * stride, stride)
    if name == "smp-pan":
        y = x = 128  # its attention halves a sixteenth of the image three times more
    batch = batch_of(bands, classes, y, x)
    assert hasattr(network, OWN_LOSS) == learns_objects(name)
    loss = Lesson(TrainSettings(steps=1), torch.device("cpu")).loss(network.train(), batch)
    assert loss.shape == ()
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)
    with torch.no_grad():
        logits = network.eval()(batch.images)
        assert logits.shape == (2, classes, y, x)
        assert torch.isfinite(logits).all()
        assert torch.equal(network(batch.images), logits)


@pytest.mark.parametrize("name", architectures())
def test_every_architecture_is_saved_and_served_alike(name, tmp_path):
    """What the network gives is what the model of it gives, read again from its folder, in 254ths."""
    torch.manual_seed(0)
    arguments, bands = arguments_of(name), ("red", "green", "blue", "nir")
    network = build(name, arguments, bands=4, classes=3).eval()
    card = ModelCard(
        architecture=name, arguments=arguments, bands=bands, mean=(100.0,) * 4, std=(50.0,) * 4,
        classes=("other", "building", "road"), colours=((0, 0, 0),) * 3, stride=network_stride(name, arguments),
        tile=128, margin=16, ramp=8,
    )  # fmt: skip
    save_model(tmp_path, network, card)
    image = np.random.default_rng(0).integers(0, 255, (1, 4, 128, 128), dtype=np.uint8)
    served = load_predictor(tmp_path)(image, np.ones((1, 128, 128), bool))
    with torch.no_grad():
        logits = network((torch.from_numpy(image).float() - 100) / 50)
    assert np.abs(served / 254 - logits.softmax(dim=1).numpy()).max() < 0.005
    assert (served.sum(axis=1, dtype=int) == 254).all()


def test_lite_unet_is_the_library_s_network_to_the_bit():
    torch.manual_seed(0)
    theirs = build(*LITE_OF_SMP, bands=4, classes=5)
    theirs.train()(torch.randn(4, 4, 64, 64))  # normalisations that do something
    ours = build("lite-unet", {}, bands=4, classes=5)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(2, 4, 96, 160)
    with torch.no_grad():
        assert torch.equal(ours.eval()(image), theirs.eval()(image))
    for network in (ours.train(), theirs.train()):
        network(image).square().mean().backward()
    expected = dict(theirs.named_parameters())
    assert all(torch.equal(p.grad, expected[name].grad) for name, p in ours.named_parameters())


@pytest.mark.parametrize("number", range(1, 5))
def test_wider_and_deeper_encoders_are_the_library_s(number):
    arguments = {"encoder": f"tu-tf_efficientnet_lite{number}"}
    theirs, ours = (build(name, arguments, bands=3, classes=2).eval() for name in ("smp-unet", "lite-unet"))
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(ours(image), theirs(image))


def test_lite_unet_begins_as_random_as_the_library_s():
    torch.manual_seed(0)
    ours, theirs = (build(n, a, bands=3, classes=6).state_dict() for n, a in (("lite-unet", {}), LITE_OF_SMP))
    wide = [name for name, tensor in theirs.items() if tensor.ndim == 4 and tensor.numel() > 5000]
    assert wide
    for name in wide:
        assert float(ours[name].std()) == pytest.approx(float(theirs[name].std()), rel=0.06), name


def test_a_command_with_the_shipped_network_imports_no_library_of_networks():
    code = (
        "import sys; from models.registry import build; build('lite-unet', {}, bands=3, classes=6);"
        "print([m for m in ('timm', 'torchvision', 'segmentation_models_pytorch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2"])
def test_smp_encoders_by_name(encoder):
    network = build("smp-unet", {"encoder": encoder, "decoder_channels": [32, 16, 16, 8, 8]}, bands=3, classes=6).eval()
    assert network(torch.zeros(1, 3, 64, 32)).shape == (1, 6, 64, 32)


def test_unet_moves_with_its_input_by_multiples_of_its_stride():
    """Away from borders, an image moved by one stride gives logits moved by one stride: tiles can be exact."""
    torch.manual_seed(0)
    network = build("unet", SMALL["unet"], bands=1, classes=2).eval()
    image = torch.zeros(1, 1, 128, 128)
    image[..., 60:68, 60:68] = torch.randn(8, 8)
    with torch.no_grad():
        here, there = network(image), network(image.roll(4, dims=-1))
    assert torch.allclose(here.roll(4, dims=-1)[..., 32:96, 32:96], there[..., 32:96, 32:96], atol=1e-6)


def test_unet_refuses_what_pooling_would_crop():
    with pytest.raises(ValueError, match="multiples of 4"):
        build("unet", SMALL["unet"], bands=1, classes=2)(torch.zeros(1, 1, 10, 8))


def test_tiny_sees_three_pixels_far_and_no_farther():
    torch.manual_seed(0)
    network = build("tiny", {}, bands=1, classes=2)
    image = torch.zeros(1, 1, 21, 21, requires_grad=True)
    network(image)[0, :, 10, 10].sum().backward()
    y, x = torch.nonzero(image.grad[0, 0], as_tuple=True)
    assert (y.min(), y.max(), x.min(), x.max()) == (7, 13, 7, 13)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("vnet", {}, "smp-deeplabv3plus"),
        ("smp-unet", {"encoder": "hf-hub:somebody/something"}, "Encoder"),
        ("smp-unet", {"encoder": "tu-hf-hub:somebody/something"}, "Encoder"),
        ("smp-unet", {"encoder": 7}, "Encoder"),
        ("smp-unet", {"encoder": "resnet18", "encoder_weights": "imagenet"}, "encoder_weights"),
        ("smp-unet", {"encoder": "resnet18", "decoder_channels": [8]}, "smp-unet"),
        ("lite-unet", {"encoder": "resnet18"}, "tu-tf_efficientnet_lite0"),
        ("mask-rcnn", {"encoder": "hf-hub:somebody/something"}, "Encoder"),
        ("mask-rcnn", {"masks": 3}, "encoder, width, anchor"),
        ("mask-rcnn", {"width": 0}, "width"),
        ("unet", {"deep": 3}, "deep"),
        ("unet", {"width": "wide"}, "unet"),
        ("unet", {"depth": -1}, "depth"),
    ],
)
def test_what_is_unknown_is_refused(name, arguments, says):
    with pytest.raises(UnusableInput, match=says):
        build(name, arguments, bands=3, classes=2)


def test_unknown_stride_is_refused():
    with pytest.raises(UnusableInput, match="smp-unet"):
        network_stride("vnet", {})


def test_building_goes_nowhere_near_the_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("tried to connect")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(build("smp-fpn", {"encoder": "tu-tf_efficientnet_lite0"}, bands=3, classes=2), nn.Module)
