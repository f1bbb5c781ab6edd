"""A scene on another grid: its pixels warped window by window.

GDAL's warper does the work on windows that are read as always, with validity as an alpha plane: so nodata, masks, alpha
and NaN all count alike, and an invalid pixel never bleeds into its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from affine import Affine, TransformNotInvertibleError
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput, UnusableScene
from tasks.raster.gdal import UNPLACEABLE, rasterio
from tasks.raster.georeference import named_crs
from tasks.raster.grid import Window, crop
from tasks.raster.scene import Scene, open_scene, read_open

Resampling = Literal["nearest", "bilinear", "cubic", "average", "lanczos"]

REACH = 4
"""Source pixels around a window that a kernel may reach, and the approximation of its outline may miss."""
EDGE = 21
"""Points along each side, and across, of the net by which a window is found in the source."""
MOST = 2.0
"""Source pixels to a target pixel, along a side, from which the source is read at a coarser level."""
COARSEST = 16
"""Pixels a side of a scene that may become one and still be meant."""
HALF = 0.5
"""Share of a pixel that must be data."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where scenes shall lie."""

    crs: str
    """WKT."""
    resolution: float
    """Units of the CRS a pixel; pixel edges lie on its multiples."""
    resampling: Resampling


def choose_target(scene: Scene, crs: str | None, resolution: float | None, resampling: Resampling) -> Target:
    """The target that a user's words mean, with what is left out as the scene has it.

    Raises:
        UnusableInput: the scene lies nowhere, or there is no such CRS.
    """
    if scene.placed is None:
        raise UnusableInput(
            f"{scene.name} has no CRS, no ground control points and no RPCs, so it cannot be warped; say what its "
            "coordinates are in with --assume-crs, or leave out --crs and --resolution."
        )
    wanted = named_crs(crs or scene.placed)
    if not (wanted.is_geographic or wanted.is_projected):
        raise UnusableInput(f"'{crs}' is no CRS of a map; give a projected or a geographic one, such as EPSG:32616.")
    if resolution is None:
        with open_scene(scene) as source, _placing(scene):
            resolution = _Place(source, scene).resolution_in(wanted)
    return Target(wanted.to_wkt(), resolution, resampling)


def footprint(scene: Scene, target: Target) -> GeoBox:
    """The pixels of a target that a scene may cover.

    Raises:
        UnusableInput: the scene lies nowhere, or outside the CRS.
    """
    if scene.placed is None:
        raise UnusableInput(
            f"{scene.name} has no CRS, no ground control points and no RPCs, so its place beside the others is "
            "unknown; say what its coordinates are in with --assume-crs, or ingest it alone."
        )
    wanted = rasterio.crs.CRS.from_wkt(target.crs)
    with open_scene(scene) as source, _placing(scene):
        xs, ys = _Place(source, scene).net_in(wanted)
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise UnusableInput(f"{scene.name} does not lie within the CRS asked for; choose one that covers it.")
    size = target.resolution
    left, top = math.floor(xs.min() / size), math.ceil(ys.max() / size)
    shape = (top - math.floor(ys.min() / size), math.ceil(xs.max() / size) - left)
    if min(shape) <= 1 < min(scene.grid.shape) / COARSEST:
        raise UnusableInput(
            f"A pixel of {size:g} {wanted.linear_units if wanted.is_projected else 'degrees'} would hold all of "
            f"{scene.name}; give --resolution in units of the CRS."
        )
    return GeoBox(shape, Affine(size, 0, left * size, 0, -size, top * size), target.crs)


