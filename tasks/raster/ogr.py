"""The one door to vector files: pyogrio brings a GDAL of its own, whose drivers are limited before it loads too.

A file named .gpkg may hold an OGR VRT, which reads any other vector file (docs/hazards.md).
"""

from __future__ import annotations

import os

os.environ.setdefault("OGR_SKIP", "OGR_VRT")

import geopandas
import pyogrio

__all__ = ["geopandas", "pyogrio"]
