"""The one door to GDAL: its drivers and limits are set before it loads, in every process.

A .tif may hold an inline VRT that reads any file or URL, even when opened as GeoTIFF; `GDAL_SKIP` stops that only if it
stands in the environment before the library loads (docs/hazards.md), and only until something is warped. A test holds
that no other module imports rasterio.
"""

from __future__ import annotations

import ctypes
import os
import re
import warnings

SKIPPED = ("VRT", "WMS", "WCS", "WMTS", "HTTP", "GTI", "STACIT", "STACTA")
SETTINGS = {
    "GDAL_CACHEMAX": "64",  # MB; GDAL's own default is 5 % of RAM
    "GDAL_NUM_THREADS": "1",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",  # damaged pictures are no pictures
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
# A user may skip more, and not less.
_more = [name for name in re.split(r"[ ,]+", os.environ.get("GDAL_SKIP", "")) if name and name not in SKIPPED]
os.environ["GDAL_SKIP"] = ",".join([*SKIPPED, *_more])

import rasterio  # noqa: E402
import rasterio._env as linked  # noqa: E402
import rasterio.control  # noqa: E402
import rasterio.crs  # noqa: E402
import rasterio.enums  # noqa: E402
import rasterio.errors  # noqa: E402
import rasterio.features  # noqa: E402
import rasterio.rpc  # noqa: E402
import rasterio.shutil  # noqa: E402
import rasterio.transform  # noqa: E402
import rasterio.vrt  # noqa: E402
import rasterio.warp  # noqa: E402
import rasterio.windows  # noqa: E402
from rasterio._err import CPLE_BaseError  # noqa: E402

# That pixels lie nowhere on the globe is nothing to warn of: geoloom works in pixels then, and says so.
warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)

UNPLACEABLE = (CPLE_BaseError, rasterio.errors.RasterioError)
"""What is raised where pixels cannot be brought from one CRS into another."""

__all__ = ["UNPLACEABLE", "rasterio"]


def _keep_vrt_shut() -> None:
    """A WarpedVRT registers the driver that was skipped, for the whole process: registered here, it opens nothing."""
    with rasterio.Env():  # which registers the others
        gdal = ctypes.CDLL(linked.__file__)  # and what it is linked to
    gdal.GDALGetDriverByName.argtypes, gdal.GDALGetDriverByName.restype = [ctypes.c_char_p], ctypes.c_void_p
    gdal.GDALSetMetadataItem.argtypes = [ctypes.c_void_p, *[ctypes.c_char_p] * 3]
    gdal.GDALRegister_VRT()
    driver = gdal.GDALGetDriverByName(b"VRT")
    for kind in (b"DCAP_OPEN", b"DCAP_RASTER", b"DCAP_VECTOR", b"DCAP_MULTIDIM_RASTER"):
        gdal.GDALSetMetadataItem(driver, kind, None, None)


_keep_vrt_shut()
