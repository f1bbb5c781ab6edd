"""Mask R-CNN as one of geoloom's networks: it finds objects one by one, and paints its logits from them.

He and others: Mask R-CNN (2017), arXiv:1703.06870, of torchvision's parts, over a feature pyramid (Lin and others
2017, arXiv:1612.03144) on any encoder of segmentation-models-pytorch. torchvision's own transform is left out: images
come normalised, and in sizes that need no padding. BatchNorm learns as in the other networks: an encoder for 4 or 12
bands has no published statistics that could be frozen, and batches of chips are not batches of two photographs.

Which places are looked at depends on the whole image (the best 1,000), so tiles never give quite what one pass gives.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from models.metrics import IGNORE
from models.objects import Boxes, Places, Target, target_of

LEVELS = ("0", "1", "2", "3")
"""Of the pyramid, at strides 4 to 32; a fifth, of stride 64, only proposes."""
FAINT = 0.05
"""Score below which an object is none at all, as in torchvision."""
MOST = 400
"""Objects of an image: torchvision's 100 are fewer than the houses of a tile of a town."""
NEVER = 1e-6
"""The least probability of a class."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One object that was found in an image."""

    place: tuple[slice, slice]
    """Rows and columns of the image that its mask is of."""
    mask: Tensor
    """(y, x) float32, 0..1: how likely each pixel is its."""
    score: Tensor
    """() float32, 0..1: how likely there is such an object."""
    klass: int
    """1 or more."""


