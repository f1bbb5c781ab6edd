"""Objects of one chip set down in another: rare things are seen in more places than the scene has.

Ghiasi and others: Simple Copy-Paste (2021), arXiv:2012.07177, with the connected parts of a class for instances.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from models.chips import Chips
from models.metrics import IGNORE

LEAST, MOST = 64, 1 / 16
"""Pixels of the smallest object that is pasted, and share of the chip of the largest."""
COUNT = 8
"""Objects that are pasted into a chip, at most."""


def pasted(chips: Chips, *, share: float, rng: np.random.Generator) -> Chips:
    """Chips of which some have got objects of another, each where it lay there.

    An object is a connected part of a class that lies whole within its chip; what is `other` is none. It is pasted with
    its pixels, its certainty and the objects that it is told to be, where both chips have data, if the other's labels
    can tell its class.

    Args:
        chips: a batch; not changed.
        share: of the chips that get any.
        rng: decides.
    """
    images, labels = chips.images.copy(), chips.labels.copy()
    sure = None if chips.sure is None else chips.sure.copy()
    objects = None if chips.objects is None else chips.objects.copy()
    for taker in np.flatnonzero(rng.random(len(chips)) < share):
        if len(chips) == 1:
            break  # there is no other
        giver = int((taker + rng.integers(1, len(chips))) % len(chips))
        for klass, whole in _objects(chips.labels[giver], rng):
            mask = whole & chips.valid[taker] & chips.valid[giver]
            if not chips.told[taker, klass]:
                continue
            images[taker][:, mask] = chips.images[giver][:, mask]
            labels[taker][mask] = klass
            if sure is not None and chips.sure is not None:
                sure[taker][mask] = chips.sure[giver][mask]
            if objects is not None and chips.objects is not None:
                given = chips.objects[giver][mask]
                objects[taker][mask] = np.where(given > 0, given + objects[taker].max(), 0)
    return replace(chips, images=images, labels=labels, sure=sure, objects=objects)


def _objects(label: NDArray[np.uint8], rng: np.random.Generator) -> list[tuple[int, NDArray[np.bool_]]]:
    """Some objects of a chip (y, x): their classes and masks."""
    found: list[tuple[int, NDArray[np.int32], int]] = []
    side = label.shape[0]
    for klass in np.unique(label[(label != 0) & (label != IGNORE)]).tolist():
        count, parts, boxes, _ = cv2.connectedComponentsWithStats((label == klass).astype(np.uint8))
        for number in range(1, count):
            x, y, wide, high, area = boxes[number].tolist()
            inside = x > 0 and y > 0 and x + wide < side and y + high < side
            if inside and LEAST <= area <= MOST * label.size:
                found.append((klass, parts, number))
    chosen = (found[n] for n in rng.permutation(len(found))[:COUNT])
    return [(klass, parts == number) for klass, parts, number in chosen]
