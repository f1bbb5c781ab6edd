"""Export: a workspace's cube as a cloud-optimized GeoTIFF, for what reads no Zarr."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.lease import Grip
from infra.progress import Progress, counting
from infra.stopping import check
from infra.store import Store, require_room
from tasks.raster.cube import BLOCK, Cube
from tasks.raster.gdal import rasterio
from tasks.raster.geotiff import georeference, noticing_a_full_disk
from tasks.raster.grid import windows
from tasks.workspace import Workspace, forgetting_damage, open_workspace

TARGET = "products/scene.tif"
TILE = 512


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    scene: str


def export(store: Store, *, grip: Grip, progress: Progress) -> Exported:
    """Write the cube as `products/scene.tif`: its bands and dtype, its valid pixels as an internal mask.

    GDAL's COG driver makes it of a tiled file that is written block by block, both in bounded memory.

    Raises:
        UnusableInput: no workspace, or its cube is damaged.
        UnwritableOutput: the file cannot be written.
    """
    workspace = open_workspace(store)
    cube = workspace.cube()
    rows, columns = cube.grid.shape
    require_room(store, 2 * rows * columns * (len(cube.bands) * cube.dtype.itemsize + 1))
    with store.publishing(TARGET) as path, forgetting_damage(store), noticing_a_full_disk(path):
        scratch = path.with_suffix(".scratch")
        try:
            _write_tiled(workspace, cube, scratch, progress)
            grip.check()
            rasterio.shutil.copy(
                scratch, path, driver="COG", compress="ZSTD", predictor="YES", blocksize=TILE, bigtiff="IF_SAFER",
                overview_resampling="average", num_threads="ALL_CPUS",
            )  # fmt: skip
            grip.check()
        finally:
            scratch.unlink(missing_ok=True)
    return Exported(f"{store.url}/{TARGET}")


def _write_tiled(workspace: Workspace, cube: Cube, path: Path, progress: Progress) -> None:
    rows, columns = cube.grid.shape
    options: dict[str, Any] = {
        "driver": "GTiff", "height": rows, "width": columns, "count": len(cube.bands), "dtype": cube.dtype.name,
        "tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "ZSTD", "zstd_level": 1,
        "bigtiff": "IF_SAFER", "interleave": "pixel", "num_threads": "ALL_CPUS",
    }  # fmt: skip
    blocks = list(windows((rows, columns), BLOCK))
    with (
        counting(progress, "export", total=len(blocks), unit="blocks") as bar,
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **options, **georeference(cube.grid)) as target,
    ):
        target.descriptions = cube.bands
        if cube.bands[:3] == ("red", "green", "blue"):
            target.colorinterp = [
                rasterio.enums.ColorInterp[b] if b in ("red", "green", "blue") else rasterio.enums.ColorInterp.undefined
                for b in cube.bands
            ]
        if workspace.control is not None:
            points = [rasterio.control.GroundControlPoint(*point) for point in workspace.control.points]
            target.gcps = points, rasterio.crs.CRS.from_wkt(workspace.control.crs)
        for window in blocks:
            check()
            image, valid = cube.read(window)
            place = rasterio.windows.Window.from_slices(*window)
            target.write(image, window=place)
            target.write_mask(valid.astype(np.uint8) * 255, window=place)
            bar.advance()
