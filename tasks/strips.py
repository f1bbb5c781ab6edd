"""What blocks leave for each other and for later, in the workspace's store: strips of tiles, and parked sums.

Names say of which tile and pixels a thing is, so that what is stale is never taken; what is damaged is removed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from infra.errors import GeoloomError
from infra.store import Store
from tasks.raster.fingerprint import Fingerprints, fingerprint
from tasks.raster.tiling import Block, Tile, Tiling
from tasks.raster.weave import Cloth, unpack_strip


def name(block: Block) -> str:
    """A block's name in the ledger and among the strips."""
    return f"{block[0]}_{block[1]}"


def strip_key(block: Block, tile: Tile, prints: Fingerprints, *, lost: bool = False) -> str:
    """Where a tile's contribution to another block lies."""
    return f"strips/{name(block)}/{tile[0]}_{tile[1]}.{prints.tile(tile)}{'.lost' if lost else ''}"


def park_key(block: Block, prints: Fingerprints, tiles: Mapping[Tile, object]) -> str:
    """Where a block parks the sum of the tiles that it ran itself."""
    own = fingerprint({"tiles": [prints.tile(tile) for tile in sorted(tiles)]})
    return f"strips/{name(block)}/own.{own}"


def take_strip(store: Store, block: Block, tile: Tile, prints: Fingerprints) -> tuple[NDArray[np.uint8] | None] | None:
    """A strip; None where there is none; a tuple of None where the tile failed."""
    key = strip_key(block, tile, prints)
    packed = store.read(key)
    if packed is None:
        return (None,) if store.exists(strip_key(block, tile, prints, lost=True)) else None
    try:
        return (unpack_strip(packed),)
    except ValueError as error:
        store.delete([key])
        raise GeoloomError(f"{store.url}/{key} was damaged and is removed; run the same command again.") from error


def take_parked(store: Store, tiling: Tiling, block: Block, key: str) -> Cloth | None:
    """What a block has parked; None where there is nothing, or what there was is damaged and has been removed."""
    packed = store.read(key)
    if packed is None:
        return None
    try:
        return Cloth.unpack(tiling, block, packed)
    except ValueError:
        store.delete([key])
        return None


def has_parked(store: Store, tiling: Tiling, block: Block, key: str) -> bool:
    """Whether a block has parked a sum that can be gone on with; one that lacks a tile that failed is removed."""
    if not store.exists(key):
        return False
    cloth = take_parked(store, tiling, block, key)
    if cloth is not None and cloth.lost:
        store.delete([key])
        return False
    return cloth is not None
