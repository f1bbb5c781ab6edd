"""What is kept gives what reading gives, within its budget, whichever thread asks."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tasks.recent_cells import RecentCells

SHAPE = (1300, 1100)
RNG = np.random.default_rng(0)
IMAGE, LABEL = RNG.integers(0, 255, (3, *SHAPE), np.uint8), RNG.integers(0, 6, SHAPE, np.uint8)


class Reader:
    def __init__(self):
        self.windows = []

    def __call__(self, window):
        self.windows.append(window)
        return IMAGE[:, window[0], window[1]], LABEL[window]


def windows(count, side=200, seed=0):
    rng = np.random.default_rng(seed)
    corners = ((int(rng.integers(0, SHAPE[0] - side)), int(rng.integers(0, SHAPE[1] - side))) for _ in range(count))
    return [(slice(r, r + side), slice(c, c + side)) for r, c in corners]


@pytest.mark.parametrize("budget", [1, 3_000_000, 1 << 30])
def test_windows_are_what_reading_gives(budget):
    recent, reader = RecentCells(budget), Reader()
    for window in [*windows(60), (slice(0, 1300), slice(0, 1100)), (slice(1299, 1300), slice(1099, 1100))]:
        image, label = recent.read("scene", window, SHAPE, reader)
        assert np.array_equal(image, IMAGE[:, window[0], window[1]])
        assert np.array_equal(label, LABEL[window])
    assert recent._size <= max(budget, 4 * 512 * 512)
    if budget == 1 << 30:
        assert len(reader.windows) == 9, "each cell once"


def test_scenes_are_told_apart_and_threads_share():
    recent, reader = RecentCells(), Reader()
    other = Reader()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda w: recent.read("one", w, SHAPE, reader)[1], windows(100)))
    assert all(np.array_equal(label, LABEL[w]) for label, w in zip(found, windows(100), strict=True))
    assert len(reader.windows) <= 9 * 4
    recent.read("another", windows(1)[0], SHAPE, other)
    assert other.windows
