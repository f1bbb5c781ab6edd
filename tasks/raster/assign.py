"""Who runs which tile: each tile once, by the first block that still lacks it.

In a fresh run that is the tile's owner. In a repair, where the owner is done and its strips are gone, it is the first
of the blocks to be redone that the tile reaches, which hands strips to the others. Since that block always comes
first row by row, a block waits only for blocks before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tasks.raster.tiling import Block, Tile, Tiling


@dataclass(frozen=True, slots=True)
class Work:
    """What one block has to do."""

    block: Block
    tiles: Mapping[Tile, tuple[Block, ...]]
    """The tiles that it runs, and the blocks that each is for."""
    after: tuple[Block, ...]
    """The blocks that run other tiles it needs; all come before it, row by row."""


def assign(tiling: Tiling, pending: Collection[Block], present: Mapping[Block, Collection[Tile]]) -> list[Work]:
    """Share out the tiles that blocks still lack.

    Args:
        tiling: the scene's.
        pending: blocks that are not done.
        present: tiles whose contribution to a block is stored already.

    Returns:
        One for each pending block, row by row.
    """
    pending = frozenset(pending)
    tiles: dict[Block, dict[Tile, tuple[Block, ...]]] = {block: {} for block in pending}
    after: dict[Block, set[Block]] = {block: set() for block in pending}
    seen: set[Tile] = set()
    for block in sorted(pending):
        for tile in tiling.touching(block):
            if tile in seen:
                continue
            seen.add(tile)
            lacking = [b for b in tiling.touched(tile) if b in pending and tile not in present.get(b, ())]
            if lacking:
                tiles[lacking[0]][tile] = tuple(lacking)
                for other in lacking[1:]:
                    after[other].add(lacking[0])
    return [Work(block, tiles[block], tuple(sorted(after[block]))) for block in sorted(pending)]
