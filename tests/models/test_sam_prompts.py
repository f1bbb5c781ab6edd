"""SAM asked by boxes and lines, and unasked, on a drawn scene whose answer is known, with the real ViT-T weights."""

import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from segment_anything import SamAutomaticMaskGenerator, SamPredictor

from infra.errors import UnusableInput
from models import sam_automatic
from models.sam import ENCODER_FILE, load_sam
from models.sam_automatic import automatic_masks
from models.sam_first import FirstSam
from models.sam_prompts import segment_boxes
from models.segmenter import Prompts, embedding_of, open_window, packed, packed_size

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights"
pytestmark = pytest.mark.skipif(
    not (WEIGHTS / ENCODER_FILE).is_file(), reason="the SAM ViT-T weights are not on this machine"
)
SHAPE = (240, 320)  # not square, not a multiple of anything of SAM's
HOUSES = np.array([[40, 30, 100, 80], [180, 20, 280, 70], [40, 160, 100, 220]], float)
ROAD = slice(104, 128)


@pytest.fixture(scope="module")
def scene():
    """Grass with noise, three houses, one road from side to side; the houses' masks and the road's."""
    rng = np.random.default_rng(0)
    image = np.full((*SHAPE, 3), (70, 110, 60), np.float64)
    road = np.zeros(SHAPE, bool)
    road[ROAD] = True
    image[road] = (95, 95, 100)
    houses = np.zeros((3, *SHAPE), bool)
    for house, (x0, y0, x1, y1) in zip(houses, HOUSES.astype(int), strict=True):
        house[y0:y1, x0:x1] = True
        image[house] = (200, 120, 90)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8), houses, road


@pytest.fixture(scope="module")
def sam():
    return FirstSam(load_sam("sam-vit-t", WEIGHTS))


@pytest.fixture(scope="module")
def window(sam, scene):
    return open_window(sam, scene[0])


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def stacked(found):
    """Masks (n, y, x) and scores (n,)."""
    logits, scores = zip(*found, strict=True)
    return np.stack(logits) > 0, np.array(scores)


def test_boxes_give_the_houses_in_their_order_in_any_batch(window, scene):
    loose = HOUSES + np.array([-3, 2, 4, -2])
    masks, scores = stacked(segment_boxes(window, loose, batch=2))
    assert masks.shape == (3, *SHAPE)
    assert min(iou(m, h) for m, h in zip(masks, scene[1], strict=True)) > 0.93
    assert (scores > 0.6).all()
    assert (scores <= 1).all()
    one, _ = stacked(segment_boxes(window, loose, batch=8))
    assert np.mean(one != masks) < 1e-4


def test_a_mask_stays_at_its_box(window, scene):
    """Half a house is asked for: what SAM makes of the other half is cut off, and the score tells."""
    half = HOUSES[1] - [0, 0, 50, 0]
    [(logit, _)] = segment_boxes(window, half[None])
    mask = logit > 0
    columns = np.flatnonzero(mask.any(0))
    assert columns[-1] < half[2] + 0.05 * 50 + 3


def test_boxes_outside_the_window_and_no_boxes_at_all(window):
    outside = np.array([[400, 10, 450, 60], [50, 50, 50, 80], [-30, -30, -5, 300]], float)
    masks, scores = stacked(segment_boxes(window, outside))
    assert not masks.any()
    assert (scores == 0).all()
    assert not list(segment_boxes(window, np.zeros((0, 4))))


def test_boxes_inside_keep_their_place_among_boxes_outside(window, scene):
    outside = [400.0, 10, 450, 60]
    mixed = np.array([outside, HOUSES[0], outside, HOUSES[1], HOUSES[2], outside])
    masks, scores = stacked(segment_boxes(window, mixed, batch=2))
    assert [bool(mask.any()) for mask in masks] == [bool(s) for s in scores] == [False, True, False, True, True, False]
    assert min(iou(m, h) for m, h in zip(masks[[1, 3, 4]], scene[1], strict=True)) > 0.9


