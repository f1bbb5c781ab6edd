"""What Mask R-CNN is told of a chip: its objects, and where nobody knows."""

import numpy as np
import torch

from models.augment import Views
from models.batch import Batch
from models.chips import Chips
from models.objects import LEAST, mostly_unknown, target_of
from models.paste import pasted
from models.recipe import AugmentRecipe


def test_targets_are_the_objects_that_are_large_enough():
    labels, objects = (torch.zeros(40, 50, dtype=torch.int64) for _ in range(2))
    for number, klass, place in [(7, 2, np.s_[3:13, 20:26]), (2, 1, np.s_[3:13, 26:30]), (9, 1, np.s_[30:33, 0:5])]:
        labels[place], objects[place] = klass, number
    labels[20:], objects[25:28] = 255, 3
    target = target_of(labels, objects)
    assert LEAST > 15
    assert target["boxes"].tolist() == [[26, 3, 30, 13], [20, 3, 26, 13]]
    assert target["labels"].tolist() == [1, 2]
    assert torch.equal(target["masks"].bool(), torch.stack([objects == 2, objects == 7]))
    assert torch.equal(target["ignored"], labels == 255)
    labels[30:] = 1
    assert torch.equal(target_of(labels, objects)["ignored"], (labels == 255) | (objects == 9))


def test_a_chip_without_objects_has_targets_of_none():
    target = target_of(*(torch.zeros(8, 9, dtype=torch.int64) for _ in range(2)))
    assert [tuple(target[name].shape) for name in ("boxes", "labels", "masks")] == [(0, 4), (0,), (0, 8, 9)]


def test_unknown_is_what_is_mostly_ignored_by_counting():
    rng = np.random.default_rng(0)
    ignored = torch.from_numpy(np.kron(rng.random((6, 8)) < 0.5, np.ones((8, 8))) > 0)
    x, y = (np.sort(rng.integers(0, n + 1, (60, 2)), axis=1) for n in (64, 48))
    keep = (x[:, 0] < x[:, 1]) & (y[:, 0] < y[:, 1])
    boxes = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)[keep]
    expected = [bool(ignored[b[1] : b[3], b[0] : b[2]].float().mean() > 0.5) for b in boxes]
    assert True in expected
    assert False in expected
    assert mostly_unknown(torch.from_numpy(boxes).float(), ignored).tolist() == expected
    assert mostly_unknown(torch.tensor([[0.0, 0, 9, 9], [9, 9, 12, 12]]), torch.ones(20, 20) > 0).tolist() == [
        False, True,
    ]  # fmt: skip


def chips():
    """Two touching objects in the first chip, which are one connected part of class 1; one in the second."""
    labels, objects = np.zeros((2, 64, 64), np.uint8), np.zeros((2, 64, 64), np.int32)
    labels[0, 10:30, 10:40] = 1
    objects[0, 10:30, 10:25], objects[0, 10:30, 25:40] = 1, 2
    labels[1, 40:60, 40:60], objects[1, 40:60, 40:60] = 1, 1
    images = np.where(objects, 50 * objects + 50, 10).astype(np.uint8)[:, None]
    return Chips(images, labels, np.ones(labels.shape, bool), np.ones((2, 2), bool), None, objects)


def test_objects_go_along_with_their_pixels(monkeypatch):
    monkeypatch.setattr("models.paste.MOST", 1 / 4)
    several = chips()
    for seed in range(20):
        found = pasted(several, share=1.0, rng=np.random.default_rng(seed))
        if (found.objects[1] != several.objects[1]).any():
            break
    assert [int((found.objects[1] == k).sum()) for k in (1, 2, 3)] == [400, 300, 300]
    assert np.array_equal(found.objects > 0, found.labels == 1)
    assert len(Chips.join([several, several]).objects) == 4
    assert np.array_equal(several.part(slice(1, 2)).objects, several.objects[1:])


def test_views_move_objects_as_they_move_labels():
    torch.manual_seed(1)
    several = chips()
    objects = torch.from_numpy(several.objects).long()
    images = torch.from_numpy(several.images.astype(np.float32))
    batch = Batch(
        images, torch.from_numpy(several.labels).long(), torch.from_numpy(several.valid), torch.ones(2, 2) > 0,
        torch.rand(2, 64, 64), objects,
    )  # fmt: skip
    still = AugmentRecipe(brightness=0, colour=0, contrast=0, gamma=1, blur=0, noise=0)
    view = Views(still, chip=48, seen=64)(batch)
    assert view.objects.dtype == torch.int64
    assert view.objects.shape == view.labels.shape == (2, 48, 48)
    assert torch.equal(view.objects > 0, view.labels == 1)
    assert set(view.objects.unique().tolist()) == {0, 1, 2}
    grey = view.images[:, 0]
    for number in (1, 2):
        assert (grey[view.objects == number] - (50 + 50 * number)).abs().median() < 1
