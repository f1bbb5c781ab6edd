"""What the benchmarks of labelling count: masks that are matched, objects that are split or doubled."""

import numpy as np
from scipy import ndimage

from benchmarks.automatic import Visible, compare
from benchmarks.exact import HALO, ExactLabeler, exact_world, read_world
from benchmarks.label_ids import count

SHAPE = (40, 40)


def square(top, left, side):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_only_masks_that_are_the_largest_somewhere_count():
    large, inside, beside = square(0, 0, 20), square(5, 5, 10), square(15, 15, 12)
    visible = Visible.of(np.array([inside, large, beside]))
    assert np.array_equal(visible.masks, [large, beside])
    assert visible.pixels.tolist() == [400, 144 - 25]


def test_a_mask_is_matched_by_one_that_is_nearly_the_same():
    theirs = np.array([square(0, 0, 20), square(5, 5, 10), square(25, 25, 10)])
    near, far = square(0, 0, 20), square(25, 25, 10)
    near[:2] = False  # 360 of 400 pixels
    far[25:27] = False  # 80 of 100
    found = compare(theirs, np.array([near, far]))
    assert found == {
        "masks": 3, "masks_matched": 1, "visible": 2, "visible_matched": 1, "pixels": 500, "pixels_matched": 400,
        "objects": 2, "objects_matched": 1,
    }  # fmt: skip
    assert compare(theirs, np.zeros((0, *SHAPE), bool))["masks_matched"] == 0


def test_a_mask_of_everything_does_not_hide_the_objects():
    everything = np.ones(SHAPE, bool)
    theirs = np.array([square(0, 0, 20), everything, square(25, 25, 10)])
    found = compare(theirs, np.array([everything, square(0, 0, 20)]))
    assert (found["visible"], found["visible_matched"]) == (1, 1)
    assert (found["objects"], found["objects_matched"]) == (2, 1)


def test_objects_with_two_ids_and_ids_on_two_objects_are_told():
    objects = np.repeat(np.array([[1, 1, 2, 2, 3, 3, 0, 0]], np.uint32), 4, axis=0)
    same = objects + np.uint32(10) * (objects > 0)
    assert count(objects, same, same) == {"objects": 3, "cut": 0, "split": 0, "doubled": 0, "missed": 0}
    found, pieces = same.copy(), same.copy()
    found[:2, :2] = 20  # the first has two ids
    found[:, 4:6] = 12  # the third has the second's
    found[0, 7] = 12  # where there is nothing
    pieces[0] += 100 * (pieces[0] > 0).astype(np.uint32)
    assert count(objects, found, pieces) == {"objects": 3, "cut": 3, "split": 1, "doubled": 1, "missed": 1}


def test_a_world_s_objects_hang_together_and_windows_number_them_for_themselves(tmp_path):
    size, window = 300, 64
    for name in ("blobs", "cells"):
        scene, kept = exact_world(name, tmp_path, size)
        assert scene.is_file()
        label, objects = read_world(kept)
        ids = np.unique(objects[objects > 0])
        assert len(ids) > 10
        for number in ids[:20]:
            assert ndimage.label(objects == number)[1] == 1
            assert len(np.unique(label[objects == number])) == 1
        labeler = ExactLabeler((label, objects), window=window)
        there = slice(window, 2 * window)
        one, other = labeler((there, there)), labeler((there, slice(2 * window, 3 * window)))
        for found in (one, other):
            assert np.array_equal(found.label, label[found.seen])
            pieces = found.instance[found.instance > 0]
            assert set(pieces.tolist()) == set(range(1, pieces.max() + 1))
            assert count(objects[found.seen], found.instance, found.instance)["doubled"] == 0
        common = slice(HALO, 2 * HALO + window)
        assert not np.array_equal(one.instance[:, common], other.instance[:, : 2 * HALO][:, : HALO + window])
