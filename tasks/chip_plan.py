"""The plan of a data set of chips: which are cut, and which split each one is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.chip_scenes import ChipScene, Lattice, places
from tasks.dataset_params import ChipSetParams
from tasks.raster.classes import ClassMap
from tasks.raster.fingerprint import fingerprint
from tasks.raster.footprints import Plane
from tasks.raster.split_plan import Site, plan_splits

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ChipSetPlan:
    """The chips of all scenes, scene by scene and row by row; arrays are (chip, ...)."""

    scenes: tuple[ChipScene, ...]
    classes: ClassMap
    chip: int
    """Pixels a side."""
    splits: tuple[str, ...]
    scene: NDArray[np.int64]
    """Number of the chip's scene."""
    corner: NDArray[np.int64]
    """(chip, 2) first row and column."""
    split: NDArray[np.int64]
    """Number of its split."""
    place: NDArray[np.int64]
    pixels: NDArray[np.int64]
    """(chip, class)."""
    valid: NDArray[np.int64]
    confidence: NDArray[np.float64]
    outlines: NDArray[np.object_]
    crs: pyproj.CRS | None
    """Of the outlines; where it is None they are in columns and rows of their scene."""
    block: int
    """Chips a side of the blocks; 0 where whole places went to a split."""
    apart: int
    """Chips that were left out for the gap between splits."""
    fingerprint: str
    """Of all that the data set's bytes depend on."""

    def __len__(self) -> int:
        return len(self.scene)

    def name(self, number: int) -> str:
        """A chip's file name without its ending."""
        scene, (row, col) = self.scenes[self.scene[number]], self.corner[number]
        digits = len(str(max(scene.shape)))
        return f"{scene.name}_{row:0{digits}d}_{col:0{digits}d}"

    def totals(self) -> NDArray[np.int64]:
        """(split, class) pixels."""
        return np.stack([self.pixels[self.split == s].sum(axis=0) for s in range(len(self.splits))])


def plan_chip_set(scenes: Sequence[ChipScene], lattices: Sequence[Lattice], params: ChipSetParams) -> ChipSetPlan:
    """Plan which chips are cut and where they go.

    Raises:
        UnusableInput: too little is labelled, or a split would be left without a chip.
    """
    plane = Plane.of([(scene.workspace.grid, scene.workspace.control) for scene in scenes])
    place = places(scenes, plane)
    usable = [lattice.usable(least=params.least_labelled) for lattice in lattices]
    if not any(mask.any() for mask in usable):
        raise UnusableInput(
            f"No chip of {params.chip} pixels is labelled to {params.least_labelled:.0%}; label more of the scenes, or "
            "use a smaller --chip or a lower --least-labelled."
        )
    sites = [
        Site((mask.shape[0], mask.shape[1]), np.argwhere(mask), lattice.pixels[mask], int(number))
        for mask, lattice, number in zip(usable, lattices, place, strict=True)
    ]
    found = plan_splits(
        sites, plane, chip=params.chip, shares=params.shares, by_blocks=params.by == "blocks", seed=params.seed
    )
    kept, counted = found.kept, list(zip(lattices, usable, strict=True))
    return ChipSetPlan(
        scenes=tuple(scenes),
        classes=scenes[0].classes,
        chip=params.chip,
        splits=tuple(params.shares),
        scene=found.site[kept],
        corner=np.concatenate([site.at for site in sites])[kept] * params.chip,
        split=found.split[kept],
        place=place[found.site[kept]],
        pixels=np.concatenate([site.pixels for site in sites])[kept],
        valid=np.concatenate([lattice.valid[mask] for lattice, mask in counted])[kept],
        confidence=np.concatenate([lattice.confidence[mask] for lattice, mask in counted])[kept],
        outlines=found.outlines[kept],
        crs=found.crs,
        block=found.block,
        apart=int((~kept).sum()),
        fingerprint=_fingerprint(scenes, lattices, params),
    )


def _fingerprint(scenes: Sequence[ChipScene], lattices: Sequence[Lattice], params: ChipSetParams) -> str:
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "params": params.model_dump(mode="json"),
        "scenes": [
            [scene.name, scene.cube.fingerprint, lattice.digest, scene.workspace.owners, scene.classes.names]
            for scene, lattice in zip(scenes, lattices, strict=True)
        ],
    }
    return fingerprint(document)
