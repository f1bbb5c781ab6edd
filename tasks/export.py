"""Export: a cube as a cloud-optimized GeoTIFF, for what reads no Zarr; its coarser levels, for what does."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.cluster import Cluster, Job
from infra.errors import UnusableInput
from infra.lease import Grip
from infra.progress import Progress, counting
from infra.stopping import check
from infra.store import Store, require_room
from tasks.catalog import write_item
from tasks.prediction import open_prediction
from tasks.qgis_project import write_project
from tasks.raster.cube import BLOCK, Cube, open_cube
from tasks.raster.gdal import rasterio
from tasks.raster.geotiff import georeference, noticing_a_full_disk
from tasks.raster.grid import Window, windows
from tasks.raster.levels import GROUP, create_levels, finish_levels, forget_levels, level_blocks, write_levels
from tasks.units import writing_to
from tasks.workspace import CUBE, SCENE, Workspace, forgetting_damage, open_workspace

TILE = 512


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    place: str


def export_cog(store: Store, *, grip: Grip, progress: Progress) -> Exported:
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
    with store.publishing(SCENE) as path, forgetting_damage(store), noticing_a_full_disk(path):
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
    with suppress(UnusableInput):  # where nothing has been mapped yet there is no project to be in
        prediction = open_prediction(store)
        write_project(prediction)
        write_item(prediction)
    return Exported(f"{store.url}/{SCENE}")


def export_levels(store: Store, *, grip: Grip, cluster: Cluster, progress: Progress) -> Exported:
    """Write the cube's coarser levels beside it, `cube.zarr/levels/2` and so on, for viewers of Zarr.

    Nothing here reads them. An ingest that changes the cube takes them away.

    Raises:
        UnusableInput: no workspace, or its cube is damaged.
        UnwritableOutput: they cannot be written.
    """
    workspace = open_workspace(store)
    cube = workspace.cube()
    rows, columns = cube.grid.shape
    require_room(store, rows * columns * (len(cube.bands) * cube.dtype.itemsize + 1) // 3)
    with writing_to(store), forgetting_damage(store):
        forget_levels(store.zarr(CUBE))
        store.delete_all(f"{CUBE}/{GROUP}")
        create_levels(store.zarr(CUBE), cube)
        for source, blocks in level_blocks(cube):
            with counting(progress, f"levels of 1/{source}", total=len(blocks), unit="blocks") as bar:
                jobs = [
                    Job(f"levels-{source}-{n}", _write_levels, (store, grip, source, w)) for n, w in enumerate(blocks)
                ]
                cluster.run(jobs, done=lambda _job, _result, bar=bar: bar.advance())  # type: ignore[misc]
        grip.check()
        finish_levels(store.zarr(CUBE), cube)
    return Exported(f"{store.url}/{CUBE}/{GROUP}")


def _write_levels(store: Store, grip: Grip, source: int, window: Window) -> None:
    check()
    grip.check()
    write_levels(store.zarr(CUBE), open_cube(store.zarr(CUBE)), source, window)


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
        target.update_tags(**_about(workspace))
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


def _about(workspace: Workspace) -> dict[str, str]:
    """What the scene says of where it comes from."""
    dates = {source.date for source in workspace.sources if source.date}
    tags = {"GEOLOOM_SCENES": workspace.scene_names}
    if workspace.owners:
        tags["TIFFTAG_COPYRIGHT"] = workspace.owners
    if len(dates) == 1:
        tags["TIFFTAG_DATETIME"] = dates.pop()[:19].replace("-", ":").replace("T", " ")
    return tags
