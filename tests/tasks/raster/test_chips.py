"""Chips: rare classes are drawn as often as common ones, and validation is never trained on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import UnusableInput
from tasks.raster.chips import count_labels, draw_chips, plan_chips, plan_regions

IGNORE = 255


def plan(label, *, chip=16, classes=3, share=0.2, seed=0, cells=4, before=None):
    counted = count_labels(lambda window: label[window], label.shape, chip=chip, classes=classes)
    regions = plan_regions(counted, chip=chip, share=share, seed=seed, before=before)
    return plan_chips(counted, regions, chip=chip, cells=cells)


def draw(found, count, rng, **how):
    return [corner for _, corner in draw_chips([found], count, rng, **how)]


def touched(shape, corners, chip):
    mask = np.zeros(shape, bool)
    for row, col in corners:
        mask[row : row + chip, col : col + chip] = True
    return mask


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(16, 260),
    cols=st.integers(16, 260),
    chip=st.sampled_from([8, 16]),
    share=st.floats(0.01, 1),
    known=st.sampled_from([0.0005, 0.02, 1.0]),
    seed=st.integers(0, 99),
    cells=st.integers(4, 9),
)
def test_no_training_window_touches_a_validation_chip(rows, cols, chip, share, known, seed, cells):
    rng = np.random.default_rng(seed)
    label = np.where(rng.random((rows, cols)) < known, rng.integers(0, 3, (rows, cols)), IGNORE).astype(np.uint8)
    inner = label[: rows // (chip // 4) * (chip // 4), : cols // (chip // 4) * (chip // 4)]
    if (inner == IGNORE).all():
        with pytest.raises(UnusableInput, match="No training chip holds a labelled pixel"):
            plan(label, chip=chip, share=share, seed=seed)
        return
    side = cells * chip // 4
    try:
        found = plan(label, chip=chip, share=share, seed=seed, cells=cells)
    except UnusableInput:
        assert cells > 4  # only larger windows may find no place
        return
    assert found.side == side
    training = touched(label.shape, found.training, side)
    validation = touched(label.shape, found.validation, chip)
    assert not (training & validation).any()
    assert validation.sum() == len(found.validation) * chip * chip  # they share no pixel among themselves
    for corners, size in ((found.training, side), (np.array(found.validation).reshape(-1, 2), chip)):
        assert (corners >= 0).all()
        assert (corners[:, 0] + size <= rows).all()
        assert (corners[:, 1] + size <= cols).all()
    for (row, col), counts in zip(found.training[::7], found.counts[::7], strict=True):
        part = label[row : row + side, col : col + side]
        assert counts.tolist() == [(part == k).sum() for k in range(3)]
        assert counts.sum() > 0
    for row, col in found.validation:
        assert (label[row : row + chip, col : col + chip] != IGNORE).any()


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.3])
def test_about_the_share_asked_for_is_kept(share):
    label = np.zeros((1000, 1000), np.uint8)
    found = plan(label, share=share)
    kept = touched(label.shape, found.validation, 16).mean()
    assert kept == pytest.approx(share, abs=0.025)


def test_labels_in_one_corner_leave_something_to_train_on():
    """A share of all regions would take every labelled one."""
    label = np.full((2000, 2000), IGNORE, np.uint8)
    label[:100, :190] = 1
    found = plan(label, share=0.2)
    assert len(found.training) > 0
    assert len(found.validation) > 0


def test_without_a_share_there_is_no_validation():
    found = plan(np.zeros((100, 100), np.uint8), share=0)
    assert found.validation == ()
    assert found.training.min() == 0
    assert touched((100, 100), found.training, 16).all()


def test_a_rare_class_is_the_reason_for_its_share_of_draws():
    """1 % of class 2 in one corner: of draws without balance 1 in 50 would show it, here at least 1 in 3."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, (400, 400)).astype(np.uint8)
    label[300:340, 300:340] = 2
    assert (label == 2).mean() == pytest.approx(0.01)
    found = plan(label, share=0)
    chips = draw(found, 3000, np.random.default_rng(1))
    shows = np.mean([(label[r : r + 16, c : c + 16] == 2).any() for r, c in chips])
    evenly = np.mean([(label[r : r + 16, c : c + 16] == 2).any() for r, c in found.training])
    assert evenly < 0.03
    assert shows > 1 / 3 - 0.03
    assert shows < 1 / 3 + 0.06


def test_drawn_evenly_every_window_has_the_same_chance():
    label = np.zeros((64, 64), np.uint8)
    label[:4, :4] = 2
    found = plan(label, share=0)
    drawn = draw(found, 20_000, np.random.default_rng(3), balanced=False)
    number = {tuple(corner): i for i, corner in enumerate(found.training.tolist())}
    seen = np.bincount([number[c] for c in drawn], minlength=len(number)) / len(drawn)
    assert np.abs(seen - 1 / len(number)).max() < 4 * np.sqrt(1 / len(number) / len(drawn))


def test_a_chip_is_drawn_in_proportion_to_its_pixels_of_the_class():
    label = np.zeros((16, 400), np.uint8)
    label[:, :16] = 1
    label[0:8, 200:216] = 1
    found = plan(label, classes=2, share=0)
    drawn = draw(found, 40_000, np.random.default_rng(2))
    expected = np.zeros(len(found.training))
    for klass in (0, 1):
        expected += found.counts[:, klass] / found.counts[:, klass].sum() / 2
    number = {tuple(corner): i for i, corner in enumerate(found.training.tolist())}
    seen = np.bincount([number[c] for c in drawn], minlength=len(expected)) / len(drawn)
    assert np.abs(seen - expected).max() < 4 * np.sqrt(expected.max() / len(drawn))