def read_warped(
    scene: Scene, grid: GeoBox, window: Window, *, bands: tuple[str, ...], resampling: Resampling
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read one window of a scene's footprint.

    Args:
        scene: from `describe_scene`.
        grid: its footprint.
        window: rows and columns of the footprint.
        bands: names of the bands wanted, in this order.
        resampling: GDAL's name of the kernel.

    Returns:
        image (band, y, x) in the scene's dtype, 0 where invalid, and valid (y, x): at least half of the pixel is data.

    Raises:
        UnusableInput: these pixels are truncated or corrupt.
    """
    target = crop(grid, window)
    image = np.zeros((len(bands), *target.shape), scene.dtype)
    with open_scene(scene) as source, _placing(scene):
        place = _Place(source, scene)
        part = place.window_of(target)
        if part is None:
            return image, np.zeros(target.shape, np.bool_)
        rows, cols = part
        sides = zip((rows, cols), target.shape, strict=True)
        ratio = min((s.stop - s.start) / length for s, length in sides)
        step = max(int(ratio / MOST), 1) if resampling != "nearest" else 1
        shape = tuple(-(-(s.stop - s.start) // step) for s in part)
        pixels, data = read_open(source, scene, part, bands=bands, shape=(shape[0], shape[1]))
        scale = [(s.stop - s.start) / n for s, n in zip(part, shape, strict=True)]
        most = 255 if np.dtype(scene.dtype) == np.uint8 else 32767
        stack = np.concatenate([np.where(data, pixels, 0), (data * most).astype(pixels.dtype)[None]])
        warped = np.zeros((len(bands) + 1, *target.shape), stack.dtype)
        rasterio.warp.reproject(
            stack,
            warped,
            **place.shifted(rows.start, cols.start, scale[0], scale[1]),
            dst_transform=target.affine,
            dst_crs=_crs(target),
            src_alpha=len(stack),
            dst_alpha=len(stack),
            resampling=rasterio.enums.Resampling[resampling],
            num_threads=1,
            SRC_ALPHA_MAX=str(most),
            DST_ALPHA_MAX=str(most),
        )
    valid = warped[-1] >= HALF * most
    np.copyto(image, warped[:-1], where=valid)
    return image, valid


@contextmanager
def _placing(scene: Scene) -> Iterator[None]:
    """What PROJ and GDAL cannot transform becomes one sentence."""
    try:
        yield
    except (*UNPLACEABLE, TransformNotInvertibleError) as error:
        # PROJ may print a whole CRS, from a brace on.
        why = str(error).strip().partition("\n")[0].partition(" from '{")[0].rstrip(". ")
        raise UnusableScene(
            f"{scene.name} cannot be brought into the CRS asked for ({why}); choose another --crs, or mend what places "
            "the scene.",
            scene.path,
        ) from error


class _Place:
    """Where an open raster's pixels lie: by its transform, its ground control points or its RPCs."""

    def __init__(self, source: Any, scene: Scene) -> None:
        self._shape = source.shape
        self._gcps, crs = source.gcps
        self._rpcs: Any = None
        if scene.grid.crs is not None:
            self._kind, self.crs, self._transform = "transform", _crs(scene.grid), scene.grid.affine
            self._transformer: Any = rasterio.transform.AffineTransformer(self._transform)
        elif self._gcps:
            self._kind, self.crs = "gcps", crs
            self._transformer = rasterio.transform.GCPTransformer(self._gcps)
        else:
            self._kind, self.crs, self._rpcs = "rpcs", rasterio.crs.CRS.from_epsg(4326), source.rpcs
            self._transformer = rasterio.transform.RPCTransformer(source.rpcs)

    def window_of(self, target: GeoBox) -> Window | None:
        """The source's pixels that a target's may see; None where it has none there."""
        height, width = target.shape
        cols, rows = np.meshgrid(np.linspace(0, width, EDGE), np.linspace(0, height, EDGE))
        xs, ys = target.affine @ (cols.ravel(), rows.ravel())  # type: ignore[operator]
        there = rasterio.warp.transform(_crs(target), self.crs, xs, ys)
        places = np.array(self._transformer.rowcol(*there, op=float), float)
        places = places[:, np.isfinite(places).all(axis=0)]
        if not places.size:
            return None
        sides = []
        for axis, length in enumerate(self._shape):
            low, high = places[axis].min(), places[axis].max()
            reach = REACH * max((high - low) / target.shape[axis], 1)
            sides.append(slice(max(math.floor(low - reach), 0), min(math.ceil(high + reach), length)))
        if any(s.stop <= s.start for s in sides):
            return None
        return sides[0], sides[1]

    def net_in(self, crs: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points all over the raster, x and y in a CRS."""
        height, width = self._shape
        cols, rows = np.meshgrid(np.linspace(0, width, EDGE), np.linspace(0, height, EDGE))
        return self._carry(rows.ravel(), cols.ravel(), crs)

    def resolution_in(self, crs: Any) -> float:
        """Units of a CRS a pixel in the raster's middle: the side of a square as large as one."""
        row, col = (n / 2 for n in self._shape)
        xs, ys = self._carry(np.array([row, row + 1, row]), np.array([col, col, col + 1]), crs)
        (down_x, across_x), (down_y, across_y) = xs[1:] - xs[0], ys[1:] - ys[0]
        return math.sqrt(abs(down_x * across_y - across_x * down_y))

    def _carry(self, rows: Any, cols: Any, crs: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        here = self._transformer.xy(rows, cols, offset="ul")
        xs, ys = rasterio.warp.transform(self.crs, crs, *here)
        return np.asarray(xs, np.float64), np.asarray(ys, np.float64)

    def shifted(self, row: int, col: int, down: float, across: float) -> dict[str, Any]:
        """What GDAL must know of a part of the source that begins there, and has so many pixels in one."""
        if self._kind == "transform":
            part = self._transform @ Affine.translation(col, row) @ Affine.scale(across, down)
            return {"src_transform": part, "src_crs": self.crs}
        if self._kind == "gcps":
            points = [
                rasterio.control.GroundControlPoint((p.row - row) / down, (p.col - col) / across, p.x, p.y, p.z)
                for p in self._gcps
            ]
            return {"gcps": points, "src_crs": self.crs}
        rpcs = self._rpcs.to_dict()
        # Lines and samples count from the middle of the first pixel, which is another where pixels are larger.
        rpcs["line_off"] = (rpcs["line_off"] + 0.5 - row) / down - 0.5
        rpcs["samp_off"] = (rpcs["samp_off"] + 0.5 - col) / across - 0.5
        rpcs["line_scale"], rpcs["samp_scale"] = rpcs["line_scale"] / down, rpcs["samp_scale"] / across
        return {"rpcs": rasterio.rpc.RPC(**rpcs), "src_crs": self.crs}


def _crs(grid: GeoBox) -> Any:
    assert grid.crs is not None
    return rasterio.crs.CRS.from_wkt(grid.crs.wkt)
