"""An object larger than any window has one mask, whoever looks at it."""

import numpy as np
import pytest
from scipy import ndimage

from infra.store import open_store
from tasks.label_params import LabelParams
from tasks.large_objects import LARGE, LargeMask, is_large, large_mask
from tasks.sam_view import SamView
from tasks.workspace import open_workspace

SHAPE, HALL = (1003, 1205), (slice(150, 850), slice(301, 1101))


@pytest.fixture(scope="module")
def view(before_sam):
    """SAM before a bright hall of 700 x 800 pixels on dark noise."""
    rng = np.random.default_rng(0)
    picture = 60 + ndimage.gaussian_filter(rng.normal(size=SHAPE), 3) * 60
    picture[HALL] = 190
    picture = np.clip(picture + rng.normal(0, 4, SHAPE), 1, 255).astype(np.uint8)
    workspace = open_workspace(open_store(before_sam(np.stack([picture] * 3))))
    return SamView.of(workspace.store, workspace.cube(), LabelParams(), device="cpu")


def test_a_hall_is_seen_whole_by_a_shifted_box(view):
    found = large_mask(view, np.array([340.0, 100.0, 1150.0, 820.0]), slack=0.05)
    assert found.factor == 2
    truth = np.zeros(SHAPE, bool)
    truth[HALL] = True
    logits = found.at((slice(0, SHAPE[0]), slice(0, SHAPE[1])))
    whole = logits > 0
    assert np.count_nonzero(whole & truth) / np.count_nonzero(whole | truth) > 0.9
    assert found.score > 0.5
    part = (slice(500, 700), slice(900, 1205))
    np.testing.assert_array_equal(found.at(part), logits[part])


def test_a_box_may_reach_outside_the_scene(view):
    found = large_mask(view, np.array([-200.0, -300.0, 1500.0, 1300.0]), slack=0.05)
    assert (found.row, found.column) == (0, 0)
    assert found.at((slice(0, SHAPE[0]), slice(0, SHAPE[1]))).shape == SHAPE


def test_a_coarse_pixel_is_so_many_of_the_grid():
    logit = np.zeros((3, 4), np.float16)
    logit[1, 2] = 5
    found = LargeMask(logit, row=10, column=20, factor=5, score=1.0).at((slice(0, 40), slice(0, 60)))
    expected = np.full((40, 60), -np.inf)
    expected[10:25, 20:40] = 0
    expected[15:20, 30:35] = 5
    np.testing.assert_array_equal(found, expected)


def test_which_lie_across_windows_that_see_them_in_part():
    """Windows of 384 see 64 more: a hall of 200 pixels in the middle of a window, on a border, and 120 on a border."""
    boxes = np.array([[92.0, 92, 292, 292], [284.0, 92, 484, 292], [324.0, 92, 444, 292 - 100], [92.0, 320, 192, 460]])
    np.testing.assert_array_equal(is_large(boxes, (2000, 2000)), [False, True, False, True])


def test_which_are_large():
    boxes = np.array([[0.0, 0.0, LARGE + 1, 10.0], [5.0, 5.0, 5.0 + LARGE, 5.0 + LARGE], [0.0, 0.0, 9.0, 2 * LARGE]])
    np.testing.assert_array_equal(is_large(boxes, (9999, 9999)), [True, False, True])
    np.testing.assert_array_equal(is_large(boxes, (100, 9999)), [True, False, False])
    assert not is_large(np.array([[0.0, 0.0, 9000, 10]]), (9999, 9999)).any(), "windows see what is larger still"
