"""Several scenes as one: the grid that holds them all, and their pixels on it, the last scene on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.grid import Bounds, Window, crop, window_of
from tasks.raster.scene import Scene, read_scene

ALIGNMENT = 0.01
"""Pixels by which any corner of a scene may be off the first one's pixel grid."""


@dataclass(frozen=True, slots=True)
class Union:
    """Scenes on one grid. Plain data: it travels to workers, who open the files themselves."""

    scenes: tuple[Scene, ...]
    offsets: tuple[tuple[int, int], ...]
    """Row and column of each scene's first pixel on the grid; negative where the bounds cut it."""
    bands: tuple[tuple[str, ...], ...]
    """The bands to read of each scene."""
    names: tuple[str, ...]
    """What they are called in the cube."""
    dtype: str
    grid: GeoBox

    def read(self, window: Window, *, only: int | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Pixels of one window: image (band, y, x), 0 where there is no data, and valid (y, x)."""
        rows, cols = window
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        image, valid = None, np.zeros(shape, bool)
        for number, (scene, (top, left)) in enumerate(zip(self.scenes, self.offsets, strict=True)):
            if only not in (None, number):
                continue
            inside = tuple(
                slice(max(s.start - offset, 0), min(s.stop - offset, length))
                for s, offset, length in zip(window, (top, left), scene.grid.shape, strict=True)
            )
            if any(s.stop <= s.start for s in inside):
                continue
            part, data = read_scene(scene, (inside[0], inside[1]), bands=self.bands[number])
            part = _convert(part, np.dtype(self.dtype))
            if image is None and data.shape == shape:  # the common case: no second array, no second pass
                np.copyto(part, 0, where=~data)
                image, valid = part, data
                continue
            if image is None:
                image = np.zeros((len(self.names), *shape), self.dtype)
            y, x = inside[0].start + top - rows.start, inside[1].start + left - cols.start
            place = np.s_[y : y + data.shape[0], x : x + data.shape[1]]
            # Only valid pixels cover what lies below; the rest of a scene is no data of its own.
            np.copyto(image[(slice(None), *place)], part, where=data)
            valid[place] |= data
        return np.zeros((len(self.names), *shape), self.dtype) if image is None else image, valid


def unite(scenes: tuple[Scene, ...], *, bands: tuple[str, ...], bounds: Bounds | None, dtype: str | None) -> Union:
    """Put scenes on the smallest grid that holds them, or on the part of it that `bounds` names.

    Raises:
        UnusableInput: CRS, pixel grid, bands or dtype differ, or the bounds miss the scenes.
    """
    first = scenes[0]
    for other in scenes[1:]:
        _check_alike(first, other)
    names = _choose_bands(first, bands)
    if len(set(names)) < len(names):
        raise UnusableInput(f"The bands {', '.join(bands)} name one twice; name each once.")
    # By name where none are chosen, so that scenes of another band order fit and scenes of other bands are refused.
    chosen = tuple(_choose_bands(scene, bands or names) for scene in scenes)
    kinds = {"float32" if s.dtype == "float64" else s.dtype for s in scenes}
    if len(kinds) > 1 and dtype is None:
        raise UnusableInput(f"The scenes have pixels of types {', '.join(sorted(kinds))}; choose one with --dtype.")
    corners = [_offset(first.grid, scene.grid) for scene in scenes]
    top, left = min(r for r, _ in corners), min(c for _, c in corners)
    bottom = max(r + s.grid.shape[0] for (r, _), s in zip(corners, scenes, strict=True))
    right = max(c + s.grid.shape[1] for (_, c), s in zip(corners, scenes, strict=True))
    grid = GeoBox((bottom - top, right - left), first.grid.affine @ Affine.translation(left, top), first.grid.crs)
    if bounds is not None:
        rows, cols = window_of(grid, bounds)
        grid, top, left = crop(grid, (rows, cols)), top + rows.start, left + cols.start
    offsets = tuple((r - top, c - left) for r, c in corners)
    return Union(scenes, offsets, chosen, names, dtype or kinds.pop(), grid)


def _check_alike(first: Scene, other: Scene) -> None:
    one, two = first.grid, other.grid
    if one.crs is None or two.crs is None:
        raise UnusableInput(
            f"{first.path if one.crs is None else other.path} has no CRS, so where it lies beside the others is "
            "unknown; ingest it alone."
        )
    if one.crs != two.crs:
        raise UnusableInput(f"{other.path} has another CRS than {first.path}; warp them to one CRS first.")
    top, left = _offset(one, two)
    height, width = two.shape
    corners = ((0, 0), (width, 0), (0, height), (width, height))
    there = [~one.affine @ (two.affine @ corner) for corner in corners]
    if any(max(abs(x - c - left), abs(y - r - top)) > ALIGNMENT for (x, y), (c, r) in zip(there, corners, strict=True)):
        raise UnusableInput(
            f"{other.path} does not lie on the pixel grid of {first.path}; resample it to that grid first."
        )


def _offset(one: GeoBox, two: GeoBox) -> tuple[int, int]:
    col, row = ~one.affine @ (two.affine @ (0, 0))
    return round(row), round(col)


def _convert(part: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Pixels in another dtype; an integer one rounds and saturates, as GDAL does, and takes NaN as 0."""
    if dtype.kind == "f" or part.dtype == dtype:
        return part.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    whole = np.rint(np.nan_to_num(part)) if part.dtype.kind == "f" else part
    return whole.clip(limits.min, limits.max).astype(dtype)


def _choose_bands(scene: Scene, wanted: tuple[str, ...]) -> tuple[str, ...]:
    chosen = []
    for want in wanted or scene.bands:
        name = want.strip().lower()
        if name.isdigit() and 1 <= int(name) <= len(scene.bands):
            name = scene.bands[int(name) - 1]
        if name not in scene.bands:
            known = ", ".join(f"{i} {band}" for i, band in enumerate(scene.bands, 1))
            raise UnusableInput(f"{scene.path} has no band '{want}'; its bands are {known}.")
        chosen.append(name)
    return tuple(chosen)
