"""ImageNet weights land where they belong, proved on the network they were trained in."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from infra.errors import UnusableInput
from models.pretrained import imagenet_scale, load_encoder, load_published
from models.registry import build

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights" / "efficientnet-lite0-57934424.pth"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason="the ImageNet weights are not on this machine")
LITE0 = {"encoder": "tu-tf_efficientnet_lite0"}
each = pytest.mark.parametrize(("architecture", "arguments"), [("lite-unet", {}), ("smp-unet", LITE0)])


@needs_weights
@each
def test_the_encoder_computes_what_the_whole_classifier_computes(architecture, arguments):
    """Timm's own classifier, filled by place, is the oracle: its last feature map is the encoder's."""
    network = build(architecture, arguments, bands=3, classes=2).eval()
    load_encoder(network, WEIGHTS)
    classifier = timm.create_model("tf_efficientnet_lite0").eval()
    source = torch.load(WEIGHTS, weights_only=True)
    classifier.load_state_dict(dict(zip(classifier.state_dict(), source.values(), strict=True)))
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        deep = network.encoder(image)[-1]
        expected = classifier.bn2(classifier.conv_head(deep))
        assert torch.allclose(expected, classifier.forward_features(image), atol=1e-4)


@needs_weights
def test_the_first_and_the_last_tensor_are_where_they_belong():
    source = torch.load(WEIGHTS, weights_only=True)
    network = build("lite-unet", {}, bands=3, classes=2)
    load_encoder(network, WEIGHTS)
    assert torch.equal(network.encoder.model.conv_stem.weight, source["_conv_stem.weight"])
    assert torch.equal(network.encoder.model.blocks[6][0].conv_pwl.weight, source["_blocks.15._project_conv.weight"])


@needs_weights
@pytest.mark.parametrize("bands", [1, 4])
def test_other_bands_answer_grey_alike(bands):
    network, plain = (build("lite-unet", {}, bands=b, classes=2) for b in (bands, 3))
    load_encoder(network, WEIGHTS)
    load_encoder(plain, WEIGHTS)
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a = network.encoder.model.conv_stem(grey.expand(1, bands, 64, 64))
        b = plain.encoder.model.conv_stem(grey.expand(1, 3, 64, 64))
    assert torch.allclose(a, b, atol=1e-4)


@needs_weights
def test_damaged_weights_are_refused(tmp_path):
    content = bytearray(WEIGHTS.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / WEIGHTS.name).write_bytes(content)
    with pytest.raises(UnusableInput, match="damaged"):
        load_encoder(build("lite-unet", {}, bands=3, classes=2), tmp_path / WEIGHTS.name)


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "tu-convnext_atto"])
def test_a_classifier_s_own_file_fits_by_its_names(tmp_path, encoder):
    """A file as torchvision and timm write it: the classifier's weights, head and all."""
    torch.manual_seed(0)
    if encoder.startswith("tu-"):
        classifier = timm.create_model(encoder.removeprefix("tu-"))
    else:
        classifier = torchvision.models.get_model(encoder)
    save_file(classifier.state_dict(), tmp_path / "weights.safetensors")
    networks = [build("smp-unet", {"encoder": encoder}, bands=bands, classes=2).eval() for bands in (3, 5)]
    for network in networks:
        load_encoder(network, tmp_path / "weights.safetensors")
    theirs = {(t.shape, float(t.double().sum())) for t in classifier.state_dict().values()}
    assert all((t.shape, float(t.double().sum())) in theirs for t in networks[0].encoder.state_dict().values())
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        three, five = (n.encoder(grey.expand(1, b, 64, 64))[-1] for n, b in zip(networks, (3, 5), strict=True))
    assert torch.allclose(three, five, atol=1e-3)


def test_weights_that_cannot_be_fetched_are_told(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the line is dead")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", refuse)
    network = build("smp-unet", {"encoder": "resnet18"}, bands=3, classes=2)
    with pytest.raises(UnusableInput, match=r"resnet18 cannot be had \(the line is dead\): give a file"):
        load_published(network, "resnet18", bands=3)


@pytest.mark.parametrize(
    ("encoder", "bands", "mean", "std"),
    [
        ("tu-tf_efficientnet_lite2", 3, (127.5,) * 3, (127.5,) * 3),
        ("tu-tf_efficientnet_lite0", 5, (127.5,) * 5, (127.5,) * 5),
        ("resnet18", 3, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("tu-resnet18", 1, (114.495,), (57.63,)),
    ],
)
def test_images_are_scaled_as_the_encoder_saw_them(encoder, bands, mean, std):
    scale = imagenet_scale(encoder, bands=bands)
    assert scale == (pytest.approx(mean), pytest.approx(std))


def test_other_encoders_and_other_files_are_refused(tmp_path):
    lite = build("lite-unet", {}, bands=3, classes=2)
    with pytest.raises(UnusableInput, match="not a file"):
        load_encoder(lite, tmp_path / "none.pth")
    with pytest.raises(UnusableInput, match="no encoder"):
        load_encoder(build("tiny", {}, bands=3, classes=2), tmp_path / "none.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "short.pth")
    with pytest.raises(UnusableInput, match="tensors"):
        load_encoder(lite, tmp_path / "short.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UnusableInput, match="read safely"):
        load_encoder(lite, tmp_path / "text.pth")
    torch.save({"a": torch.zeros(100, 100)}, tmp_path / "flipped.pth")
    content = bytearray((tmp_path / "flipped.pth").read_bytes())
    content[len(content) // 2] ^= 1  # one bit of one weight: torch.load reads it without a word
    (tmp_path / "flipped.pth").write_bytes(content)
    with pytest.raises(UnusableInput, match=r"flipped.pth is damaged: its content has changed; get the file again"):
        load_encoder(lite, tmp_path / "flipped.pth")
    torch.save({str(i): torch.zeros(2, 3) for i in range(296)}, tmp_path / "wrong.pth")
    with pytest.raises(UnusableInput, match="tensor 0"):
        load_encoder(lite, tmp_path / "wrong.pth")