def test_a_million_boxes_take_the_memory_of_a_batch(window):
    """All their masks at once would be 77 GB."""
    boxes = np.tile(HOUSES[:1], (1_000_000, 1))
    tracemalloc.start()
    masks = list(islice(segment_boxes(window, boxes, batch=8), 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all((logit > 0).any() for logit, _ in masks)
    assert peak < 4 * boxes.nbytes


@pytest.mark.parametrize("boxes", [np.zeros((2, 3)), np.array([[50.0, 0, 10, 10]])])
def test_boxes_that_are_none(window, boxes):
    with pytest.raises(UnusableInput, match="expected \\(n, 4\\)"):
        segment_boxes(window, boxes)


def test_a_mask_prompt_is_followed(window, scene):
    """A road's left half as a mask: what SAM gives for the same points is that half, rather than the road."""
    points = np.array([[[x, 116] for x in (20, 60, 100)]], np.float32)
    half = scene[2].copy()
    half[:, 130:] = False
    hint = (2 * window.sam.shrink(half[None], SHAPE) - 1) * 10
    masks = []
    for prompts in (Prompts(points=points), Prompts(points=points, masks=hint)):
        low, _ = window.sam.decode(window, prompts, multimask=False)
        masks.append((window.sam.enlarge(low[:, 0], SHAPE) > 0)[0].cpu().numpy())
    assert iou(masks[1], half) > iou(masks[0], half) + 0.1


def test_unasked_it_finds_the_houses_largest_first(window, scene):
    regions = automatic_masks(window, points_per_side=3)
    areas = regions.masks.sum((1, 2))
    assert list(areas) == sorted(areas, reverse=True)
    assert min(max(iou(m, h) for m in regions.masks) for h in scene[1]) > 0.9
    assert len(regions.scores) == len(regions.stability) == len(regions.masks)


def test_its_masks_are_those_of_the_package(sam, window, scene):
    theirs = SamAutomaticMaskGenerator(
        sam.network, points_per_side=5, points_per_batch=16, pred_iou_thresh=0.6, stability_score_thresh=0.7,
        min_mask_region_area=64,
    ).generate(scene[0])  # fmt: skip
    ours = automatic_masks(window, points_per_side=5, least_score=0.6, least_stability=0.7, every_point=True)
    wanted = [r for r in theirs if r["area"] >= 64]
    assert len(ours.masks) == len(wanted) > 3
    for record in wanted:
        alike = [iou(record["segmentation"], mask) for mask in ours.masks]
        best = int(np.argmax(alike))
        assert alike[best] > 0.995  # sums in another order round otherwise
        assert ours.scores[best] == pytest.approx(record["predicted_iou"], abs=1e-4)
        assert ours.stability[best] == pytest.approx(record["stability_score"], abs=1e-2)


def test_points_that_a_good_mask_covers_are_not_asked_and_no_large_mask_is_lost_by_that(window, monkeypatch):
    asked = []
    real = FirstSam.decode

    def counting(sam, window, prompts, **options):
        asked.append(len(prompts.points))
        return real(sam, window, prompts, **options)

    monkeypatch.setattr(FirstSam, "decode", counting)
    monkeypatch.setattr(sam_automatic, "SMALL", 0.1)  # the scene's houses are large
    least = {"points_per_side": 8, "least_score": 0.6, "least_stability": 0.7}
    everything = automatic_masks(window, every_point=True, **least)
    assert sum(asked) == 64
    asked.clear()
    found = automatic_masks(window, **least)
    assert sum(asked) < 60
    seen = np.zeros(SHAPE, bool)
    for mask in everything.masks:  # the largest first
        if (mask & ~seen).any():
            assert max((mask & m).sum() / (mask | m).sum() for m in found.masks) >= 0.9
        seen |= mask


def test_nothing_but_one_colour_may_give_no_mask_and_does_not_fail(sam):
    window = open_window(sam, np.zeros((64, 48, 3), np.uint8))
    assert automatic_masks(window, points_per_side=2, least_score=2.0).masks.shape == (0, 64, 48)


def test_an_embedding_is_kept_as_float16_and_given_back(sam, window, scene):
    assert embedding_of(window).shape == (256, 64, 64)
    kept = packed(window)
    assert len(kept) == packed_size(sam)
    again = open_window(sam, scene[0], kept=kept)
    assert again.shape == window.shape
    assert np.array_equal(embedding_of(again), embedding_of(window).astype(np.float16))
    assert packed(again) == kept


def test_boxes_are_answered_as_by_the_package_s_own_predictor(sam, window, scene):
    predictor = SamPredictor(sam.network)
    predictor.set_image(scene[0])
    masks, quality, low = predictor.predict(box=HOUSES[0], multimask_output=True)
    found, scores = sam.decode(window, Prompts(boxes=HOUSES[:1].astype(np.float32)), multimask=True)
    # To rounding: on some processors to the bit.
    np.testing.assert_allclose(found[0].numpy(), low, atol=2e-3)
    np.testing.assert_allclose(scores[0].numpy(), quality, atol=1e-4)
    assert np.mean((sam.enlarge(found[0], SHAPE) > 0).numpy() != masks) < 1e-4


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)]
)
def test_images_that_are_none(sam, image):
    with pytest.raises(UnusableInput, match="expected \\(y, x, 3\\) uint8"):
        open_window(sam, image)
