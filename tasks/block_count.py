"""What an ingested block adds to the whole, as the ledger keeps it."""

from __future__ import annotations

import base64
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.raster import cube as cubes
from tasks.raster.statistics import BandCount


@dataclass(frozen=True, slots=True)
class BlockCount:
    """What one block adds to the whole."""

    bands: tuple[BandCount, ...]
    cells: cubes.BlockCells
    scenes: dict[str, str]
    """A hash of each scene that reaches it, by its path."""


def pack(count: BlockCount) -> dict[str, Any]:
    """As JSON, for the ledger."""
    return {
        "digests": _text(count.cells.digests),
        "counts": _text(count.cells.counts),
        "cells": list(count.cells.counts.shape),
        "scenes": count.scenes,
        "bands": [asdict(band) | {"packed": base64.b64encode(band.packed).decode()} for band in count.bands],
    }


def unpack(facts: Any) -> BlockCount:
    """What `pack` made JSON of."""
    rows, cols = facts["cells"]
    digests = _array(facts["digests"], np.uint64).reshape(-1, rows, cols, 2)
    counts = _array(facts["counts"], np.uint32).reshape(rows, cols)
    bands = tuple(
        BandCount(**(band | {"edges": tuple(band["edges"]), "packed": base64.b64decode(band["packed"])}))
        for band in facts["bands"]
    )
    return BlockCount(bands, cubes.BlockCells(digests, counts), dict(facts["scenes"]))


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(array.tobytes())).decode()


def _array(text: str, dtype: Any) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)
