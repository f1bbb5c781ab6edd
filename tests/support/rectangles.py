"""Rectangles on dark ground, each of its own brightness, some side by side: objects to be told apart."""

import numpy as np
import torch

from models.card import ModelCard
from models.chips import Chips
from models.recipe import TrainSettings
from models.registry import build
from models.train import train

CARD = ModelCard(
    architecture="mask-rcnn", arguments={"encoder": "resnet18", "width": 32, "anchor": 16},
    bands=("red", "green", "blue"), mean=(90,) * 3, std=(40,) * 3, classes=("other", "building"),
    colours=((233, 229, 220), (214, 69, 65)), stride=32, tile=256, margin=32, ramp=32,
    lineage={"recipe": {"objects": ["building"]}},
)  # fmt: skip


class Bar:
    """Where the loop may tell how far it is."""

    def advance(self, amount=1.0):
        pass

    def say(self, text):
        pass


def network_of(seed=0, **arguments):
    """With random weights."""
    torch.manual_seed(seed)
    return build(CARD.architecture, CARD.arguments | arguments, bands=3, classes=2)


def run(folder, network, *, batches=None, resume=False, **settings):
    """A training."""
    chosen = TrainSettings(**{"chip": 128, "augment": None, "average": 0.9} | settings)
    return train(
        network, CARD, draw=batches or draw, validate=[draw(10_000, count=1)], settings=chosen, folder=folder,
        progress=Bar(), resume=resume,
    )  # fmt: skip


def drawn(shape, boxes, rng):
    """Image (3, y, x) uint8 and ids (y, x) int32 of rectangles y0, x0, y1, x1."""
    ids = np.zeros(shape, np.int32)
    image = rng.integers(40, 70, (3, *shape)).astype(np.uint8)
    for number, (y0, x0, y1, x1) in enumerate(boxes, 1):
        ids[y0:y1, x0:x1] = number
        image[:, y0:y1, x0:x1] += np.uint8((50, 110, 170)[number % 3])
    return image, ids


def scattered(side, rng):
    """Rectangles that do not overlap; after most of them comes another, right beside it."""
    boxes, taken = [], np.zeros((side, side), bool)
    for _ in range(8):
        h, w = rng.integers(18, 40, 2).tolist()
        y, x = rng.integers(0, side - h), rng.integers(0, side - w)
        for left, right in ((x, x + w), (x + w, x + 2 * w)):
            if right <= side and not taken[max(y - 3, 0) : y + h + 3, left:right].any():
                boxes.append((y, left, y + h, right))
        taken[max(y - 3, 0) : y + h + 3, max(x - 3, 0) : x + 2 * w + 3] = True
    return boxes


def draw(step, side=128, count=2):
    """Chips of a step."""
    rng = np.random.default_rng([3, step])
    images, ids = zip(*(drawn((side, side), scattered(side, rng), rng) for _ in range(count)), strict=True)
    objects = np.stack(ids)
    labels = (objects > 0).astype(np.uint8)
    return Chips(np.stack(images), labels, np.ones(labels.shape, bool), np.ones((count, 2), bool), None, objects)