def test_classes_that_do_not_occur_are_not_drawn_for():
    label = np.full((64, 64), 2, np.uint8)
    found = plan(label, classes=5, share=0)
    assert found.totals.tolist()[0:2] == [0, 0]
    assert len(draw(found, 10, np.random.default_rng(0))) == 10


def test_a_class_that_one_of_several_scenes_has_is_drawn_as_often_as_the_others():
    common = np.random.default_rng(0).integers(0, 2, (200, 200)).astype(np.uint8)
    rare = common.copy()
    rare[:40, :40] = 2
    plans = [plan(label, share=0) for label in (common, rare, common)]
    drawn = draw_chips(plans, 9000, np.random.default_rng(1))
    assert [scene for scene, _ in drawn] == sorted(scene for scene, _ in drawn)
    labels = (common, rare, common)
    shows = np.mean([(labels[n][r : r + 16, c : c + 16] == 2).any() for n, (r, c) in drawn])
    assert 1 / 3 - 0.03 < shows < 1 / 3 + 0.06
    scenes = np.bincount([n for n, _ in draw_chips(plans, 9000, np.random.default_rng(2), balanced=False)]) / 9000
    np.testing.assert_allclose(scenes, 1 / 3, atol=0.03)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 99),
    grown=st.integers(0, 99),
    share=st.floats(0.05, 0.5),
    chips=st.sampled_from([(16, 16), (16, 32), (64, 16)]),
)
def test_what_was_learnt_from_is_never_held_back_afterwards(seed, grown, share, chips):
    """Labels grow, as corrections do, twice; whichever chips are cut then, up to edges that cut regions."""
    label, before, learnt = np.full((512, 336), IGNORE, np.uint8), None, np.zeros((512, 336), bool)
    rng = np.random.default_rng(grown)
    for chip in (chips[0], *chips):
        for r, c in rng.integers(0, 5, (4, 2)) * 64:
            label[r : r + 80, c : c + 80] = rng.integers(0, 3, (80, 80))
        found = plan(label, chip=chip, share=share, seed=seed, before=before)
        held = touched(label.shape, found.validation, chip)
        assert not (held & learnt & (label != IGNORE)).any()
        if before is not None and chip == chips[0]:
            again = plan(label, chip=chip, share=share, seed=seed, before=found.regions)
            assert again.validation == found.validation, "resumed, it goes on as it was"
        learnt |= touched(label.shape, found.training, found.side) & (label != IGNORE)
        before = found.regions


def test_new_labels_leave_what_is_held_back_where_it_is():
    label = np.zeros((1024, 1024), np.uint8)
    label[:256, :256] = IGNORE
    first = plan(label, chip=64, share=0.2)
    label[:256, :256] = 1
    second = plan(label, chip=64, share=0.2, before=first.regions)
    assert set(first.regions.held) <= set(second.regions.held)
    assert not set(second.regions.held) & set(first.regions.learnt)
    assert set(second.regions.held) | set(second.regions.learnt) == {
        (r, c) for r in range(0, 1024, 256) for c in range(0, 1024, 256)
    }


@pytest.mark.parametrize("cells", [4, 6])
def test_what_windows_reach_is_what_they_cover(cells):
    label = np.random.default_rng(0).integers(0, 3, (300, 260)).astype(np.uint8)
    found = plan(label, share=0.3, cells=cells)
    covered = touched(label.shape, found.training, found.side)
    counted = count_labels(lambda window: label[window], label.shape, chip=16, classes=3)
    assert found.reached(counted, 4).tolist() == np.bincount(label[covered], minlength=3).tolist()


def test_the_same_seed_gives_the_same_chips_and_another_gives_others():
    label = np.random.default_rng(0).integers(0, 3, (600, 600)).astype(np.uint8)
    one, two, other = plan(label, seed=1), plan(label, seed=1), plan(label, seed=2)
    assert one.validation == two.validation != other.validation
    np.testing.assert_array_equal(one.training, two.training)
    draws = [draw(p, 50, np.random.default_rng(7)) for p in (one, two)]
    assert draws[0] == draws[1] != draw(one, 50, np.random.default_rng(8))


def test_the_scene_is_read_in_parts_that_fit_memory():
    label = np.random.default_rng(0).integers(0, 3, (2500, 4100)).astype(np.uint8)
    sizes = []

    def read(window):
        sizes.append(label[window].shape)
        return label[window]

    counted = count_labels(read, label.shape, chip=256, classes=3)
    found = plan_chips(counted, plan_regions(counted, chip=256, share=0.1, seed=0), chip=256)
    assert max(max(s) for s in sizes) <= 2048
    row, col = found.training[0]
    assert found.counts[0].tolist() == [(label[row : row + 256, col : col + 256] == k).sum() for k in range(3)]


def test_a_scene_of_one_chip_trains_and_does_not_validate():
    found = plan(np.ones((16, 17), np.uint8))
    assert found.training.tolist() == [[0, 0]]
    assert found.validation == ()


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(UnusableInput, match="The scene has 15 x 100 pixels and a chip 16 x 16"):
        plan(np.zeros((15, 100), np.uint8))
    with pytest.raises(UnusableInput, match="No training chip holds a labelled pixel"):
        plan(np.full((100, 100), IGNORE, np.uint8))
    with pytest.raises(UnusableInput, match="hold the id 3 and the class map ends at 2"):
        plan(np.full((100, 100), 3, np.uint8))
