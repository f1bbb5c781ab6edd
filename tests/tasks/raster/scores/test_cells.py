"""Intervals hold the truth as often as they say, although neighbours are wrong together."""

import numpy as np
import pytest

from tasks.raster.scores.cells import Cells, bootstrap, intersection_over_union


def cells_of(rng, *, count=12, side=32, wrong=0.2, blob=16):
    """A scene of two classes in which whole blobs of pixels are wrong."""
    grid = count * side // blob
    truth = rng.random((grid, grid)) < 0.4
    flipped = truth ^ (rng.random((grid, grid)) < wrong)
    truth, flipped = (part.repeat(blob, 0).repeat(blob, 1) for part in (truth, flipped))
    cells = Cells.empty((0, 0, *truth.shape), side=side, classes=2)
    for row in range(count):
        for col in range(count):
            window = cells.window((row, col))
            codes = truth[window] * 2 + flipped[window]
            cells.counts[row, col] += np.bincount(codes.ravel(), minlength=4).reshape(2, 2)
    return cells


def test_intervals_hold_the_score_as_often_as_they_say():
    rng = np.random.default_rng(0)
    expected = (0.4 * 0.8) / (0.4 + 0.6 * 0.2)  # hits over the union, of a scene without end
    inside = 0
    for n in range(120):
        interval = bootstrap(cells_of(rng), seed=n, draws=300).iou[1]
        inside += interval.low <= expected <= interval.high
    assert 0.88 <= inside / 120 <= 0.99


def test_pixels_taken_one_by_one_would_be_too_sure():
    """What the interval of independent pixels would be is several times narrower."""
    cells = cells_of(np.random.default_rng(1))
    found = bootstrap(cells)
    accuracy = np.trace(cells.matrix) / cells.matrix.sum()
    alone = 2 * 1.96 * (accuracy * (1 - accuracy) / cells.matrix.sum()) ** 0.5
    assert found.pixel_accuracy.high - found.pixel_accuracy.low > 5 * alone
    assert found.pixel_accuracy.low < accuracy < found.pixel_accuracy.high
    assert found.mean_iou.low < np.mean(intersection_over_union(cells.matrix.astype(float))) < found.mean_iou.high


def test_the_same_seed_gives_the_same_intervals():
    cells = cells_of(np.random.default_rng(2))
    assert bootstrap(cells, seed=3) == bootstrap(cells, seed=3) != bootstrap(cells, seed=4)


def test_too_few_cells_and_absent_classes_have_no_interval():
    assert bootstrap(cells_of(np.random.default_rng(0), count=2)).mean_iou is None
    cells = Cells.empty((0, 0, 320, 320), side=32, classes=3)
    cells.counts[..., 0, 0] = 10
    cells.counts[0, 0, 1, 1] = 5
    found = bootstrap(cells)
    assert found.cells == 100
    assert found.iou[2] is None, "nowhere"
    assert found.iou[1] is None, "in one cell of a hundred: drawn too seldom"
    assert found.iou[0].low == found.iou[0].high == 1


def test_the_worst_cells_come_first():
    cells = Cells.empty((0, 0, 100, 70), side=32, classes=2)
    cells.counts[1, 2] = [[5, 15], [0, 0]]
    cells.counts[3, 0] = [[0, 0], [30, 10]]
    cells.counts[0, 0] = [[50, 0], [0, 0]]
    assert cells.worst(5) == [((3, 0), 0.75), ((1, 2), 0.75)]
    assert cells.window((3, 2)) == (slice(96, 100), slice(64, 70))


@pytest.mark.parametrize("extent", [(0, 0, 90, 70), (13, 40, 57, 70), (80, 0, 90, 3)])
@pytest.mark.parametrize("window", [33, 64, 200])
def test_windows_count_each_pixel_of_an_extent_once_in_its_cell(extent, window):
    cells = Cells.empty(extent, side=16, classes=1)
    seen = np.zeros((90, 70, 2), int) - 1
    for top in range(0, 90, window):
        for left in range(0, 70, window):
            place = slice(top, min(top + window, 90)), slice(left, min(left + window, 70))
            for cell, part in cells.parts(place):
                assert (seen[place][part] == -1).all(), "counted twice"
                seen[place][part] = cell
    expected = np.zeros_like(seen) - 1
    for row in range(extent[0], extent[2]):
        for col in range(extent[1], extent[3]):
            expected[row, col] = (row - extent[0]) // 16, (col - extent[1]) // 16
    assert np.array_equal(seen, expected)
    for cell in np.ndindex(cells.counts.shape[:2]):
        assert (seen[cells.window(cell)] == cell).all()


def test_intervals_of_all_scores_are_those_of_their_formulas():
    """Precision, recall and F1 of the draws that IoU is of: all from one matrix where cells are alike."""
    cells = Cells.empty((0, 0, 320, 320), side=32, classes=2)
    cells.counts[:] = [[60, 10], [20, 10]]
    found = bootstrap(cells)
    assert found.precision[0].low == found.precision[0].high == pytest.approx(60 / 80)
    assert found.recall[0].low == found.recall[0].high == pytest.approx(60 / 70)
    assert found.f1[0].low == found.f1[0].high == pytest.approx(120 / 150)


@pytest.mark.parametrize("draws", [7, 300])
def test_many_cells_are_drawn_in_parts(monkeypatch, draws):
    from tasks.raster.scores import cells as module

    cells = cells_of(np.random.default_rng(2))
    whole = bootstrap(cells, draws=draws)
    monkeypatch.setattr(module, "_AT_ONCE", 144 * 5)
    assert bootstrap(cells, draws=draws) == whole


def test_a_class_that_a_draw_s_truth_lacks_is_not_scored_in_it():
    """As it is not in the score itself, whatever is called it: one wrong pixel a cell must not move the interval."""
    cells = Cells.empty((0, 0, 640, 320), side=64, classes=3)
    cells.counts[:] = [[900, 90, 0], [60, 900, 0], [0, 0, 0]]
    cells.counts[0, 0, 2, 2] = 500
    clean = bootstrap(cells)
    cells.counts[:, :, 0, 2] = 1
    assert clean.iou[2] is clean.recall[2] is None
    found = bootstrap(cells)
    assert found.iou[2] is found.f1[2] is None
    assert found.mean_iou.low == pytest.approx(clean.mean_iou.low, abs=0.02)
