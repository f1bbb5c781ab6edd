"""Where scenes overlap: one on top of the other, the median of all, or one fading into the other.

Each pixel depends on what lies at most `FADE` pixels away and on nothing else, so blocks can be made alone and meet
without an edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.raster.grid import Window, grown, shape_of, within
from tasks.raster.layer import Layer, Part

Merge = Literal["over", "median", "feather"]
Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""Image (band, y, x), 0 where there is no data, and valid (y, x)."""

FADE = 64
"""Pixels from the edge of a scene's data over which it fades into what lies below."""
ROWS = 256
"""Rows of a median that are in memory at once, of all scenes."""


def merge_layers(layers: Iterable[Layer], window: Window, *, bands: int, dtype: str, merge: Merge) -> Pixels:
    """The pixels of a window of the common grid.

    Args:
        layers: the scenes on it, the lowest first.
        window: rows and columns.
        bands: how many planes each has.
        dtype: of the result.
        merge: "over", the last valid pixel; "median", of all valid ones, band by band; "feather", the mean of all valid
            ones, weighted by how far the edge of their scene's data is, up to `FADE` pixels.
    """
    there = [layer for layer in layers if layer.inside(window) is not None]
    way = _over if len(there) < 2 else _WAYS[merge]  # noqa: PLR2004 - nothing to merge
    return way(there, window, bands, dtype)


def _over(layers: list[Layer], window: Window, bands: int, dtype: str) -> Pixels:
    shape = shape_of(window)
    image, valid = None, np.zeros(shape, np.bool_)
    for part in _parts(layers, window, dtype):
        if image is None and part.valid.shape == shape:  # the common case: no second array, no second pass
            np.copyto(part.image, 0, where=~part.valid)
            image, valid = part.image, part.valid
            continue
        if image is None:
            image = np.zeros((bands, *shape), dtype)
        # Only valid pixels cover what lies below; the rest of a scene is no data of its own.
        np.copyto(image[:, part.place[0], part.place[1]], part.image, where=part.valid)
        valid[part.place] |= part.valid
    return np.zeros((bands, *shape), dtype) if image is None else image, valid


def _median(layers: list[Layer], window: Window, bands: int, dtype: str) -> Pixels:
    rows, cols = window
    shape = shape_of(window)
    image, valid = np.zeros((bands, *shape), dtype), np.zeros(shape, np.bool_)
    for top in range(rows.start, rows.stop, ROWS):
        band = slice(top, min(top + ROWS, rows.stop))
        stack = np.ma.masked_all((len(layers), bands, band.stop - band.start, shape[1]), np.float32)  # type: ignore[no-untyped-call]
        for n, part in enumerate(_parts(layers, (band, cols), dtype)):
            place = stack[n][:, part.place[0], part.place[1]]
            place[:, part.valid] = part.image[:, part.valid]
        middle = np.ma.median(stack, axis=0)  # type: ignore[no-untyped-call]
        here = slice(top - rows.start, band.stop - rows.start)
        valid[here] = ~np.ma.getmaskarray(middle).all(axis=0)
        image[:, here] = _round(np.where(valid[here], middle.filled(0), 0), dtype)
    return image, valid


def _feather(layers: list[Layer], window: Window, bands: int, dtype: str) -> Pixels:
    from scipy.ndimage import distance_transform_edt

    around = grown(window, FADE)
    inner = within(window, around)
    shape = shape_of(window)
    total, weights = np.zeros((bands, *shape), np.float64), np.zeros(shape, np.float64)
    for part in _parts(layers, around, dtype):
        data, image = np.zeros(shape_of(around), np.bool_), np.zeros((bands, *shape_of(around)), dtype)
        data[part.place] = part.valid
        image[:, part.place[0], part.place[1]] = part.image
        far = np.minimum(distance_transform_edt(np.pad(data, 1)), FADE)[1:-1, 1:-1][inner]
        total += far * np.where(data[inner], image[:, inner[0], inner[1]], 0)
        weights += far
    valid = weights > 0
    np.divide(total, weights, out=total, where=valid)
    return _round(total, dtype), valid


_WAYS: Mapping[Merge, Callable[[list[Layer], Window, int, str], Pixels]] = {
    "over": _over,
    "median": _median,
    "feather": _feather,
}


def _parts(layers: Iterable[Layer], window: Window, dtype: str) -> Iterable[Part]:
    return (part for part in (layer.read(window, dtype) for layer in layers) if part is not None)


def _round(pixels: NDArray[Any], dtype: str) -> NDArray[Any]:
    return (np.rint(pixels) if np.dtype(dtype).kind != "f" else pixels).astype(dtype)
