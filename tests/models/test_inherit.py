"""A network that goes on from another gives that one's logits for the classes that both know."""

import pytest
import torch

from models.inherit import inherit
from models.registry import architectures, build

SMALL = {"lite-unet": {}, "unet": {"width": 4, "depth": 2}, "tiny": {}}
MASKS = {"encoder": "resnet18", "width": 8}


@pytest.mark.parametrize("name", [*SMALL, "smp-unet", "smp-deeplabv3plus", "smp-segformer", "smp-upernet"])
@pytest.mark.parametrize("classes", [("other", "road"), ("road", "other", "pool"), ("pool", "other", "road", "house")])
def test_the_same_logits_for_the_classes_that_both_know(name, classes):
    assert name in architectures()
    torch.manual_seed(0)
    known = ("other", "house", "road")
    arguments = SMALL.get(name, {"encoder": "resnet18"})
    source = build(name, arguments, bands=2, classes=3).eval()
    network = inherit(source, name, arguments, bands=2, classes=classes, known=known).eval()
    image = torch.randn(1, 2, 64, 64)
    ours, theirs = network(image), source(image)
    for number, klass in enumerate(classes):
        if klass in known:
            assert torch.allclose(ours[:, number], theirs[:, known.index(klass)], atol=1e-5)


def test_a_class_with_several_numbers_takes_all_of_them_along():
    """Mask R-CNN has four numbers of a box for each class."""
    torch.manual_seed(0)
    source = build("mask-rcnn", MASKS, bands=2, classes=3)
    classes, known = ("other", "pool", "road", "house"), ("other", "house", "road")
    network = inherit(source, "mask-rcnn", MASKS, bands=2, classes=classes, known=known)
    ours, theirs = (n.boxes.box_predictor.bbox_pred.weight.unflatten(0, (-1, 4)) for n in (network, source))
    assert torch.equal(ours[[0, 2, 3]], theirs[[0, 2, 1]])
    ours, theirs = (n.boxes.mask_predictor.mask_fcn_logits.weight for n in (network, source))
    assert torch.equal(ours[[0, 2, 3]], theirs[[0, 2, 1]])
