"""Outlines as two plain arrays, to be kept in numpy's .npz."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray


def pack_outlines(outlines: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The bytes of each outline's WKB by number, (n,), and all of them behind each other."""
    encoded = [bytes(one) for one in shapely.to_wkb(outlines)]
    return np.array([len(one) for one in encoded], np.int64), np.frombuffer(b"".join(encoded), np.uint8)


def unpack_outlines(lengths: NDArray[np.int64], wkb: NDArray[np.uint8]) -> NDArray[np.object_]:
    """The outlines (n,) that were packed."""
    data, ends = wkb.tobytes(), np.cumsum(lengths)
    encoded = [data[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
    outlines = np.empty(len(encoded), object)
    outlines[:] = shapely.from_wkb(encoded)
    return outlines
