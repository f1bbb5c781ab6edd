"""Several scenes as one: the grid that holds them all, and their pixels on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.grid import Bounds, Control, Window, crop, grown, window_of
from tasks.raster.layer import Layer
from tasks.raster.merge import FADE, Merge, merge_layers
from tasks.raster.scene import Scene
from tasks.raster.warp import Target, footprint

ALIGNMENT = 0.01
"""Pixels by which any corner of a scene may be off the first one's pixel grid."""


@dataclass(frozen=True, slots=True)
class Union:
    """Scenes on one grid. Plain data: it travels to workers."""

    layers: tuple[Layer, ...]
    """The lowest first."""
    names: tuple[str, ...]
    """What the bands are called in the cube."""
    dtype: str
    grid: GeoBox
    merge: Merge = "over"

    @property
    def control(self) -> Control | None:
        """Ground control points of the grid, where one scene that has them is taken untouched."""
        first = self.layers[0]
        if len(self.layers) > 1 or first.resampling or first.scene.control is None:
            return None
        return first.scene.control.moved(*first.offset)

    def extent(self, name: str) -> tuple[int, int, int, int]:
        """First row and column of a scene on the grid, and those after its last."""
        layer = next(layer for layer in self.layers if layer.scene.name == name)
        top, left = (max(first, 0) for first in layer.offset)
        bottom, right = (
            min(first + length, end)
            for first, length, end in zip(layer.offset, layer.grid.shape, self.grid.shape, strict=True)
        )
        return top, left, bottom, right

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Pixels of one window: image (band, y, x), 0 where there is no data, and valid (y, x)."""
        return merge_layers(self.layers, window, bands=len(self.names), dtype=self.dtype, merge=self.merge)

    def read_one(self, number: int, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The same of one of its scenes alone."""
        only = (self.layers[number],)
        return merge_layers(only, window, bands=len(self.names), dtype=self.dtype, merge="over")

    def seen_in(self, window: Window) -> tuple[int, ...]:
        """Numbers of the scenes that a window's pixels may depend on."""
        around = grown(window, FADE if self.merge == "feather" else 0)
        return tuple(n for n, layer in enumerate(self.layers) if layer.inside(around) is not None)


def unite(
    scenes: tuple[Scene, ...],
    *,
    bands: tuple[str, ...],
    bounds: Bounds | None,
    dtype: str | None,
    target: Target | None = None,
    merge: Merge = "over",
) -> Union:
    """Put scenes on the smallest grid that holds them, or on what `bounds` names: a part of it; of a target, any place.

    Raises:
        UnusableInput: bands or dtype differ, the bounds miss the scenes, or CRS or pixel grid differ and no target is
            given.
    """
    first = scenes[0]
    if target is None:
        for other in scenes[1:]:
            _check_alike(first, other)
        for scene in scenes:
            _check_files(scene)
    names = _choose_bands(first, bands)
    if len(set(names)) < len(names):
        raise UnusableInput(f"The bands {', '.join(bands)} name one twice; name each once.")
    # By name where none are chosen, so that scenes of another band order fit and scenes of other bands are refused.
    chosen = [_choose_bands(scene, bands or names) for scene in scenes]
    read = [f for s, some in zip(scenes, chosen, strict=True) for f in s.files if set(some) & set(f.bands)]
    kinds = {"float32" if file.dtype == "float64" else file.dtype for file in read}
    if len(kinds) > 1 and dtype is None:
        raise UnusableInput(f"The scenes have pixels of types {', '.join(sorted(kinds))}; choose one with --dtype.")

    grids = [footprint(scene, target) if target else scene.grid for scene in scenes]
    corners = [_offset(grids[0], grid) for grid in grids]
    top, left = min(r for r, _ in corners), min(c for _, c in corners)
    bottom = max(r + g.shape[0] for (r, _), g in zip(corners, grids, strict=True))
    right = max(c + g.shape[1] for (_, c), g in zip(corners, grids, strict=True))
    grid = GeoBox((bottom - top, right - left), grids[0].affine @ Affine.translation(left, top), grids[0].crs)
    if bounds is not None:
        rows, cols = window_of(grid, bounds, beyond=target is not None)
        grid, top, left = crop(grid, (rows, cols)), top + rows.start, left + cols.start
    layers = tuple(
        Layer(scene, own, (r - top, c - left), some, target.resampling if target else None)
        for scene, own, (r, c), some in zip(scenes, grids, corners, chosen, strict=True)
    )
    return Union(layers, names, dtype or kinds.pop(), grid, merge)


def _check_alike(first: Scene, other: Scene) -> None:
    one, two = first.grid, other.grid
    in_space = all(s.grid.crs is None and s.placed is None and not s.grid.affine.is_identity for s in (first, other))
    if not in_space and (one.crs is None or two.crs is None):
        raise UnusableInput(
            f"{first.name if one.crs is None else other.name} has no CRS, so where it lies beside the others is "
            "unknown; say what it is in with --assume-crs, or ingest it alone."
        )
    if one.crs != two.crs:
        raise UnusableInput(f"{other.name} has another CRS than {first.name}; give --crs to warp them to one.")
    top, left = _offset(one, two)
    height, width = two.shape
    corners = ((0, 0), (width, 0), (0, height), (width, height))
    there = [~one.affine @ (two.affine @ corner) for corner in corners]
    if any(max(abs(x - c - left), abs(y - r - top)) > ALIGNMENT for (x, y), (c, r) in zip(there, corners, strict=True)):
        raise UnusableInput(
            f"{other.name} does not lie on the pixel grid of {first.name}; give --resolution to resample them to one."
        )


def _check_files(scene: Scene) -> None:
    for file in scene.beside:
        if file.grid != scene.grid:
            raise UnusableInput(
                f"The bands {', '.join(scene.bands)} and {', '.join(file.bands)} of {scene.name} lie on other pixel "
                "grids; give --resolution to resample them to one."
            )


def _offset(one: GeoBox, two: GeoBox) -> tuple[int, int]:
    col, row = ~one.affine @ (two.affine @ (0, 0))
    return round(row), round(col)


def _choose_bands(scene: Scene, wanted: tuple[str, ...]) -> tuple[str, ...]:
    chosen = []
    bands = scene.all_bands
    for want in wanted or bands:
        name = want.strip().lower()
        if name.isdigit() and 1 <= int(name) <= len(bands):
            name = bands[int(name) - 1]
        if name not in bands:
            known = ", ".join(f"{i} {band}" for i, band in enumerate(bands, 1))
            raise UnusableInput(f"{scene.name} has no band '{want}'; choose of its bands, {known}, with --bands.")
        chosen.append(name)
    return tuple(chosen)
