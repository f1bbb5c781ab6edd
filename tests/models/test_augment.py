"""Views of a batch: labels stay on their pixels, a step's view is its own, nothing leaks out of nodata."""

import pytest
import torch

from models.augment import Augmentation, _turn, augment, step_generator

STILL = {"brightness": 0.0, "colour": 0.0, "contrast": 0.0, "gamma": 1.0, "noise": 0.0}


def batch(side=48, n=6):
    """Image = a smooth ramp; label = a coarse checkerboard; valid = all but a corner."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    images = torch.stack([y, x, y * x]).expand(n, 3, side, side).clone()
    labels = ((y > 0).long() * 2 + (x > 0).long()).expand(n, side, side).clone()
    valid = torch.ones(n, side, side, dtype=torch.bool)
    valid[:, :8, :8] = False
    images[:, :, :8, :8] = 0
    return images, labels, valid


def test_the_eight_symmetries_are_eight_and_exact():
    square = torch.arange(9).reshape(1, 3, 3)
    seen = {tuple(_turn(square, square[0], square[0], k)[0].flatten().tolist()) for k in range(8)}
    rotations = {tuple(torch.rot90(square[0], k).flatten().tolist()) for k in range(4)}
    mirrored = {tuple(torch.rot90(square[0].T, k).flatten().tolist()) for k in range(4)}
    assert seen == rotations | mirrored
    assert len(seen) == 8


def test_labels_stay_with_their_pixels():
    """The image says where each pixel came from: the sign of its ramps is its label, wherever it was moved."""
    images, labels, valid = batch()
    for step in range(10):
        new, truth, ok = augment(
            images, labels, valid=valid, generator=step_generator(0, step), how=Augmentation(**STILL)
        )
        # Blurred and interpolated pixels next to the line between two labels may lie on either side.
        sure = ok & (new[:, 0].abs() > 0.1) & (new[:, 1].abs() > 0.1)
        expected = (new[:, 0] > 0).long() * 2 + (new[:, 1] > 0).long()
        assert sure.float().mean() > 0.5
        assert torch.equal(truth[sure], expected[sure])


def test_a_step_is_a_function_of_seed_and_step_alone():
    views = [
        augment(*batch()[:2], valid=batch()[2], generator=step_generator(s, k))[0]
        for s, k in [(1, 5), (1, 5), (1, 6), (2, 5)]
    ]
    torch.manual_seed(99)
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert not torch.equal(views[0], views[3])


def test_the_samples_of_a_batch_differ():
    new = augment(*batch()[:2], valid=batch()[2], generator=step_generator(0, 0))[0]
    assert len({tuple(sample.flatten()[:500].tolist()) for sample in new}) == len(new)


def test_invalid_pixels_are_zero_and_ignored_and_never_grow_valid():
    images, labels, valid = batch()
    for step in range(10):
        new, truth, ok = augment(images, labels, valid=valid, generator=step_generator(3, step))
        assert not new.permute(0, 2, 3, 1)[~ok].any()
        assert (truth[~ok] == 255).all()
        assert torch.isfinite(new).all()
        assert ok.any()
    _, truth, ok = augment(images, labels, valid=torch.zeros_like(valid), generator=step_generator(0, 0))
    assert not ok.any()
    assert (truth == 255).all()


def test_shapes_types_and_inputs_are_kept():
    images, labels, valid = batch()
    kept = images.clone(), labels.clone(), valid.clone()
    new, truth, ok = augment(images, labels.to(torch.uint8), valid=valid, generator=step_generator(0, 0))
    assert (new.shape, truth.shape, ok.shape) == (images.shape, labels.shape, valid.shape)
    assert (new.dtype, truth.dtype, ok.dtype) == (torch.float32, torch.uint8, torch.bool)
    assert all(torch.equal(a, b) for a, b in zip(kept, (images, labels, valid), strict=True))


def test_a_still_augmentation_only_turns():
    images, labels, valid = batch()
    how = Augmentation(zoom=(1, 1), **STILL)
    generator = step_generator(0, 1)
    new, _, _ = augment(images, labels, valid=valid, generator=generator, how=how)
    turns = [torch.stack([_turn(images[i], labels[i], valid[i], k)[0] for k in range(8)]) for i in range(len(new))]
    exact = [(turns[i] - new[i]).abs().amax(dim=(1, 2, 3)).min() < 1e-5 for i in range(len(new))]
    assert sum(exact) >= 3  # a quarter of the samples is blurred


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="squares"):
        augment(
            torch.zeros(1, 1, 4, 6),
            torch.zeros(1, 4, 6),
            valid=torch.ones(1, 4, 6, dtype=torch.bool),
            generator=step_generator(0, 0),
        )
    with pytest.raises(ValueError, match="zoom"):
        Augmentation(zoom=(1.4, 0.7))
    with pytest.raises(ValueError, match="gamma"):
        Augmentation(gamma=0.5)
