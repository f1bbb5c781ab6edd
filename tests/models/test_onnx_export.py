"""An ONNX graph gives what torch gives, at any size and whatever fills invalid pixels; what would not is refused."""

import json
from importlib.metadata import version

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from infra.errors import UnusableInput
from models.card import ModelCard
from models.onnx_check import compare, open_session
from models.onnx_export import OPSET, to_onnx
from models.onnx_pools import OpenPool, open_pools
from models.predictor import Predictor
from models.registry import architectures, build, learns_objects, network_stride

pytestmark = pytest.mark.usefixtures("one_thread")
OWN = {"lite-unet": {}, "unet": {"width": 4, "depth": 2}, "tiny": {}}
RESNET = {"encoder": "resnet18"}


def made(name, arguments):
    """A network with random weights whose normalisations have seen images, as after training, and its card."""
    torch.manual_seed(0)
    network = build(name, arguments, bands=4, classes=3).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # plain averages, of all images
    with torch.no_grad():
        network(torch.randn(2, 4, 128, 128))
    return network.eval(), card_of(name, arguments)


def card_of(name, arguments, **more):
    return ModelCard(
        architecture=name, arguments=arguments, bands=("blue", "green", "red", "nir"), mean=(300, 400, 500, 900),
        std=(90, 80, 70, 200), classes=("other", "road", "école"), colours=((0, 0, 0), (9, 9, 9), (1, 2, 3)),
        stride=network_stride(name, arguments), tile=192, margin=32, ramp=0, weights_sha256="ab" * 32, **more,
    )  # fmt: skip


def scene(n, y, x, seed=0):
    """Pixels as the card has them: far beyond, untrained networks have logits of thousands, which are all rounding."""
    rng = np.random.default_rng(seed)
    mean, std = (np.reshape(v, (1, 4, 1, 1)) for v in ((300, 400, 500, 900), (90, 80, 70, 200)))
    return rng.normal(mean, std, (n, 4, y, x)).astype(np.float32), rng.random((n, y, x)) > 0.3


def run(content, image, valid):
    return open_session(content).run(None, {"image": image, "valid": valid})[0]


@pytest.fixture(scope="module")
def tiny():
    network, card = made("tiny", {})
    return network, card, to_onnx(network, card).content


@pytest.mark.parametrize(
    ("name", "arguments"),
    [(name, OWN.get(name, RESNET)) for name in architectures() if not learns_objects(name)]
    + [("smp-unet", {"encoder": e}) for e in ("mobilenet_v2", "tu-tf_efficientnet_lite0", "mit_b0")],
)
def test_every_architecture_gives_what_torch_gives_at_sizes_it_was_not_traced_at(name, arguments, capfd):
    network, card = made(name, arguments)
    graph = to_onnx(network, card)
    assert graph.difference <= 1e-3
    assert graph.equal >= 0.9999
    image, valid = scene(3, 128 + card.stride, 192)
    wanted = Predictor(card, network).probabilities(image, valid)
    got = run(graph.content, image, valid)
    assert got.dtype == np.float32
    assert np.abs(got - wanted).max() < 1e-3
    assert (got.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.999
    assert not any(isinstance(module, OpenPool) for module in network.modules())
    assert capfd.readouterr() == ("", "")


def test_a_network_that_is_no_graph_is_refused():
    with pytest.raises(UnusableInput, match=r"mask-rcnn with encoder resnet18 cannot be written as ONNX .* no graph"):
        to_onnx(*made("mask-rcnn", RESNET | {"width": 8}))


def test_what_fills_invalid_pixels_changes_no_bit(tiny):
    *_, content = tiny
    image, valid = scene(2, 40, 56)
    expected = run(content, image, valid)
    assert np.isfinite(expected).all()
    for fill in (np.nan, np.inf, -np.inf, 1e38, 0):
        assert np.array_equal(run(content, np.where(valid[:, None], image, fill).astype(np.float32), valid), expected)
    assert not np.array_equal(run(content, image, np.ones_like(valid)), expected)


def test_valid_pixels_beyond_the_clamp_or_not_numbers_are_as_in_a_prediction(tiny):
    network, card, content = tiny
    image, valid = scene(1, 64, 64)
    for k, odd in enumerate((np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 5000)):
        image[0, k % 4, 8 * k : 8 * k + 4, :32] = odd
    wanted = Predictor(card, network).probabilities(image, valid)
    assert np.abs(run(content, image, valid) - wanted).max() < 1e-5


def test_a_file_says_what_it_holds(tiny):
    content = to_onnx(tiny[0], card_of("tiny", {}, lineage={"attribution": ["Us, CC0"], "licence": "CC0"})).content
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]

    def described(values):
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    assert described(model.graph.input) == {"image": ["n", 4, "y", "x"], "valid": ["n", "y", "x"]}
    assert described(model.graph.output) == {"probability": ["n", 3, "y", "x"]}
    told = {p.key: p.value for p in model.metadata_props}
    assert json.loads(told["classes"]) == ["other", "road", "école"]
    assert json.loads(told["bands"]) == ["blue", "green", "red", "nir"]
    assert [told[k] for k in ("stride", "tile", "margin", "ramp")] == ["1", "192", "32", "0"]
    assert told["weights_sha256"] == "ab" * 32
    assert told["geoloom_version"] == version("geoloom")
    assert (json.loads(told["attribution"]), told["licence"]) == (["Us, CC0"], "CC0")
    assert "resolution" not in told
    assert "attribution" not in {p.key for p in onnx.load_from_string(tiny[2]).metadata_props}


