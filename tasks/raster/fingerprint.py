"""What a tile's and a block's result depends on, as one short name: the plan, and the pixels that are seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.raster.cube import Cube, cells_of
from tasks.raster.tiling import Block, Tile, Tiling


def fingerprint(document: Mapping[str, Any], *arrays: NDArray[Any]) -> str:
    """128 bits of a JSON document and arrays, hexadecimal."""
    hasher = hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16)
    for array in arrays:
        hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Of the tiles and blocks of one prediction."""

    plan: str
    """Of everything but pixels that changes a bit of the result."""
    tiling: Tiling
    digests: NDArray[np.uint64]
    """(plane, row, column, 2) of the cells of the bands that the network takes, and of `valid`."""

    @classmethod
    def of(cls, plan: str, tiling: Tiling, cube: Cube, *, bands: tuple[int, ...]) -> Fingerprints:
        """The fingerprints of a cube's tiles and blocks."""
        return cls(plan, tiling, cube.digests[[*bands, len(cube.bands)]])

    def tile(self, tile: Tile) -> str:
        """The plan, the tile and the cells that it sees."""
        rows, cols = cells_of(self.tiling.extent(tile))
        return fingerprint({"plan": self.plan, "tile": tile}, self.digests[:, rows, cols])

    def block(self, block: Block) -> str:
        """The plan, the block and the cells that tiles with weight in it see."""
        extents = [self.tiling.extent(tile) for tile in self._corners(block)]
        around = (slice(extents[0][0].start, extents[1][0].stop), slice(extents[0][1].start, extents[1][1].stop))
        rows, cols = cells_of(around)
        document = {"plan": self.plan, "block": block, "side": self.tiling.block}
        return fingerprint(document, self.digests[:, rows, cols])

    def _corners(self, block: Block) -> tuple[Tile, Tile]:
        touching = self.tiling.touching(block)
        return touching[0], touching[-1]
