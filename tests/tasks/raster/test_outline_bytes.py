"""Outlines come back as they were, none included."""

import numpy as np
import shapely

from tasks.raster.outline_bytes import pack_outlines, unpack_outlines

HOLE = shapely.box(0, 0, 9, 9).difference(shapely.box(2, 2, 4, 4))


def test_outlines_come_back():
    outlines = np.array([HOLE, shapely.box(1.5, 2.25, 3, 4), shapely.MultiPolygon([HOLE])], object)
    lengths, wkb = pack_outlines(outlines)
    assert (lengths.dtype, wkb.dtype, lengths.sum()) == (np.int64, np.uint8, len(wkb))
    assert shapely.equals_exact(unpack_outlines(lengths, wkb), outlines, 0).all()


def test_of_none_there_are_none():
    found = unpack_outlines(*pack_outlines(np.zeros(0, object)))
    assert (found.dtype, found.shape) == (np.dtype(object), (0,))
