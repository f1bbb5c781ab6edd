"""Objects are what one labelling of the whole scene finds, however it was cut."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tasks.raster.gdal import rasterio
from tasks.raster.grid import windows
from tasks.raster.objects import Gathering, find_objects


def gather(mask, values, block):
    gathering, found = Gathering(mask.shape[1]), []
    for window in windows(mask.shape, block):
        whole, pieces = find_objects(mask[window], values[window], window, shape=mask.shape)
        found += [whole, gathering.add(pieces)]
    return [row for objects in [*found, gathering.end()] for row in rows(objects)]


def rows(objects):
    return list(zip(objects.ids, objects.pixels, objects.sums, objects.outlines, strict=True))


def whole(mask, values):
    """Id at every pixel, and pixels and sum of every object: scipy's own labelling of everything."""
    labels, count = ndimage.label(mask)
    ids, objects = np.zeros(mask.shape, np.int32), {}
    for n in range(1, count + 1):
        inside = labels == n
        ids[inside] = np.flatnonzero(inside)[0] + 1
        objects[int(np.flatnonzero(inside)[0]) + 1] = (int(inside.sum()), int(values[inside].astype(int).sum()))
    return ids, objects


def blobs(seed, shape, share):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return noise > np.quantile(noise, 1 - share)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 36),
    width=st.integers(1, 36),
    block=st.integers(3, 40),
    share=st.floats(0.05, 0.9),
)
def test_objects_are_those_of_the_whole(seed, height, width, block, share):
    mask = blobs(seed, (height, width), share)
    values = np.random.default_rng(seed).integers(0, 255, mask.shape).astype(np.uint8)
    found, (ids, expected) = gather(mask, values, block), whole(mask, values)
    assert {i: (pixels, total) for i, pixels, total, _ in found} == expected
    assert all(outline.is_valid and outline.area == pixels for _, pixels, _, outline in found)
    drawn = [(outline, i) for i, _, _, outline in found]
    burnt = rasterio.features.rasterize(drawn, out_shape=mask.shape, dtype="int32") if drawn else np.zeros_like(ids)
    np.testing.assert_array_equal(burnt, ids)


def test_an_object_of_many_blocks_has_no_cut_and_keeps_its_hole():
    mask = np.zeros((100, 100), bool)
    mask[10:90, 10:90] = True
    mask[30:60, 40:70] = False
    ((_, _, _, outline),) = gather(mask, mask.astype(np.uint8), 32)
    assert isinstance(outline, shapely.Polygon)
    assert len(outline.interiors) == 1
    assert outline.equals(shapely.box(10, 10, 90, 90) - shapely.box(40, 30, 70, 60))


def test_what_has_ended_is_given_and_forgotten():
    """A thousand small objects down a scene: those of the rows of blocks above are no longer held."""
    gathering = Gathering(40)
    held = []
    for window in windows((4000, 40), 40):
        mask = np.zeros((40, 40), bool)
        mask[5::10, 5::10] = mask[-1, ::9] = True
        gathering.add(find_objects(mask, mask.astype(np.uint8), window, shape=(4000, 40))[1])
        held.append(len(gathering._open))
    assert max(held) == 5
    assert (held[-1], len(gathering._parent)) == (0, 1)
