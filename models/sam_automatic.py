"""Every region that SAM sees in a window, without prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam


@dataclass(frozen=True, slots=True)
class Regions:
    """Masks of one window, largest first: painted in this order, parts lie on top of what they are part of."""

    masks: NDArray[np.bool_]
    """(n, y, x)."""
    scores: NDArray[np.float32]
    """(n,) the IoU that SAM predicts for its own mask, 0..1 or a little above."""
    stability: NDArray[np.float32]
    """(n,) IoU of the mask cut at two thresholds, 0..1."""


def automatic_masks(
    sam: Sam,
    image: NDArray[np.uint8],
    *,
    points_per_side: int = 16,
    least_score: float = 0.8,
    least_stability: float = 0.9,
    least_area: int = 64,
    batch: int = 16,
) -> Regions:
    """The masks of a grid of single points that are good, stable and not duplicates.

    The package's thresholds (0.88, 0.95) were chosen for ViT-H; ViT-T's masks of aerial scenes score lower.

    Args:
        sam: from `load_sam`.
        image: (y, x, 3) uint8 RGB, any size.
        points_per_side: of the grid; time grows with its square.
        least_score: least predicted IoU.
        least_stability: least stability.
        least_area: pixels; smaller masks are dropped, smaller holes and islands filled.
        batch: points decoded at once; each takes about 25 MB for its three masks.
    """
    generator = SamAutomaticMaskGenerator(
        sam,
        points_per_side=points_per_side,
        points_per_batch=batch,
        pred_iou_thresh=least_score,
        stability_score_thresh=least_stability,
        min_mask_region_area=least_area,
    )
    found = [r for r in generator.generate(np.ascontiguousarray(image)) if r["area"] >= least_area]
    found.sort(key=lambda region: region["area"], reverse=True)
    return Regions(
        np.array([r["segmentation"] for r in found], bool).reshape(len(found), *image.shape[:2]),
        np.array([r["predicted_iou"] for r in found], np.float32),
        np.array([r["stability_score"] for r in found], np.float32),
    )
