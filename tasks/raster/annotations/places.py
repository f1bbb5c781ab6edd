"""Pictures in files, and beside them where they lie: a world file, and a .prj."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image

from tasks.raster.gdal import rasterio

QUALITY = 95
"""Of a JPEG."""
WORLD = {".png": ".pgw", ".jpg": ".jgw"}
"""The ending of a picture's world file."""


def write_picture(path: Path, image: NDArray[np.uint8], valid: NDArray[np.bool_]) -> None:
    """Write (y, x, 3) colours; in a PNG, pixels without data are transparent where there are any."""
    if path.suffix == ".png" and not valid.all():
        alpha = np.where(valid, np.uint8(255), np.uint8(0))
        Image.fromarray(np.concatenate([image, alpha[..., None]], axis=-1)).save(path, compress_level=3)
    else:
        options: dict[str, Any] = {"compress_level": 3} if path.suffix == ".png" else {"quality": QUALITY}
        Image.fromarray(image).save(path, **options)


def write_place(path: Path, grid: GeoBox) -> None:
    """Write a picture's world file, and a .prj where the grid has a CRS; nothing for a grid without a place."""
    a, b, c, d, e, f = tuple(grid.affine)[:6]
    if grid.crs is None and grid.affine.is_identity:
        return
    # A world file has the centre of the first pixel.
    numbers = (a, d, b, e, c + (a + b) / 2, f + (d + e) / 2)
    path.with_suffix(WORLD[path.suffix]).write_text("".join(f"{float(n)!r}\n" for n in numbers))
    if grid.crs is not None:
        path.with_suffix(".prj").write_text(_wkt(grid.crs.wkt), encoding="utf-8")


def _wkt(wkt: str) -> str:
    """The older WKT, which everybody reads, of a CRS that has one."""
    with rasterio.Env():
        try:
            old: str = rasterio.crs.CRS.from_wkt(wkt).to_wkt(version="WKT1_GDAL")
        except rasterio.errors.CRSError:
            return wkt
    return old or wkt
