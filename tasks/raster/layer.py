"""A scene on the grid that it shares with others: its pixels there, untouched or warped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from tasks.raster.grid import Window
from tasks.raster.scene import Scene, read_scene
from tasks.raster.warp import Resampling, read_warped


@dataclass(frozen=True, slots=True)
class Part:
    """What a layer shows in a window."""

    place: Window
    """Rows and columns within the window."""
    image: NDArray[Any]
    """(band, y, x)."""
    valid: NDArray[np.bool_]
    """(y, x)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One scene on the grid. Plain data: it travels to workers, who open the file themselves."""

    scene: Scene
    grid: GeoBox
    """Its pixels of the common grid: the scene's own, or its footprint where it is warped."""
    offset: tuple[int, int]
    """Row and column of its first pixel on the common grid; negative where bounds cut it."""
    bands: tuple[str, ...]
    """The bands to read."""
    resampling: Resampling | None
    """None where pixels are taken untouched."""

    def inside(self, window: Window) -> Window | None:
        """The layer's own pixels that lie in a window of the common grid; None where none do."""
        rows, cols = (
            slice(max(s.start - first, 0), min(s.stop - first, length))
            for s, first, length in zip(window, self.offset, self.grid.shape, strict=True)
        )
        return (rows, cols) if rows.start < rows.stop and cols.start < cols.stop else None

    def read(self, window: Window, dtype: str) -> Part | None:
        """What it shows in a window of the common grid; None where it does not reach."""
        inside = self.inside(window)
        if inside is None:
            return None
        image, valid = self._read_files(inside)
        rows, cols = (
            slice(own.start + first - all_.start, own.stop + first - all_.start)
            for own, first, all_ in zip(inside, self.offset, window, strict=True)
        )
        return Part((rows, cols), _convert(image, np.dtype(dtype)), valid)

    def _read_files(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Its bands out of as many files as they lie in; a pixel is valid where one of them has data."""
        found: dict[str, NDArray[Any]] = {}
        valid = None
        for file in self.scene.files:
            names = tuple(name for name in self.bands if name in file.bands)
            if not names:
                continue
            if self.resampling is None:
                image, data = read_scene(file, window, bands=names)
            else:
                image, data = read_warped(file, self.grid, window, bands=names, resampling=self.resampling)
            if len(names) == len(self.bands):
                return image, data
            found |= zip(names, image, strict=True)
            valid = data if valid is None else valid | data
        assert valid is not None
        return np.stack([found[name] for name in self.bands]), valid


def _convert(part: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Pixels in another dtype; an integer one rounds and saturates, as GDAL does, and takes NaN as 0."""
    if dtype.kind == "f" or part.dtype == dtype:
        return part.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    whole = np.rint(np.nan_to_num(part)) if part.dtype.kind == "f" else part
    return whole.clip(limits.min, limits.max).astype(dtype)