class MaskRCNN(nn.Module):
    """From images (n, band, y, x) to logits (n, class, y, x), log-probabilities painted from the objects it finds."""

    def __init__(
        self, bands: int, classes: int, encoder: str = "tu-tf_efficientnet_lite0", width: int = 128, anchor: int = 16
    ) -> None:
        """Build with random weights.

        Args:
            bands: planes of the image.
            classes: planes of the logits; 0 is what is no object.
            encoder: as segmentation-models-pytorch names it.
            width: channels of the pyramid and of the heads; torchvision's own have 256, for four times the work.
            anchor: pixels a side of the smallest objects that are looked for; those of each level are twice as large.
        """
        super().__init__()
        if min(width, anchor) < 1:
            raise ValueError(f"width is {width} and anchor {anchor}: expected 1 or more")
        self.classes = classes
        self.encoder = smp.encoders.get_encoder(encoder, in_channels=bands, weights=None)
        self.pyramid = FeaturePyramidNetwork(self.encoder.out_channels[2:], width, LastLevelMaxPool())
        shapes = AnchorGenerator(
            tuple((anchor << level,) for level in range(len(LEVELS) + 1)), ((0.5, 1.0, 2.0),) * (len(LEVELS) + 1)
        )
        self.places = Places(
            shapes, RPNHead(width, shapes.num_anchors_per_location()[0]), 0.7, 0.3, 256, 0.5,
            {"training": 1000, "testing": 1000}, {"training": 1000, "testing": 1000}, 0.7,
        )  # fmt: skip
        self.boxes = Boxes(
            MultiScaleRoIAlign(LEVELS, 7, 2), TwoMLPHead(width * 7 * 7, 4 * width),
            FastRCNNPredictor(4 * width, classes), 0.5, 0.5, 256, 0.25, None, FAINT, 0.5, MOST,
            MultiScaleRoIAlign(LEVELS, 14, 2), MaskRCNNHeads(width, (width,) * 4, 1),
            MaskRCNNPredictor(width, width, classes),
        )  # fmt: skip
        self.train()

    def train(self, mode: bool = True) -> MaskRCNN:  # noqa: FBT001, FBT002 - torch's signature
        """Training or evaluation, for the normalisations; what finds objects answers with losses only in `losses`."""
        super().train(mode)
        self.places.eval()
        self.boxes.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Logits: a pixel is of a class if any object of it that was found is there; else it is `other`."""
        return torch.stack([self._painted(seen, image.shape[2:]) for seen in self.instances(image)])

    def instances(self, image: Tensor) -> list[list[Seen]]:
        """The objects of each image, the surest first.

        Raises:
            RuntimeError: it is to be written as a graph, and no graph tells how many objects there will be.
        """
        if image.is_meta or torch.jit.is_tracing() or torch.compiler.is_compiling():  # type: ignore[attr-defined,no-untyped-call]
            raise RuntimeError("how Mask R-CNN goes on depends on the pixels, so it is no graph")
        features, _ = self._features(image)
        with torch.autocast(image.device.type, enabled=False):
            return [self._found(image, features, number) for number in range(len(image))]

    def losses(self, image: Tensor, labels: Tensor, objects: Tensor) -> Tensor:
        """Its own loss, a scalar: of objectness, boxes, classes, boxes again and masks, all with the same weight.

        A chip without a label teaches nothing. Where it is unlabelled, no object is expected, and none is wrong.

        Args:
            image: (n, band, y, x).
            labels: (n, y, x) int64, 255 = ignore.
            objects: (n, y, x) int64 ids within each chip, 0 = none.
        """
        told = (labels != IGNORE).flatten(1).any(dim=1)
        if not told.any():
            return 0.0 * torch.stack([p.sum() for p in self.parameters()]).sum()
        features, images = self._features(image[told])
        targets = [target_of(*pair) for pair in zip(labels[told], objects[told], strict=True)]
        with torch.autocast(image.device.type, enabled=False):
            self.places.train()
            self.boxes.train()
            try:
                places, first = self.places(images, features, targets)
                _, second = self.boxes(features, places, images.image_sizes, targets)
            finally:
                self.train(self.training)
        return torch.stack([*first.values(), *second.values()]).sum()

    def _features(self, image: Tensor) -> tuple[dict[str, Tensor], ImageList]:
        """The pyramid, in float32: places in half precision are wrong by pixels."""
        deep = self.encoder(image)[2:]
        pyramid = self.pyramid(OrderedDict(zip(LEVELS, deep, strict=True)))
        size = (image.shape[2], image.shape[3])
        return {name: level.float() for name, level in pyramid.items()}, ImageList(image, [size] * len(image))

    def _found(self, image: Tensor, features: dict[str, Tensor], number: int) -> list[Seen]:
        """The objects of one image, by itself: how sums are rounded depends on how many places there are in all."""
        size = (image.shape[2], image.shape[3])
        own = {name: level[number : number + 1] for name, level in features.items()}
        places, _ = self.places(ImageList(image[number : number + 1], [size]), own)
        (found,), _ = self.boxes(own, places, [size])
        return _cut_out(found, size)

    def _painted(self, seen: Sequence[Seen], size: Sequence[int]) -> Tensor:
        """Log-probabilities (class, y, x): of a class 1 - product of (1 - score x mask), of `other` what is left."""
        device = next(self.parameters()).device
        none = torch.zeros(self.classes, *size, device=device)  # log of the probability that no object is there
        for one in seen:
            none[(one.klass, *one.place)] += torch.log1p(-(one.score * one.mask).clamp(max=1 - NEVER))
        likely = torch.cat([none.sum(dim=0, keepdim=True).exp(), -torch.expm1(none[1:])])
        return likely.clamp(min=NEVER).log()


def _cut_out(found: Target, size: Sequence[int]) -> list[Seen]:
    """What was found in an image: each mask at the size of its box, cut at the image's border.

    As torchvision pastes masks, but without an image for each of them.
    """
    masks, scale = expand_masks(found["masks"], padding=1)  # (n, 1, 30, 30)
    boxes = expand_boxes(found["boxes"].detach(), scale).to(torch.int64).tolist()
    seen = []
    for mask, (x0, y0, x1, y1), score, klass in zip(
        masks, boxes, found["scores"], found["labels"].tolist(), strict=True
    ):
        wanted = (max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1))
        whole = functional.interpolate(mask[None], size=wanted, mode="bilinear", align_corners=False)[0, 0]
        rows, cols = slice(max(y0, 0), min(y1 + 1, size[0])), slice(max(x0, 0), min(x1 + 1, size[1]))
        if rows.start < rows.stop and cols.start < cols.stop:
            inside = whole[rows.start - y0 : rows.stop - y0, cols.start - x0 : cols.stop - x0]
            seen.append(Seen((rows, cols), inside, score, int(klass)))
    return seen
