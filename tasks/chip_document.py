"""`dataset.json`: what a data set of chips is, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.balance import class_weights
from tasks.chip_plan import FORMAT_VERSION, ChipSetPlan
from tasks.chip_scenes import ChipScene
from tasks.dataset_params import ChipSetParams
from tasks.raster.band_tally import BandSummary
from tasks.raster.classes import IGNORE
from tasks.raster.grid import ground_resolution


def describe(plan: ChipSetPlan, params: ChipSetParams, bands: list[BandSummary]) -> dict[str, Any]:
    """The document.

    Args:
        plan: of the data set.
        params: what was asked for.
        bands: the training split's pixels in each band.
    """
    names, cube = plan.classes.names, plan.scenes[0].cube
    totals, chips = plan.totals(), np.bincount(plan.split, minlength=len(plan.splits)).tolist()
    weights = class_weights(totals[0].tolist()).tolist()
    return {
        "format_version": FORMAT_VERSION,
        "plan": plan.fingerprint,
        "chip": plan.chip,
        "gap": plan.chip,
        "by": params.by,
        "block": plan.block * plan.chip,
        "seed": params.seed,
        "least_labelled": params.least_labelled,
        "classes": [{"id": n, "name": c.name, "colour": list(c.colour)} for n, c in enumerate(plan.classes.classes)],
        "ignore": IGNORE,
        "bands": list(cube.bands),
        "dtype": cube.dtype.name,
        "attribution": owners(plan),
        "workspaces": [_workspace(plan, n, scene) for n, scene in enumerate(plan.scenes)],
        "splits": {
            split: {
                "share": params.shares[split],
                "chips": chips[n],
                "pixels": dict(zip(names, totals[n].tolist(), strict=True)),
            }
            for n, split in enumerate(plan.splits)
        },
        "left_out_for_the_gap": plan.apart,
        "class_weights": {name: round(weight, 6) for name, weight in zip(names, weights, strict=True)},
        "statistics": {
            "split": plan.splits[0],
            "bands": {name: band.to_json() for name, band in zip(cube.bands, bands, strict=True)},
        },
    }


def owners(plan: ChipSetPlan) -> list[str]:
    """Whose the scenes are, and what the labels were made from."""
    scenes = {source.attribution for scene in plan.scenes for source in scene.workspace.sources}
    labels = {str(scene.labels.about.get("attribution", "")) for scene in plan.scenes}
    return sorted((scenes | labels) - {""})


def _workspace(plan: ChipSetPlan, number: int, scene: ChipScene) -> dict[str, Any]:
    mine = plan.scene == number
    return {
        "name": scene.name,
        "scene": scene.cube.fingerprint,
        "place": int(plan.place[mine][0]) if mine.any() else None,
        "shape": list(scene.shape),
        "resolution": ground_resolution(scene.workspace.grid),
        "sources": [source.path.rpartition("/")[2] for source in scene.workspace.sources],
        "attribution": scene.workspace.owners,
        "labels": str(scene.labels.about["made_by"]),
        "chips": int(mine.sum()),
    }