def test_a_temperature_is_in_the_file(tiny):
    network, _, plain = tiny
    content = to_onnx(network, card_of("tiny", {}, temperature=2.5)).content  # and was compared with a prediction
    image, valid = scene(1, 128, 128)
    cold, warm = (run(one, image, valid) for one in (plain, content))
    assert np.allclose(np.log(cold[:, 0] / cold[:, 1]), 2.5 * np.log(warm[:, 0] / warm[:, 1]), atol=1e-2)


def test_the_same_model_gives_the_same_bytes(tiny):
    network, card, content = tiny
    assert to_onnx(network, card).content == content


class Baked(nn.Module):
    """Its logits depend on how wide the image is, by a number that a trace turns into a constant."""

    def forward(self, image):
        width = float(image.shape[-1])
        return torch.cat([image[:, :1] * 0, image[:, :1] + width / 64 - 3, image[:, 1:2]], dim=1)


class Sorted(nn.Module):
    """Has an operation that ONNX does not know."""

    def forward(self, image):
        return torch.linalg.svd(image[:, :3])[0][..., : image.shape[-1]]


def with_parameter(network):
    network.register_parameter("weight", nn.Parameter(torch.zeros(1)))  # a predictor asks where parameters lie
    return network.eval()


def test_a_graph_that_differs_at_another_size_is_refused_by_how_much():
    with pytest.raises(UnusableInput, match=r"differ by up to 0\.\d+ .* and \d+\.\d+% of pixels"):
        to_onnx(with_parameter(Baked()), card_of("tiny", {}))


def test_what_onnx_cannot_say_is_refused_in_one_sentence_and_nothing_is_printed(capfd):
    with pytest.raises(UnusableInput, match=r"Architecture tiny cannot be written as ONNX .*svd") as caught:
        to_onnx(with_parameter(Sorted()), card_of("tiny", {}))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("encoder", ["tu-mobilevit_xs", "tu-swin_tiny_patch4_window7_224"])
def test_encoders_of_one_image_size_are_refused(encoder, capfd):
    arguments = {"encoder": encoder}
    network = build("smp-unet", arguments, bands=4, classes=3).eval()
    with pytest.raises(UnusableInput, match=f"smp-unet with encoder {encoder} cannot be written as ONNX"):
        to_onnx(network, card_of("smp-unet", arguments))
    assert capfd.readouterr() == ("", "")


def test_a_comparison_counts_what_differs(tiny):
    network, card, content = tiny
    torch.manual_seed(1)
    other = build("tiny", {}, bands=4, classes=3).eval()
    assert compare(content, Predictor(card, network), edge=128)[1] == 1
    difference, equal = compare(content, Predictor(card, other), edge=128)
    assert difference > 0.01
    assert equal < 0.99


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (6, 6), (5, 1)])
@pytest.mark.parametrize("shape", [(8, 8), (7, 13), (4, 5)])
def test_open_pools_are_adaptive_pools(size, shape):
    features = torch.randn(2, 3, *shape)
    assert torch.allclose(OpenPool(*size)(features), nn.AdaptiveAvgPool2d(size)(features), atol=1e-6)


def test_pools_come_back_even_when_an_export_fails():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.AdaptiveAvgPool2d((3, 2))))
    before = list(network.modules())

    def fail():
        with open_pools(network):
            assert isinstance(network[1][0], OpenPool)
            assert isinstance(network[0], nn.AdaptiveAvgPool2d)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(network.modules()) == before
