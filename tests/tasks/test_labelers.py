"""Labelers put together: each fills in what those before it cannot tell."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.labelers import CombinedLabeler, Labelled
from tasks.raster.grid import crop_to, grown

SHAPE = (60, 70)


class Painted:
    """A labeler that reads arrays."""

    def __init__(self, label, instance, tells, *, window=32, halo=8, pieces=True):
        self.label, self.instance, self.tells = label, instance, frozenset(tells)
        self.window, self.halo, self.pieces = window, halo, pieces

    def __call__(self, window):
        seen = crop_to(grown(window, self.halo), SHAPE)
        label, instance = self.label[seen], self.instance[seen]
        confidence = np.where((label == 255) & (instance == 0), 255, 200 - label).astype(np.uint8)
        return Labelled(seen, label, instance, confidence)


def painted(seed, classes, *, ignore, other, **options):
    rng = np.random.default_rng(seed)
    small = rng.choice([*classes, *([255] if ignore else []), *([0] if other else [])], size=(15, 18))
    label = small.repeat(4, 0).repeat(4, 1)[: SHAPE[0], : SHAPE[1]].astype(np.uint8)
    ids = rng.integers(1, 30, small.shape).repeat(4, 0).repeat(4, 1)[: SHAPE[0], : SHAPE[1]]
    tells = {*classes, *([0] if other else [])}
    return Painted(label, np.where(np.isin(label, [0, 255]), 0, ids).astype(np.uint32), tells, **options)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_pixel_by_pixel(seed, ignore, other):
    one = painted(seed, (2,), ignore=True, other=True, window=64, halo=0, pieces=False)
    two = painted(seed + 1, (1, 2), ignore=ignore, other=other)
    three = painted(seed + 2, (3,), ignore=True, other=False)
    labeler = CombinedLabeler((one, two, three), SHAPE, classes=5)
    assert (labeler.window, labeler.halo, labeler.pieces) == (32, 8, True)
    assert labeler.tells == {0, 1, 2, 3}
    window = (slice(16, 48), slice(32, 64))
    found = labeler(window)
    assert found.seen == (slice(8, 56), slice(24, 70))
    owners = {}
    for row in range(found.label.shape[0]):
        for col in range(found.label.shape[1]):
            place = row + 8, col + 24
            best, owner = 255, None
            for number, each in enumerate((one, two, three)):
                here, told = each.label[place], {c for e in (one, two, three)[:number] for c in e.tells}
                if here != 255 and (best == 255 or (best == 0 and here != 0 and here not in told)):
                    best, owner = here, (number, each.instance[place])
            assert found.label[row, col] == best
            if owner is None or owner[1] == 0:
                assert found.instance[row, col] == 0
            else:
                owners.setdefault(found.instance[row, col], set()).add(owner)
    assert all(len(owner) == 1 for owner in owners.values())
    assert len({next(iter(owner)) for owner in owners.values()}) == len(owners)


def test_objects_of_no_class_lie_below_everything_that_has_one():
    nothing, none = np.full(SHAPE, 255, np.uint8), np.zeros(SHAPE, np.uint32)
    ids = none.copy()
    ids[10:30, 10:30] = 5
    classes, houses = nothing.copy(), none.copy()
    classes[20:40, 20:40], houses[20:40, 20:40] = 1, 9
    automatic, text = Painted(nothing, ids, ()), Painted(classes, houses, (1,))
    whole = (slice(0, 60), slice(0, 70))
    for order in ((automatic, text), (text, automatic)):
        found = CombinedLabeler(order, SHAPE, classes=3)(whole)
        np.testing.assert_array_equal(found.label, classes)
        assert len(np.unique(found.instance[20:40, 20:40])) == 1
        assert found.instance[10:20, 10:30].all()
        assert found.instance[12, 12] != found.instance[35, 35]
        assert not found.instance[40:].any()


def test_the_rest_is_other_only_where_all_classes_are_known():
    roads, houses = np.zeros(SHAPE, np.uint8), np.full(SHAPE, 255, np.uint8)
    roads[:10], houses[5:20] = 2, 1
    none = np.zeros(SHAPE, np.uint32)
    present = Painted(roads, none, (2,))  # of a data set that has roads alone: 0 is none of those
    text = Painted(houses, none, (1,))
    whole = (slice(0, 60), slice(0, 70))
    expected = np.zeros(SHAPE, np.uint8)
    expected[5:20], expected[:10] = 1, 2
    complete = CombinedLabeler((present, text), SHAPE, classes=3)
    assert complete.tells == {0, 1, 2}
    np.testing.assert_array_equal(complete(whole).label, expected)
    partial = CombinedLabeler((present, text), SHAPE, classes=4)
    assert partial.tells == {1, 2}
    np.testing.assert_array_equal(partial(whole).label, np.where(expected == 0, 255, expected))
