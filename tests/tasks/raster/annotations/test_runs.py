"""Runs of pixels: what one side writes is what numpy counts, and COCO's compressed strings are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from infra.errors import UnusableInput
from tasks.raster.annotations.runs import by_columns, by_rows, counts_of, indexes_of, unpack

COMPRESSED = (
    "X`01n;^1]E000000000000000000ROoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1"
    "MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1MoN3Q1k000000000000000000000000000000000000000Ql0"
)
"""What pycocotools 2.0.11 makes of the mask below."""


def holed():
    """A square with a hole, and a pixel."""
    mask = np.zeros((90, 70), bool)
    mask[3:50, 10:60] = True
    mask[20:30, 20:40] = False
    mask[70, 5] = True
    return mask


masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(masks)
def test_runs_are_what_numpy_counts(mask):
    """The oracle counts pixel by pixel, down the columns."""
    wanted, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            wanted.append(0)
            value = pixel
        wanted[-1] += 1
    counts = counts_of(by_columns(np.flatnonzero(mask), mask.shape), mask.size)
    assert counts == wanted
    np.testing.assert_array_equal(by_rows(indexes_of(counts, mask.size), mask.shape), np.flatnonzero(mask))


def test_compressed_runs_are_read():
    mask = holed()
    counts = unpack(COMPRESSED)
    assert counts.tolist() == counts_of(by_columns(np.flatnonzero(mask), mask.shape), mask.size)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@given(masks)
def test_compressed_runs_are_those_of_pycocotools(mask):
    oracle = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    packed = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    np.testing.assert_array_equal(by_rows(indexes_of(unpack(packed), mask.size), mask.shape), np.flatnonzero(mask))


@pytest.mark.parametrize("text", ["", "X", "é", "`" * 40, "q" * 30 + "0"])
def test_what_is_no_compressed_mask_is_refused(text):
    with pytest.raises(UnusableInput, match="damaged"):
        unpack(text)


@given(st.lists(st.integers(-5, 200), max_size=8))
def test_runs_of_another_size_are_refused(counts):
    if sum(counts) == 100 and min(counts, default=0) >= 0:
        counts = [*counts, 1]
    with pytest.raises(UnusableInput, match="make"):
        indexes_of(counts, 100)
