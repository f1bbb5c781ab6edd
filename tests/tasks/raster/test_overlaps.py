"""Objects of two maps, block by block, against scipy's on the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tasks.raster.grid import windows
from tasks.raster.overlaps import MATCH, SIZES, Overlaps

CLASSES = (1, 2)


def scene(seed, shape, shift=0):
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    for klass, sigma in ((2, 14), (1, 5)):
        noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
        label[np.roll(noise > np.quantile(noise, 0.7), shift, axis=1)] = klass
    return label


def expected(label, reference):
    """Sizes and best overlaps of all objects, one by one."""
    label = np.where(reference == 255, 255, label)
    found = {}
    for klass in CLASSES:
        mine, count = ndimage.label(label == klass)
        theirs, other_count = ndimage.label(reference == klass)
        best, best_other = np.zeros(count + 1), np.zeros(other_count + 1)
        areas, other_areas = np.bincount(mine.ravel(), minlength=1), np.bincount(theirs.ravel(), minlength=1)
        for n in range(1, count + 1):
            for m in np.unique(theirs[mine == n]):
                if m:
                    common = np.count_nonzero((mine == n) & (theirs == m))
                    iou = common / (areas[n] + other_areas[m] - common)
                    best[n], best_other[m] = max(best[n], iou), max(best_other[m], iou)
        low = 0
        for size, high in SIZES:
            one = best[1:][(areas[1:] >= low) & (areas[1:] < high)]
            other = best_other[1:][(other_areas[1:] >= low) & (other_areas[1:] < high)]
            found[klass, size] = (len(other), (other > MATCH).sum(), len(one), (one > MATCH).sum(), other)
            low = high
    return found


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(40, 90), st.integers(40, 90), st.integers(17, 60))
def test_blocks_do_not_matter(seed, rows, columns, side):
    reference, label = scene(seed, (rows, columns)), scene(seed, (rows, columns), shift=2)
    reference[: rows // 8] = 255
    label[:, : columns // 9] = 255
    found = Overlaps(columns)
    for window in windows((rows, columns), side):
        found.add(window, label[window], np.zeros_like(label[window], np.uint32), reference[window])
    scores = found.scores()
    for (klass, size), (objects, hit, labelled, right, ious) in expected(label, reference).items():
        if objects or labelled:
            got = scores[klass][size]
            assert (got.objects, got.found, got.labelled, got.right) == (objects, hit, labelled, right)
            assert got.iou == pytest.approx(ious.mean(), nan_ok=True) if objects else np.isnan(got.iou)


def test_touching_objects_are_told_apart_by_their_ids_and_parts_put_together_by_them():
    reference = np.zeros((20, 40), np.uint8)
    reference[5:10, 2:8] = reference[5:10, 20:26] = 1
    label, instance = reference.copy(), np.zeros(reference.shape, np.uint32)
    label[5:10, 8:14] = 1
    instance[5:10, 2:8], instance[5:10, 8:14], instance[5:10, 20:26] = 7, 8, 9
    found = Overlaps(40)
    for window in windows(reference.shape, 10):
        found.add(window, label[window], instance[window], reference[window])
    small = found.scores()[1]["small"]
    assert (small.objects, small.found, small.labelled, small.right) == (2, 2, 3, 2)
    instance[5:10, 20:26] = 7  # of two parts, far from each other
    found = Overlaps(40)
    for window in windows(reference.shape, 10):
        found.add(window, label[window], instance[window], reference[window])
    small = found.scores()[1]["small"]
    assert (small.labelled, small.found, small.iou) == (2, 0, 0.5)
    assert np.isnan(found.scores()[1]["large"].precision)
