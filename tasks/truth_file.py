"""A truth file, read as a step's parameters say."""

from __future__ import annotations

from odc.geo.geobox import GeoBox

from tasks.raster.classes import ClassMap
from tasks.raster.truth import Truth, open_truth
from tasks.truth_params import TruthParams


def open_truth_file(path: str, params: TruthParams, *, grid: GeoBox, classes: ClassMap) -> Truth:
    """Open a truth for a grid.

    Args:
        path: a class raster or a vector file: `params.truth`, or another that is read in the same way.
        params: how to read it.
        grid: where it is wanted.
        classes: the map's classes.

    Raises:
        UnusableInput: unreadable, of another place, or of classes that the map does not have.
    """
    return open_truth(
        path,
        grid,
        classes,
        names=params.truth_classes,
        vector_class=params.vector_class,
        road_width=params.road_width,
        assume_crs=params.assume_crs,
    )
