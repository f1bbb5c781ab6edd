"""The table of certainty: every pixel in its cell, and shares that say what was counted."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.raster.certainty import (
    AGREED,
    BEYOND,
    DEPTHS,
    DOUBTED,
    FAR,
    KINDS,
    PRIOR,
    SCORES,
    SHAPE,
    cells,
    known_table,
    table_of,
)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 24), st.integers(1, 24))
def test_cells_are_those_of_kind_score_and_distance(seed, rows, columns):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, KINDS, (rows, columns)).astype(np.uint8)
    score = rng.random((rows, columns)).astype(np.float32)
    labelled = rng.random((rows, columns)) < rng.choice([0.0, 0.1, 0.6])
    found = cells(kind, score, labelled)
    here = np.argwhere(labelled)
    there = np.argwhere(~labelled)
    for row, col in np.ndindex(rows, columns):
        others = there if labelled[row, col] else here
        depth = np.sqrt(((others - [row, col]) ** 2).sum(axis=1)).min() if len(others) else np.inf
        if not labelled.any():
            depth = np.inf
        if labelled.all():
            continue  # nothing tells how deep
        place = (kind[row, col], sum(score[row, col] >= s for s in SCORES), sum(depth >= d for d in DEPTHS))
        assert found[row, col] == np.ravel_multi_index(place, SHAPE)


def test_shares_are_what_was_counted_and_rare_cells_follow_their_kind():
    counts = np.zeros((2, *SHAPE), np.int64)
    counts[:, 2, 1, 3] = 3_000_000, 1_000_000
    counts[:, 2, 4, 0] = 0, 10
    share = table_of(counts.reshape(2, -1)).reshape(SHAPE)
    assert abs(share[2, 1, 3] - 0.25) < 1e-3
    assert abs(share[2, 4, 0] - (10 + PRIOR * 0.25) / (10 + PRIOR)) < 1e-3
    assert abs(share[2, 0, 0] - 0.25) < 1e-3
    assert share[0, 0, 0] == 0.5


def test_the_table_that_is_shipped_fits():
    table = known_table()
    assert table.shape == (int(np.prod(SHAPE)),)
    assert table.dtype == np.uint8
    assert table.max() <= 254
    kinds = table.reshape(SHAPE)
    assert kinds[AGREED].mean() > kinds[BEYOND].mean(), "vector and picture say so: surer than the picture alone"
    assert kinds[AGREED, :, 3].mean() > kinds[AGREED, :, 0].mean() + 20, "an edge is where labels are wrong"
    assert kinds[DOUBTED].max() < kinds[FAR, 1:].min(), "who contradicts the map knows least"
