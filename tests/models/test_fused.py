"""Fused networks: every rule of the rewriting, one by one and on whole networks, against the network as it was."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from models.fused import fuse
from models.recorded import Unrecordable, record
from models.registry import build
from models.rewrite import rewrite
from models.rounding import round_weights

LAST = torch.channels_last


def unsettled(network, seed=0):
    """Normalisation with statistics that are not those of the first day."""
    torch.manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 2)
                nn.init.normal_(layer.bias, 0, 0.3)
    return network.eval().requires_grad_(requires_grad=False).to(memory_format=LAST)


def names(graph):
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


class Upsampled(nn.Module):
    """A convolution over repeated pixels, with planes stacked beside them."""

    def __init__(self, beside=(4,), *, first=True):
        super().__init__()
        self.first = first
        self.skips = nn.ModuleList(nn.Conv2d(3, n, 1) for n in beside)
        self.deep = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.Conv2d(8 + sum(beside), 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x):
        deep = functional.interpolate(self.deep(x), scale_factor=2.0, mode="nearest")
        parts = [skip(x) for skip in self.skips]
        parts = [deep, *parts] if self.first else [*parts, deep]
        return functional.relu(self.norm(self.up(torch.cat(parts, 1) if len(parts) > 1 else deep)))


class Padded(nn.Module):
    """Zeros on some sides before a convolution that sees each plane for itself."""

    def __init__(self, sides, kernel):
        super().__init__()
        self.sides = sides
        self.conv = nn.Conv2d(8, 8, kernel, stride=2, groups=8)
        self.into = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        return self.conv(functional.pad(self.into(x), self.sides))


class Summed(nn.Module):
    """Convolutions whose results are added, and used again."""

    def __init__(self, after, *, again=False):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.after, self.again = after, again

    def forward(self, x):
        first = self.one(x)
        total = self.after(self.two(first) + first)
        return total + first if self.again else total


ACTIVATIONS = (
    nn.ReLU(inplace=True),
    nn.ReLU6(inplace=True),
    nn.SiLU(),
    nn.Hardswish(),
    nn.Sigmoid(),
    nn.Hardtanh(),
    nn.GELU(),
)
RULES = {
    "repeated": Upsampled(()),
    "repeated and stacked": Upsampled((4,)),
    "repeated and stacked twice": Upsampled((4, 5)),
    "repeated and stacked last": Upsampled((4,), first=False),
    "padded after": Padded((0, 1, 0, 1), 3),
    "padded before": Padded((1, 0, 2, 0), 3),
    "padded unequally": Padded((1, 2, 2, 1), 5),
    "normalised without weights": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)),
    "transposed": nn.Sequential(nn.ConvTranspose2d(3, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
    "transposed unevenly": nn.Sequential(nn.ConvTranspose2d(3, 8, 3, 2, 1, output_padding=1), nn.BatchNorm2d(8)),
    "a head of three": nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 3, 3, padding=1)),
    "a head of three on 18 columns": nn.Sequential(nn.Conv2d(3, 16, 3, padding=(1, 0)), nn.Conv2d(16, 3, 3, padding=1)),
    "a head of seven": nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 7, 3, padding=1), nn.ReLU()),
    "dilated in groups": nn.Conv2d(3, 9, 3, padding=2, dilation=2, groups=3),
    "summed and used again": Summed(nn.Identity(), again=True),
    **{f"summed, {type(a).__name__}": Summed(a) for a in ACTIVATIONS},
    **{f"before {type(a).__name__}": nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), a) for a in ACTIVATIONS},
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("transposed", [False, True])
def test_every_rule_leaves_the_numbers_as_they_were(rule, transposed):
    network = unsettled(RULES[rule])
    image = torch.randn(2, 3, 16, 20).contiguous(memory_format=LAST)
    fused = fuse(network, image.shape, dtype=torch.float32, transposed=transposed, tail=0)
    with torch.inference_mode():
        wanted, twice = network(image), [fused(image), fused(image)]
    torch.testing.assert_close(twice[0], wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert torch.equal(*twice)  # nothing that the graph holds is written over


@pytest.mark.parametrize(
    ("rule", "gone"),
    [
        ("repeated and stacked twice", ("upsample", "norm", "relu")),
        ("padded after", ("pad",)),
        ("summed, ReLU", ("add", "relu")),
        ("before ReLU6", ("hardtanh", "norm")),
        ("transposed", ("norm", "relu")),
    ],
)
def test_what_a_rule_is_for_is_gone(rule, gone):
    fused = fuse(unsettled(RULES[rule]), (1, 3, 16, 16), dtype=torch.float32, transposed=True, tail=0)
    left = [name for name in names(fused.graph) if not name.startswith("mkldnn")]
    assert not [name for name in left if any(word in name for word in gone)]


def test_a_head_computes_four_pixels_of_three_classes_at_once():
    graph, constants = record(unsettled(RULES["a head of three"]), (1, 3, 18, 18))
    (_, head) = rewrite(graph, constants, transposed=True).values()
    assert (head.pixels, tuple(head.weight.shape), head.stride) == (4, (12, 16, 3, 6), (1, 4))


WHOLE = [
    ("lite-unet", None),
    ("smp-unet", "mobilenet_v2"),
    ("smp-unet", "efficientnet-b0"),
    ("smp-unet", "tu-tf_efficientnet_lite0"),
    ("smp-unetplusplus", "resnet18"),
    ("smp-manet", "resnet18"),
    ("smp-linknet", "resnet18"),
    ("smp-fpn", "resnet18"),
    ("smp-pan", "resnet18"),
    ("smp-pspnet", "resnet18"),
    ("smp-deeplabv3plus", "resnet18"),
    ("smp-segformer", "mit_b0"),
    ("unet", None),
    ("tiny", None),
]


@pytest.mark.parametrize(("architecture", "encoder"), WHOLE)
def test_whole_networks_keep_their_logits(architecture, encoder):
    torch.manual_seed(0)
    arguments = {"encoder": encoder} if encoder else ({"width": 8} if architecture == "unet" else {})
    network = unsettled(build(architecture, arguments, bands=3, classes=3))
    side = 256 if architecture == "smp-pan" else 64  # it pools eight times
    image = torch.randn(1, 3, side, side + 32).contiguous(memory_format=LAST)
    fused = fuse(network, image.shape, dtype=torch.float32, transposed=True, tail=0)
    with torch.inference_mode():
        wanted, got = network(image), fused(image)
    assert float((got - wanted).abs().max()) < 1e-3 * float(wanted.std())


@pytest.mark.parametrize("tail", [0, 3, 99])
def test_bfloat16_comes_close_and_closer_with_a_float32_tail(tail):
    torch.manual_seed(0)
    network = unsettled(build("smp-unet", {"encoder": "mobilenet_v2"}, bands=3, classes=3))
    image = torch.randn(1, 3, 64, 64).contiguous(memory_format=LAST)
    fused = fuse(network, image.shape, dtype=torch.bfloat16, transposed=True, tail=tail)
    with torch.inference_mode():
        wanted, got = network(image), fused(image)
    assert got.dtype == torch.float32
    away = float((got - wanted).std() / wanted.std())
    assert away < 1e-5 if tail == 99 else 1e-4 < away < 0.05


def test_rounded_weights_keep_every_partial_sum_within_half_a_step():
    weight = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 1, (4, 900)).astype(np.float32))
    rounded = round_weights(weight)
    assert rounded.dtype == torch.bfloat16
    steps = 2.0**-8  # of bfloat16 between 0.5 and 1
    away = (rounded.double().cumsum(1) - weight.double().cumsum(1)).abs().max()
    assert away <= steps / 2 + 1e-4  # the carry itself is float32
    nearest = weight.bfloat16().double().cumsum(1)
    assert (nearest - weight.double().cumsum(1)).abs().max() > 4 * away


def test_single_weights_round_to_the_nearest_ties_to_even():
    weight = torch.tensor([[1.00390625], [1.01171875], [-3.3e38], [1e-40], [0.1]])
    assert torch.equal(round_weights(weight), weight.bfloat16())


class Branching(nn.Module):
    def forward(self, x):
        return x * 2 if float(x.mean()) > 0 else x


class InPart(nn.Module):
    def forward(self, x):
        y = x * 2
        y[:, 0] += 1
        return y


class Several(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize("network", [Branching(), InPart(), Several()])
def test_what_is_no_graph_of_one_shape_is_refused(network):
    with pytest.raises(Unrecordable):
        record(network, (1, 3, 8, 8))


def test_a_recording_leaves_the_network_alone_and_names_its_own_weights():
    network = unsettled(build("tiny", {}, bands=3, classes=2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    graph, constants = record(network, (1, 3, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {value.data_ptr() for value in constants.values()} == {p.data_ptr() for p in network.parameters()}
    assert len(list(graph.find_nodes(op="call_function", target=torch.ops.aten.convolution.default))) == 3
