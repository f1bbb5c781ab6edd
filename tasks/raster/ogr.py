"""The one door to vector files: pyogrio brings a GDAL of its own, whose drivers are limited as it loads.

A file named .gpkg may hold an OGR VRT, which reads any other vector file (docs/hazards.md).
"""

from __future__ import annotations

import os

# Taken out again at once: rasterio's GDAL knows no driver of this name, and would warn of it each time it is used.
os.environ["OGR_SKIP"] = "OGR_VRT"
import geopandas
import pyogrio

del os.environ["OGR_SKIP"]

__all__ = ["geopandas", "pyogrio"]
