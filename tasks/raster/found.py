"""What blocks find of a class, as it is kept in the workspace until the whole scene's is put together."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.raster.centre_lines import Walks
from tasks.raster.grid import Window
from tasks.raster.objects import Objects, Pieces
from tasks.raster.outline_bytes import pack_outlines, unpack_outlines

_SIDES = ("top", "bottom", "left", "right")
_WALKS = ("pixels", "starts", "beyond", "leaves", "likely", "half_widths", "measured", "nodes", "places", "last_rows")


@dataclass(frozen=True, slots=True)
class Areas:
    """A class's areas in one block."""

    whole: Objects
    """Outlines as they are drawn."""
    pieces: Pieces
    """Outlines along pixel edges."""


def key(unit: str) -> str:
    """Where a block's is kept."""
    return f"vectors/{unit}.npz"


def pack(areas: dict[int, Areas], lines: dict[int, Walks]) -> bytes:
    """What a block has, by class id, as bytes: numpy's .npz."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, found in areas.items():
        arrays |= _packed(f"{number}.whole", found.whole) | _packed(f"{number}.parts", found.pieces.parts)
        arrays |= {f"{number}.{side}": edge for side, edge in zip(_SIDES, found.pieces.edges, strict=True)}
    for number, walks in lines.items():
        arrays |= {f"{number}.{name}": getattr(walks, name) for name in _WALKS}
    target = io.BytesIO()
    np.savez_compressed(target, allow_pickle=False, **arrays)
    return target.getvalue()


def unpack_areas(data: bytes, number: int, window: Window) -> Areas:
    """A class's areas of a block."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        top, bottom, left, right = (arrays[f"{number}.{side}"] for side in _SIDES)
        parts = _unpacked(arrays, f"{number}.parts")
        return Areas(_unpacked(arrays, f"{number}.whole"), Pieces(window, parts, (top, bottom, left, right)))


def unpack_lines(data: bytes, number: int, window: Window) -> Walks:
    """A class's lines of a block."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return Walks(window, **{name: arrays[f"{number}.{name}"] for name in _WALKS})


def _packed(name: str, objects: Objects) -> dict[str, NDArray[Any]]:
    lengths, wkb = pack_outlines(objects.outlines)
    return {
        f"{name}.columns": np.stack([objects.ids, objects.pixels, objects.sums, objects.names]),
        f"{name}.lengths": lengths,
        f"{name}.wkb": wkb,
    }


def _unpacked(arrays: Any, name: str) -> Objects:
    outlines = unpack_outlines(arrays[f"{name}.lengths"], arrays[f"{name}.wkb"])
    ids, pixels, sums, names = arrays[f"{name}.columns"]
    return Objects(ids, pixels, sums, outlines, names.astype(np.uint32))
