"""ImageNet weights land where they belong, proved on the network they were trained in."""

from pathlib import Path

import pytest
import timm
import torch

from infra.errors import UnusableInput
from models.pretrained import load_imagenet
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
    load_imagenet(network, WEIGHTS)
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
    load_imagenet(network, WEIGHTS)
    assert torch.equal(network.encoder.model.conv_stem.weight, source["_conv_stem.weight"])
    assert torch.equal(network.encoder.model.blocks[6][0].conv_pwl.weight, source["_blocks.15._project_conv.weight"])


@needs_weights
@pytest.mark.parametrize("bands", [1, 4])
def test_other_bands_answer_grey_alike(bands):
    network, plain = (build("lite-unet", {}, bands=b, classes=2) for b in (bands, 3))
    load_imagenet(network, WEIGHTS)
    load_imagenet(plain, WEIGHTS)
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
        load_imagenet(build("lite-unet", {}, bands=3, classes=2), tmp_path / WEIGHTS.name)


def test_other_encoders_and_other_files_are_refused(tmp_path):
    lite = build("lite-unet", {}, bands=3, classes=2)
    with pytest.raises(UnusableInput, match="not a file"):
        load_imagenet(lite, tmp_path / "none.pth")
    with pytest.raises(UnusableInput, match="another"):
        load_imagenet(build("tiny", {}, bands=3, classes=2), tmp_path / "none.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "short.pth")
    with pytest.raises(UnusableInput, match="tensors"):
        load_imagenet(lite, tmp_path / "short.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UnusableInput, match="read safely"):
        load_imagenet(lite, tmp_path / "text.pth")
    torch.save({str(i): torch.zeros(2, 3) for i in range(296)}, tmp_path / "wrong.pth")
    with pytest.raises(UnusableInput, match="tensor 0"):
        load_imagenet(lite, tmp_path / "wrong.pth")
