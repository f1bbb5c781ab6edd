"""SAM 3 asked by text, against transformers' own model and processor, and the rules that join what it finds."""

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_sams import save_sam2, save_sam3, save_sam3_video

from infra.errors import UnusableInput
from models.sam_text import LEAST_CONFIDENCE, SAME, distinct, load_text_sam

transformers = pytest.importorskip("transformers")
SHAPE = (90, 140)
TEXTS = {1: ("house", "houses", "building"), 2: ("road",), 4: ("tree", "trees", "grass")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_sam3(tmp_path_factory.mktemp("sam") / "sam3", seed=3)


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    picture[20:70, 10:60] = (200, 80, 60)
    return picture


@pytest.fixture(scope="module")
def theirs(folder, picture):
    """Text → coarse masks, masks in the picture's pixels and confidences, as transformers' documentation does it."""
    model = transformers.Sam3Model.from_pretrained(folder).eval()
    processor = transformers.Sam3Processor.from_pretrained(folder)
    found = {}
    for text in itertools.chain(*TEXTS.values()):
        inputs = processor(images=picture, text=text, return_tensors="pt")
        with torch.no_grad():
            out = model(**{name: value for name, value in inputs.items() if name != "original_sizes"})
        (result,) = processor.post_process_instance_segmentation(
            out, threshold=LEAST_CONFIDENCE, target_sizes=inputs["original_sizes"].tolist()
        )
        sure = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0]
        coarse = out.pred_masks[0][sure > LEAST_CONFIDENCE] > 0
        found[text] = coarse.numpy(), result["masks"].bool().numpy(), result["scores"].numpy()
    return found


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def chosen_by_hand(masks, scores):
    kept = []
    for n in sorted(range(len(masks)), key=lambda n: -scores[n]):
        if masks[n].any() and all(iou(masks[n], masks[k]) <= SAME for k in kept):
            kept.append(n)
    return kept


def test_a_picture_gives_what_transformers_gives_text_by_text_and_no_object_twice(folder, picture, theirs):
    found = load_text_sam(folder, TEXTS)(picture)
    wanted, seen = [], 0
    for klass, texts in TEXTS.items():
        coarse, masks, scores = (np.concatenate(each) for each in zip(*(theirs[t] for t in texts), strict=True))
        kept = chosen_by_hand(coarse, scores)
        seen += len(masks)
        wanted += [(klass, scores[n], masks[n].tobytes()) for n in kept]
    assert 3 < len(wanted) < seen, "nothing to join, or nothing left"
    assert len({klass for klass, *_ in wanted}) > 1
    wanted.sort(key=lambda each: -each[1])
    assert list(found.confidences) == [score for _, score, _ in wanted]
    assert sorted(zip(found.classes.tolist(), [m.tobytes() for m in found.masks], strict=True)) == sorted(
        (klass, mask) for klass, _, mask in wanted
    )
    assert found.masks.shape[1:] == SHAPE


def test_doubt_about_the_picture_lowers_confidences_and_is_no_gate(folder, picture):
    """That there is a road has a chance of 0.4 only: a mask that is sure of itself stays, less sure by as much."""
    sam = load_text_sam(folder, {2: ("road",)})
    seen = []
    forward = sam.network.forward
    sam.network.forward = lambda **given: seen.append(forward(**given)) or seen[-1]
    before = sam(picture)
    presence = seen[0].presence_logits.item()
    sam.network.detr_decoder.presence_head.layer3.bias += np.log(0.4 / 0.6) - presence
    after = sam(picture)
    lowered = before.confidences * 0.4 / seen[0].presence_logits.sigmoid().item()
    assert len(before.confidences) > len(after.confidences) > 0
    np.testing.assert_allclose(after.confidences, lowered[lowered > LEAST_CONFIDENCE], rtol=1e-5)
    np.testing.assert_array_equal(after.masks, before.masks[lowered > LEAST_CONFIDENCE])


def test_nothing_found_gives_no_object(folder, picture):
    sam = load_text_sam(folder, TEXTS)
    sam.network.detr_decoder.presence_head.layer3.bias -= 50
    found = sam(picture)
    assert found.masks.shape == (0, *SHAPE)
    assert found.classes.shape == found.confidences.shape == (0,)


def test_the_picture_is_encoded_once_and_every_text_once(folder, picture, monkeypatch):
    seen, read = [], []
    kind = transformers.Sam3Model
    vision, text = kind.get_vision_features, kind.get_text_features
    monkeypatch.setattr(kind, "get_vision_features", lambda *a, **k: seen.append(1) or vision(*a, **k))
    monkeypatch.setattr(kind, "get_text_features", lambda *a, **k: read.append(1) or text(*a, **k))
    sam = load_text_sam(folder, TEXTS)
    sam(picture)
    sam(picture)
    assert (len(seen), len(read)) == (2, 7)


def test_lanes_that_share_a_network_find_what_one_finds(folder):
    sam = load_text_sam(folder, TEXTS)
    pictures = list(np.random.default_rng(1).integers(0, 256, (8, *SHAPE, 3)).astype(np.uint8))
    alone = [sam(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as lanes:
        together = list(lanes.map(sam, pictures))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.masks, other.masks)
        np.testing.assert_array_equal(one.confidences, other.confidences)


@given(st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_of_masks_that_are_one_object_the_surest_stays(count, seed):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 6, 6), bool)
    for mask in masks:
        y, x, h, w = rng.integers(0, 5, 4)
        mask[y : y + h, x : x + w] = True
    scores = rng.integers(0, 4, count) / 4  # ties: who comes first
    found = distinct(torch.from_numpy(masks), torch.from_numpy(scores).float())
    assert found.tolist() == chosen_by_hand(masks, scores)


def test_sam_3_is_taken_out_of_the_file_that_holds_both_its_parts(tmp_path, picture):
    found = load_text_sam(save_sam3_video(tmp_path), {1: ("house",)})(picture)
    assert len(found.masks) == len(found.classes) == len(found.confidences)


@pytest.mark.parametrize("file", ["tokenizer.json", "processor_config.json"])
def test_a_folder_without_a_tokenizer_or_image_processor_is_refused(folder, tmp_path, file):
    bare = shutil.copytree(folder, tmp_path / "copy")
    (bare / file).unlink()
    with pytest.raises(UnusableInput, match=f"lacks {file}, without which SAM 3 reads no text"):
        load_text_sam(bare, TEXTS)
    (bare / file).write_text("{")
    with pytest.raises(UnusableInput, match="cannot be read"):
        load_text_sam(bare, TEXTS)


def test_a_text_that_is_too_long_is_refused(folder):
    with pytest.raises(UnusableInput, match="longer than the 32 tokens"):
        load_text_sam(folder, {1: ("house " * 40,)})


def test_sam_2_cannot_be_asked_by_text(tmp_path):
    with pytest.raises(UnusableInput, match="a network 'sam2', expected sam3 or sam3_video"):
        load_text_sam(save_sam2(tmp_path), TEXTS)
