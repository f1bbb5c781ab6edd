"""Pictures for people: the scene in true colours, class maps in their palette, side by side with a legend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.raster.classes import IGNORE, ClassMap
from tasks.raster.cube import BLOCK, BandStatistics, Cube
from tasks.raster.grid import Window, windows

RGB = ("red", "green", "blue")
EMPTY = (255, 255, 255)
"""The colour of nodata."""
SAMPLES = 4
"""Pixels along each side of a square that a small picture's pixel is the mean of, at most."""


def rgb_bands(names: Sequence[str]) -> tuple[int, ...]:
    """Three bands for a picture: red, green and blue where they have names, else the first three, else one thrice."""
    if set(RGB) <= set(names):
        return tuple(names.index(n) for n in RGB)
    return (0, 1, 2) if len(names) >= len(RGB) else (0, 0, 0)


def to_rgb(image: NDArray[Any], statistics: Sequence[BandStatistics]) -> NDArray[np.uint8]:
    """Three bands as a picture: uint8 as they are, others stretched from their 2nd to their 98th percentile.

    Args:
        image: (3, y, x), any dtype.
        statistics: one for each of these bands.

    Returns:
        (y, x, 3) uint8.
    """
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image.transpose(1, 2, 0))
    low = np.array([s.low for s in statistics])[:, None, None]
    high = np.array([s.high for s in statistics])[:, None, None]
    scaled = (np.nan_to_num(image.astype(np.float64)) - low) / np.maximum(high - low, 1e-9)
    return np.ascontiguousarray((scaled.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))


def scene_picture(cube: Cube, window: Window, *, side: int) -> NDArray[np.uint8]:
    """A window of the cube, shrunk by a whole factor to at most `side` pixels, nodata light grey; (y, x, 3) uint8."""
    bands = rgb_bands(cube.bands)
    statistics = [cube.statistics[b] for b in bands]

    def read(part: Window) -> NDArray[np.uint8]:
        image, valid = cube.read(part, bands=bands)
        picture = to_rgb(image, statistics)
        picture[~valid] = EMPTY
        return picture

    return _shrink(read, window, side=side)


def class_picture(
    read: Callable[[Window], NDArray[np.uint8]], window: Window, *, classes: ClassMap, side: int
) -> NDArray[np.uint8]:
    """A window of a class raster in its colours, shrunk as `scene_picture` does; (y, x, 3) uint8."""
    palette = classes.palette()
    palette[IGNORE] = EMPTY
    return _shrink(lambda part: read(part)[..., None], window, side=side, colour=lambda ids: palette[ids[..., 0]])


def coloured_pictures(
    read: Callable[[Window], NDArray[np.uint8]],
    colour: Callable[[NDArray[np.uint8]], Sequence[NDArray[np.uint8]]],
    window: Window,
    *,
    side: int,
) -> list[NDArray[np.uint8]]:
    """Several pictures (y, x, 3) of one window, each shrunk as `scene_picture` does, out of one pass over it.

    Args:
        read: gives rasters (y, x, raster) of a part.
        colour: makes pictures (..., 3) of (..., raster).
        window: of the scene.
        side: pixels of the longer side, at most.
    """
    whole = _shrink(read, window, side=side, colour=lambda ids: np.concatenate(colour(ids), axis=-1))
    return [np.ascontiguousarray(whole[..., n : n + len(RGB)]) for n in range(0, whole.shape[-1], len(RGB))]


def _shrink(
    read: Callable[[Window], NDArray[np.uint8]],
    window: Window,
    *,
    side: int,
    colour: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = lambda pixels: pixels,
) -> NDArray[np.uint8]:
    """Squares of pixels become one, the mean of their colours; of large squares, pixels spread evenly over them."""
    rows, cols = window
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    factor = -(-max(shape) // side)
    tall, wide = (min(factor, n) for n in shape)  # a strip thinner than the factor keeps one row
    small, out = (shape[0] // tall, shape[1] // wide), None
    down, across = (-(-n // SAMPLES) for n in (tall, wide))
    for small_rows, small_cols in windows(small, max(BLOCK // factor, 1)):
        pixels = read(
            (
                slice(rows.start + small_rows.start * tall, rows.start + small_rows.stop * tall),
                slice(cols.start + small_cols.start * wide, cols.start + small_cols.stop * wide),
            )
        )
        squares = pixels.reshape(pixels.shape[0] // tall, tall, pixels.shape[1] // wide, wide, -1)
        coloured = colour(squares[:, down // 2 :: down, :, across // 2 :: across])
        if out is None:
            out = np.zeros((*small, coloured.shape[-1]), np.uint8)
        out[small_rows, small_cols] = coloured.mean(axis=(1, 3)).round().astype(np.uint8)
    assert out is not None
    return out


def draw_panels(path: Path, panels: Sequence[tuple[str, NDArray[np.uint8]]], classes: ClassMap) -> None:
    """Write panels (title, picture) side by side as a PNG, with the legend of the classes below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    height, width = panels[0][1].shape[:2]
    inches = 5.0
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(inches * len(panels), inches * height / width + 0.8),
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, picture) in zip(axes[0], panels, strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=13)
        axis.set_axis_off()
    patches = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*c.colour), edgecolor="#888888", label=c.name)
        for c in classes.classes
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=11)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})
    plt.close(figure)
