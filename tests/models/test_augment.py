"""Views of a batch: labels stay on their pixels, a step's view is its own, nothing leaks out of nodata."""

import pytest
import torch
from pydantic import ValidationError

from models.augment import Views
from models.batch import Batch
from models.recipe import AugmentRecipe

STILL = {"brightness": 0.0, "colour": 0.0, "contrast": 0.0, "gamma": 1.0, "noise": 0.0, "blur": 0.0}
UNMOVED = {"turn": False, "zoom": (1.0, 1.0)}


def batch_of(side=48, n=6, bands=3):
    """Image = a smooth ramp; label = a coarse checkerboard; valid = all but a corner; surest on the right."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    images = torch.stack([y, x, y * x] * 7)[:bands].expand(n, bands, side, side).clone()
    labels = ((y > 0).long() * 2 + (x > 0).long()).expand(n, side, side).clone()
    valid = torch.ones(n, side, side, dtype=torch.bool)
    valid[:, :8, :8] = False
    images[:, :, :8, :8] = 0
    labels[~valid] = 255
    sure = ((x + 1) / 2).expand(n, side, side).clone()
    return Batch(images, labels, valid, torch.ones(n, 4, dtype=torch.bool), sure)


def view(batch, seed=0, *, chip=48, **how):
    torch.manual_seed(seed)
    return Views(AugmentRecipe(**how), chip=chip, seen=batch.images.shape[-1])(batch)


def test_labels_and_certainty_stay_with_their_pixels():
    """The image says where each pixel came from: the signs of its ramps are its label, wherever it was moved."""
    for seed in range(10):
        new = view(batch_of(72), seed, **STILL)
        # Interpolated pixels next to the line between two labels may lie on either side.
        clear = new.valid & (new.images[:, 0].abs() > 0.1) & (new.images[:, 1].abs() > 0.1)
        expected = (new.images[:, 0] > 0).long() * 2 + (new.images[:, 1] > 0).long()
        assert clear.float().mean() > 0.5
        assert torch.equal(new.labels[clear], expected[clear])
        assert ((new.images[:, 1] + 1) / 2 - new.sure)[new.valid].abs().max() < 0.05


def test_all_eight_symmetries_are_seen_and_exact():
    batch = batch_of(n=200)
    found = view(batch, **STILL, zoom=(1.0, 1.0))
    image = batch.images[0]
    every = [torch.rot90(part, k, (1, 2)) for part in (image, image.transpose(1, 2)) for k in range(4)]
    distance = torch.stack([(found.images - one).abs().amax(dim=(1, 2, 3)) for one in every], dim=1)
    assert distance.min(dim=1).values.max() < 1e-5
    assert set(distance.argmin(dim=1).tolist()) == set(range(8))


def test_zooms_are_between_the_bounds_and_see_what_lies_around():
    """A ramp's slope is the magnification: all between the bounds occur; none needs pixels that are not there."""
    batch = batch_of(side=96, n=100)
    found = view(batch, **STILL, turn=False, zoom=(0.5, 2.0), chip=48)
    assert found.images.shape == (100, 3, 48, 48)
    slope = 2 / 95 / (found.images[:, 1, 24, 47] - found.images[:, 1, 24, 0]) * 47
    assert 0.49 < slope.min() < 0.6
    assert 1.5 < slope.max() < 2.05


def test_a_view_is_a_function_of_the_seed_alone():
    batch = batch_of()
    views = [view(batch, seed, cutout=0.5).images for seed in (5, 5, 6)]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_the_samples_of_a_batch_differ():
    new = view(batch_of(), **UNMOVED).images
    assert len({tuple(sample.flatten()[1000:1500].tolist()) for sample in new}) == len(new)


@pytest.mark.parametrize("bands", [1, 3, 20])
def test_another_light_is_any_number_of_bands_and_moves_nothing(bands):
    batch = batch_of(bands=bands)
    new = view(batch, **UNMOVED, blur=0, noise=0)
    assert torch.equal(new.labels, batch.labels)
    for old, lit in zip(batch.images, new.images, strict=True):
        for band in range(bands):
            pair = torch.stack([old[band][batch.valid[0]], lit[band][batch.valid[0]]])
            assert torch.corrcoef(pair)[0, 1] > 0.95
    assert not torch.allclose(new.images, batch.images, atol=0.1)


def test_what_is_no_data_has_no_part_in_the_light():
    batch, half = batch_of(), batch_of()
    for one in (batch, half):
        one.images.add_(3)  # far from the 0 of no data
        one.valid[:, :, :24] = False
        one.labels[~one.valid] = 255
    half.images.masked_fill_(~half.valid[:, None], 0.0)
    lit, of_half = (view(one, 5, **UNMOVED, noise=0.0, blur=0.0) for one in (batch, half))
    known = lit.valid[:, None].expand_as(lit.images)
    assert (lit.images[known] - batch.images[known]).abs().max() > 0.1
    torch.testing.assert_close(of_half.images, lit.images)
    low, high = (batch.images[known].min(), batch.images[known].max())
    still = view(half, 5, **UNMOVED, **STILL | {"gamma": 2.0}).images[known]
    assert still.min() > low - 0.01, "a tone curve moves values between the sample's own extremes"
    assert still.max() < high + 0.01


def test_invalid_pixels_are_zero_and_ignored_and_never_grow_valid():
    batch = batch_of()
    for seed in range(10):
        new = view(batch, seed, cutout=1.0)
        assert not new.images.movedim(1, -1)[~new.valid].any()
        assert (new.labels[~new.valid] == 255).all()
        assert torch.isfinite(new.images).all()
        assert new.valid.any()
    blind = Batch(batch.images * 0, batch.labels * 0 + 255, torch.zeros_like(batch.valid), batch.told, None)
    new = view(blind)
    assert not new.valid.any()
    assert (new.labels == 255).all()
    assert new.sure is None


def test_holes_are_without_data():
    batch = batch_of(n=20)
    new = view(batch, **UNMOVED, **STILL, cutout=1.0)
    share = (batch.valid & ~new.valid).float().mean(dim=(1, 2))
    assert share.min() > 0.002
    assert share.max() < 0.1


def test_nothing_that_was_given_is_changed():
    batch = batch_of()
    kept = [part.clone() for part in (batch.images, batch.labels, batch.valid, batch.sure)]
    view(batch, cutout=0.5)
    for before, after in zip(kept, (batch.images, batch.labels, batch.valid, batch.sure), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("wrong", [{"zoom": (1.4, 0.7)}, {"zoom": (0.1, 1.0)}, {"gamma": 0.5}, {"cutout": 1.1}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        AugmentRecipe(**wrong)
