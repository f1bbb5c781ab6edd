"""Mask R-CNN learns to find objects one by one, paints what it finds, and is resumed and kept as any network."""

import numpy as np
import pytest
import torch
from rectangles import CARD, draw, network_of, run
from torchvision.models.detection.roi_heads import paste_masks_in_image

from infra.errors import UnusableInput
from models.batch import Batch
from models.history import History
from models.mask_rcnn import Seen
from models.objects import target_of
from models.predictor import Predictor
from models.registry import build
from models.runtime import Runtime, build_runner, place

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_resumed_training_ends_in_the_same_bits(tmp_path):
    """The places that it learns from are drawn at random: by the step's seed."""
    settings = {"steps": 6, "save_every": 2, "validate_every": 3}
    small = {"width": 8}
    whole = run(tmp_path / "whole", network_of(**small), **settings)

    def deadly(step):
        if step == 5:
            raise KeyboardInterrupt
        return draw(step)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", network_of(**small), batches=deadly, **settings)
    resumed = run(tmp_path / "part", network_of(seed=5, **small), resume=True, **settings)
    ours, theirs = resumed.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [(r.step, r.loss) for r in resumed.history.steps] == [(r.step, r.loss) for r in whole.history.steps]
    assert resumed.history.checks == whole.history.checks
    assert isinstance(whole.history, History)


def test_bfloat16_trains_it_too(tmp_path):
    result = run(tmp_path, network_of(width=8), steps=2, precision="bf16-mixed", accumulate=2)
    assert all(np.isfinite(row.loss) for row in result.history.steps)


def test_a_pixel_is_of_a_class_if_any_object_is_there():
    network = build("mask-rcnn", CARD.arguments | {"width": 8}, bands=1, classes=3)
    rng = np.random.default_rng(0)
    masks = rng.random((4, 9, 7)).astype(np.float32)
    scores, classes = (0.9, 0.4, 0.7, 1.0), (1, 1, 2, 1)
    masks[3, 0, 0] = 1  # as sure as can be
    places = [np.s_[0:9, 0:7], np.s_[5:14, 3:10], np.s_[7:16, 7:14], np.s_[7:16, 13:20]]
    seen = [
        Seen(p, torch.from_numpy(m), torch.tensor(s), c)
        for p, m, s, c in zip(places, masks, scores, classes, strict=True)
    ]
    none = np.ones((3, 16, 20))
    for where, mask, score, klass in zip(places, masks, scores, classes, strict=True):
        none[(klass, *where)] *= 1 - score * mask
    wanted = np.stack([none[1] * none[2], 1 - none[1], 1 - none[2]])
    got = network._painted(seen, (16, 20)).exp().numpy()
    assert np.abs(got - wanted).max() < 2e-6
    assert torch.isfinite(network._painted([], (16, 20))).all()


def test_masks_lie_where_torchvision_would_paste_them():
    network = network_of(width=8).eval()
    image = torch.randn(1, 3, 96, 128)
    features, images = network._features(image)
    with torch.no_grad():
        places, _ = network.places(images, features)
        (found,), _ = network.boxes(features, places, images.image_sizes)
        wanted = paste_masks_in_image(found["masks"], found["boxes"], (96, 128))[:, 0]
        seen = network.instances(image)[0]
    assert len(seen) == len(wanted) > 10
    for one, whole in zip(seen, wanted, strict=True):
        own = torch.zeros(96, 128)
        own[one.place] = one.mask
        assert torch.equal(own, whole)
    scores = [float(one.score) for one in seen]
    assert scores == sorted(scores, reverse=True)


def test_places_on_unlabelled_ground_are_neither_right_nor_wrong():
    network = network_of(width=8)
    labels, objects = (torch.zeros(96, 96, dtype=torch.int64) for _ in range(2))
    labels[10:40, 10:40] = objects[10:40, 10:40] = 1
    labels[:, 60:] = 255
    targets = [target_of(labels, objects)]
    where = torch.tensor([[10.0, 10, 40, 40], [20, 50, 50, 80], [62, 10, 90, 40], [52, 50, 82, 80], [44, 50, 74, 80]])
    told, _ = network.places.assign_targets_to_anchors([where], targets)
    assert told[0].tolist() == [1, 0, -1, -1, 0]
    torch.manual_seed(0)
    taken, _, classes, _ = network.boxes.select_training_samples([where], targets)
    assert sorted(taken[0][classes[0] == 0].tolist()) == sorted(where[[1, 4]].tolist())
    assert taken[0][classes[0] == 1].tolist() == where[[0, 0]].tolist()  # proposed, and given


def test_a_chip_with_little_or_no_label_gives_a_loss_that_is_a_number():
    network = network_of(width=8).train()
    chips = draw(0)
    batch = Batch.of(chips, CARD, torch.device("cpu"))
    blank = torch.full_like(batch.labels, 255)
    loss = network.losses(batch.images, blank, batch.objects)
    assert loss.item() == 0
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    for rows in (1, 30):
        blank[:, :rows] = batch.labels[:, :rows]
        assert torch.isfinite(network.losses(batch.images, blank, batch.objects))


def test_an_image_is_seen_the_same_beside_any_other():
    """Tiles go through a network in batches: what lies beside one must not move a bit of it."""
    predictor = Predictor(CARD, network_of(width=8))
    chips = [draw(n, side=96, count=1) for n in range(3)]
    images = [c.images for c in chips[:2]] + [np.full_like(chips[2].images, 60)]
    both = [predictor(np.concatenate([images[0], other]), np.ones((2, 96, 96), bool)) for other in images[1:]]
    assert np.array_equal(both[0][0], both[1][0])
    assert not np.array_equal(both[0][1], both[1][1])


@pytest.mark.parametrize("kind", ["fused", "compiled"])
def test_what_runs_graphs_refuses_it(kind):
    network = network_of(width=8)
    place(network, "cpu")
    with pytest.raises(UnusableInput, match="--precision float32"):
        build_runner(network, Runtime(kind), shape=(1, 3, 64, 64))


def test_it_is_run_as_it_is_and_what_fills_invalid_pixels_is_no_matter():
    predictor = Predictor(CARD, network_of(width=8))
    chips = draw(1, side=96, count=1)
    valid = chips.valid.copy()
    valid[:, 40:60] = False
    probability = predictor(chips.images, valid)
    assert (probability.sum(axis=1, dtype=int) == 254).all()
    other = np.where(valid[:, None], chips.images, 255).astype(np.uint8)
    assert np.array_equal(predictor(other, valid), probability)
