"""Objects are what one labelling of the whole scene finds, however it was cut."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tasks.raster.gdal import rasterio
from tasks.raster.grid import windows
from tasks.raster.objects import Gathering, find_pieces


def gather(mask, values, block):
    gathering, found = Gathering(mask.shape[1]), []
    for window in windows(mask.shape, block):
        found += gathering.add(find_pieces(mask[window], values[window], window, columns=mask.shape[1]))
    return [*found, *gathering.end()]


def whole(mask, values):
    """Id, pixels, mean and filled pixels of every object: scipy's own labelling of everything."""
    labels, count = ndimage.label(mask)
    objects = {}
    for n in range(1, count + 1):
        inside = labels == n
        objects[int(np.flatnonzero(inside)[0]) + 1] = (int(inside.sum()), values[inside].astype(float).mean(), inside)
    return objects


def burnt(outline, shape):
    return rasterio.features.rasterize([outline], out_shape=shape, dtype="uint8").astype(bool)


def blobs(seed, shape, share):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return noise > np.quantile(noise, 1 - share)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 60),
    cols=st.integers(1, 60),
    block=st.integers(3, 40),
    share=st.floats(0.05, 0.9),
)
def test_objects_are_those_of_the_whole(seed, rows, cols, block, share):
    mask = blobs(seed, (rows, cols), share)
    values = np.random.default_rng(seed).integers(0, 255, mask.shape).astype(np.uint8)
    found, expected = gather(mask, values, block), whole(mask, values)
    assert sorted(o.id for o in found) == sorted(expected)
    for one in found:
        pixels, mean, inside = expected[one.id]
        assert one.pixels == pixels == one.outline.area
        assert one.mean == pytest.approx(mean)
        np.testing.assert_array_equal(burnt(one.outline, mask.shape), inside)
        assert one.outline.is_valid


def test_an_object_of_many_blocks_has_no_cut_and_keeps_its_hole():
    mask = np.zeros((100, 100), bool)
    mask[10:90, 10:90] = True
    mask[30:60, 40:70] = False
    (one,) = gather(mask, mask.astype(np.uint8), 32)
    assert isinstance(one.outline, shapely.Polygon)
    assert len(one.outline.interiors) == 1
    assert one.outline.equals(shapely.box(10, 10, 90, 90) - shapely.box(40, 30, 70, 60))


def test_what_has_ended_is_given_and_forgotten():
    """A thousand small objects down a scene: those of the rows of blocks above are no longer held."""
    gathering = Gathering(40)
    held = []
    for window in windows((4000, 40), 40):
        mask = np.zeros((40, 40), bool)
        mask[5::10, 5::10] = True
        list(gathering.add(find_pieces(mask, mask.astype(np.uint8), window, columns=40)))
        held.append(len(gathering._open))
    assert max(held) == 0
    assert len(gathering._parent) == 1
