"""Pictures of which is known how many metres a pixel is, and not where on Earth: a CRS of their own says it."""

from __future__ import annotations

from affine import Affine
from odc.geo.geobox import GeoBox

LOCAL = 'ENGCRS["picture",EDATUM["picture"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
"""WKT2 of a flat place in metres that is nowhere in particular."""


def on_ground(grid: GeoBox, metres: float) -> GeoBox:
    """A grid without a place, in metres of its own: y up, the first pixel's corner at (0, 0)."""
    return GeoBox((grid.shape[0], grid.shape[1]), Affine(metres, 0, 0, 0, -metres, 0), LOCAL)
