"""Every region that SAM sees in a window, without prompts: segment-anything's own generator, with less work.

`SamAutomaticMaskGenerator` encodes the window itself, enlarges all three masks of every point of its grid, and throws
most of them away. Here a window that is encoded is used, what its predicted quality rules out is not enlarged, and
masks are kept as bits. Its masks are the same but for rounding (`models/sam_mask_decoder.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.utils.amg import batched_mask_to_box, build_point_grid, calculate_stability_score
from segment_anything.utils.amg import remove_small_regions as remove_small
from torch import Tensor
from torchvision.ops.boxes import batched_nms

from models.segmenter import EncodedWindow, Prompts

DUPLICATE = 0.7
"""Intersection over union of two masks' boxes above which the worse is dropped (the package's default)."""
OFFSET = 1.0
"""Logits by which the cut of a mask is moved, up and down, to see how stable it is (the package's default)."""
SMALL = 0.002
"""Share of the window up to which a mask covers points: what is larger may be ground or a block that objects lie on. A
larger share loses masks and saves little: most points lie in no good mask (`benchmarks.automatic` counts both)."""


@dataclass(frozen=True, slots=True)
class Regions:
    """Masks of one window, largest first: a part comes after what it is part of."""

    masks: NDArray[np.bool_]
    """(n, y, x)."""
    scores: NDArray[np.float32]
    """(n,) the IoU that SAM predicts for its own mask, 0..1 or a little above."""
    stability: NDArray[np.float32]
    """(n,) IoU of the mask cut at two thresholds, 0..1."""


@torch.inference_mode()
def automatic_masks(
    window: EncodedWindow,
    *,
    points_per_side: int = 16,
    least_score: float = 0.8,
    least_stability: float = 0.9,
    least_area: int = 64,
    batch: int = 16,
    every_point: bool = False,
) -> Regions:
    """The masks of a grid of single points that are good, stable and not duplicates.

    Points are asked from a coarse grid to the finest, and those that a good mask covers already are passed over.

    The package's thresholds (0.88, 0.95) were chosen for ViT-H; ViT-T's masks of aerial scenes score lower.

    Args:
        window: from `open_window`.
        points_per_side: of the grid; time grows with its square.
        least_score: least predicted IoU.
        least_stability: least stability.
        least_area: pixels; smaller masks are dropped, smaller holes and islands filled.
        batch: points decoded at once; each takes about 25 MB for its three masks.
        every_point: pass none over.
    """
    height, width = window.shape
    found = _Found(height, width)
    grid = build_point_grid(points_per_side) * [width, height]
    column, row = grid.astype(np.intp).T
    for numbers in _rounds(points_per_side):
        waiting = numbers
        while len(waiting):
            if not every_point:
                waiting = waiting[~found.covered[row[waiting], column[waiting]]]
            asked, waiting = waiting[:batch], waiting[batch:]
            if len(asked):
                found.take(*_good(window, grid[asked], least_score, least_stability))
    return found.regions(least_area)


def _rounds(side: int) -> list[NDArray[np.intp]]:
    """Numbers of the points of a grid, from every eighth of both axes to those that are left."""
    numbers = np.arange(side * side).reshape(side, side)
    left, found = np.ones((side, side), bool), []
    for step in (8, 4, 2, 1):
        chosen = np.zeros_like(left)
        chosen[step // 2 :: step, step // 2 :: step] = True
        found.append(numbers[chosen & left])
        left &= ~chosen
    return found


def _good(
    window: EncodedWindow, points: NDArray[np.float64], least_score: float, least_stability: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Masks (n, y, x), predicted IoU and stability of those that are good enough, of three a point."""
    low, scores = window.sam.decode(window, Prompts(points=points[:, None]), multimask=True, least=least_score)
    keep = scores.flatten() > least_score
    low, scores = low.flatten(0, 1)[keep], scores.flatten()[keep]
    masks = window.sam.enlarge(low, window.shape)
    stability = calculate_stability_score(masks, 0.0, OFFSET)
    keep = stability >= least_stability
    return (masks > 0)[keep], scores[keep], stability[keep]


class _Found:
    """Masks as they come, eight pixels a byte."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = height, width
        self.packed: list[NDArray[np.uint8]] = []
        self.boxes: list[Tensor] = []
        self.scores: list[float] = []
        self.stability: list[float] = []
        self.covered = np.zeros((height, width), bool)
        """(y, x) of masks that are so small that no others lie within them."""

    def take(self, masks: Tensor, scores: Tensor, stability: Tensor) -> None:
        """Keep masks (n, y, x)."""
        if len(masks):
            found = masks.cpu().numpy()
            self.packed += [np.packbits(mask) for mask in found]
            small = np.count_nonzero(found, axis=(1, 2)) <= SMALL * self.covered.size
            self.covered |= found[small].any(axis=0)
            self.boxes += list(batched_mask_to_box(masks).cpu())
            self.scores += scores.tolist()
            self.stability += stability.tolist()

    def regions(self, least_area: int) -> Regions:
        """What is left without duplicates and specks."""
        chosen = self._best(self.boxes, self.scores)
        masks = [self._unpacked(n) for n in chosen]
        if least_area:
            tidy = [tidied(mask, least_area) for mask in masks]
            masks = [mask for mask, _ in tidy]
            boxes = [batched_mask_to_box(torch.from_numpy(mask)) for mask in masks]
            left = self._best(boxes, [float(not changed) for _, changed in tidy])
            chosen, masks = [chosen[n] for n in left], [masks[n] for n in left]
        area = np.array([np.count_nonzero(mask) for mask in masks])
        order = [n for n in np.argsort(-area, kind="stable") if area[n] >= least_area]
        return Regions(
            np.array([masks[n] for n in order], bool).reshape(len(order), *self.shape),
            np.array([self.scores[chosen[n]] for n in order], np.float32),
            np.array([self.stability[chosen[n]] for n in order], np.float32),
        )

    def _unpacked(self, number: int) -> NDArray[np.bool_]:
        height, width = self.shape
        return np.unpackbits(self.packed[number], count=height * width).reshape(height, width).astype(bool)

    def _best(self, boxes: list[Tensor], scores: list[float]) -> list[int]:
        if not boxes:
            return []
        kept: list[int] = batched_nms(
            torch.stack(boxes).float(), torch.tensor(scores), torch.zeros(len(boxes)), DUPLICATE
        ).tolist()
        return kept


def tidied(mask: NDArray[np.bool_], least_area: int) -> tuple[NDArray[np.bool_], bool]:
    """A mask (y, x) without holes and islands of fewer pixels, and whether it had any."""
    mask, holes = remove_small(mask, least_area, mode="holes")
    mask, islands = remove_small(mask, least_area, mode="islands")
    return mask, holes or islands
