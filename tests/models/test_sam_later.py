"""SAM 2 and SAM 3 behind the Protocol, against transformers' own models and processors given the same prompts."""

import json
import shutil

import numpy as np
import pytest
import torch
from small_sams import save_sam2, save_sam3, save_sam3_tracker, save_sam3_video

from infra.errors import UnusableInput
from models import hugging_face
from models.sam_automatic import automatic_masks
from models.sam_later import load_later_sam
from models.sam_prompts import segment_boxes
from models.segmenter import Prompts, embedding_of, open_window, packed, packed_size

transformers = pytest.importorskip("transformers")
SHAPE = (90, 140)
BOXES = np.array([[10, 20, 60, 70], [80.5, 5, 130, 40], [30, 30, 35, 36]], np.float32)
POINTS = np.array([[[20, 30], [25.5, 40]], [[100, 20], [120, 60]]], np.float32)
KINDS = {"sam2-tiny": save_sam2, "sam3": save_sam3_tracker}


@pytest.fixture(scope="module", params=list(KINDS))
def both(request, tmp_path_factory):
    """Ours, and the model and processor of transformers that ours should equal."""
    folder = KINDS[request.param](tmp_path_factory.mktemp("sam") / request.param)
    ours = load_later_sam(request.param, folder)
    model, processor, image = {
        "sam2-tiny": (transformers.Sam2Model, transformers.Sam2Processor, transformers.Sam2ImageProcessor),
        "sam3": (transformers.Sam3TrackerModel, transformers.Sam3TrackerProcessor, transformers.Sam3ImageProcessor),
    }[request.param]
    side = ours.network.config.prompt_encoder_config.image_size
    return ours, model.from_pretrained(folder).eval(), processor(image(size={"height": side, "width": side}))


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    picture[20:70, 10:60] = (200, 80, 60)
    return picture


def ask_theirs(both, picture, *, multimask, input_masks=None, **prompts):
    """Masks in the picture's pixels and predicted IoUs, as transformers' documentation does it."""
    _, model, processor = both
    inputs = processor(images=picture, return_tensors="pt", **prompts)
    if input_masks is not None:
        inputs["input_masks"] = input_masks
    with torch.no_grad():
        out = model(**{k: v for k, v in inputs.items() if k != "original_sizes"}, multimask_output=multimask)
    masks = processor.post_process_masks(out.pred_masks, inputs["original_sizes"])[0]
    return masks.numpy(), out.iou_scores[0].numpy()


def ask_ours(both, picture, prompts, *, multimask):
    sam = both[0]
    window = open_window(sam, picture)
    low, scores = sam.decode(window, prompts, multimask=multimask)
    masks = torch.stack([sam.enlarge(each, SHAPE) > 0 for each in low])
    return masks.numpy(), scores.numpy()


def assert_same(found, wanted):
    assert found[0].shape == wanted[0].shape
    assert 0 < wanted[0].mean() < 1, "an empty or full mask would show nothing"
    assert np.array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


@pytest.mark.parametrize("multimask", [True, False])
def test_boxes_are_answered_as_by_transformers(both, picture, multimask):
    wanted = ask_theirs(both, picture, input_boxes=[BOXES.tolist()], multimask=multimask)
    assert_same(ask_ours(both, picture, Prompts(boxes=BOXES), multimask=multimask), wanted)


@pytest.mark.parametrize("multimask", [True, False])
def test_points_are_answered_as_by_transformers(both, picture, multimask):
    labels = [[[1, 1], [1, 1]]]
    wanted = ask_theirs(both, picture, input_points=[POINTS.tolist()], input_labels=labels, multimask=multimask)
    assert_same(ask_ours(both, picture, Prompts(points=POINTS), multimask=multimask), wanted)
    in_double = Prompts(points=POINTS.astype(np.float64))
    assert_same(ask_ours(both, picture, in_double, multimask=multimask), wanted)


def test_mask_prompts_are_answered_one_by_one_as_by_transformers(both, picture):
    sam = both[0]
    hints = np.zeros((2, *SHAPE), bool)
    hints[0, 20:70, 10:60] = hints[1, 40:, 90:] = True
    coarse = (2 * sam.shrink(hints, SHAPE) - 1) * 10
    found = ask_ours(both, picture, Prompts(points=POINTS, masks=coarse), multimask=False)
    for n in range(2):
        wanted = ask_theirs(
            both, picture, input_points=[POINTS[n : n + 1].tolist()], input_labels=[[[1, 1]]],
            input_masks=coarse[n : n + 1, None], multimask=False,
        )  # fmt: skip
        np.testing.assert_allclose(found[1][n : n + 1], wanted[1], atol=1e-6)
        assert np.mean(found[0][n] != wanted[0][0]) < 1e-3, "a batch of two may round otherwise than one"


def test_a_mask_prompt_is_the_mean_of_its_cells(both):
    sam = both[0]
    side = sam.shrink(np.ones((1, 8, 8), bool), (8, 8)).shape[-1]
    mask = np.random.default_rng(0).random((1, 3 * side, 2 * side)) > 0.5
    cells = mask.reshape(side, 3, side, 2).mean((1, 3))
    np.testing.assert_allclose(sam.shrink(mask, mask.shape[1:])[0].numpy(), cells, atol=1e-6)


def test_an_embedding_is_kept_as_float16_and_given_back(both, picture):
    sam = both[0]
    window = open_window(sam, picture)
    assert [tuple(array.shape[1:]) for array in window.embedding] == list(sam.shapes)
    kept = packed(window)
    assert len(kept) == packed_size(sam)
    again = open_window(sam, picture, kept=kept)
    assert packed(again) == kept
    for first, second in zip(window.embedding, again.embedding, strict=True):
        torch.testing.assert_close(first, second, atol=2e-3, rtol=1e-3)
    assert embedding_of(window).shape == sam.shapes[-1]


def test_cells_cover_the_picture_from_side_to_side(both):
    rows, columns = both[0].cells(SHAPE)
    assert (rows * SHAPE[0], columns * SHAPE[1]) == pytest.approx(both[0].shapes[-1][1:])


def test_boxes_masks_and_no_prompts_at_all_go_through(both, picture):
    window = open_window(both[0], picture)
    assert [mask.shape for mask, _ in segment_boxes(window, BOXES.astype(float))] == 3 * [SHAPE]
    core = np.zeros(SHAPE, bool)
    core[40:50] = True
    hint = 20 * both[0].shrink(core[None], SHAPE) - 10
    low, _ = both[0].decode(window, Prompts(points=POINTS[:1], masks=hint), multimask=False)
    assert both[0].enlarge(low[:, 0], SHAPE).shape == (1, *SHAPE)
    found = automatic_masks(window, points_per_side=3, least_score=0.0, least_stability=0.0)
    assert found.masks.shape[1:] == SHAPE


def test_sam_3_is_taken_out_of_the_file_that_holds_both_its_parts(tmp_path, picture):
    sam = load_later_sam("sam3", save_sam3_video(tmp_path))
    low, scores = sam.decode(open_window(sam, picture), Prompts(boxes=BOXES), multimask=True)
    assert low.shape[:2] == scores.shape == (3, 3)


def copy(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy")


@pytest.fixture(scope="module")
def sam2(tmp_path_factory):
    return save_sam2(tmp_path_factory.mktemp("good") / "sam2")


def test_weights_of_another_network_are_refused(sam2, tmp_path):
    with pytest.raises(UnusableInput, match="a network 'sam2', expected sam3_tracker or sam3_video"):
        load_later_sam("sam3", sam2)
    with pytest.raises(UnusableInput, match="a network 'sam3', expected sam2"):
        load_later_sam("sam2-tiny", save_sam3(tmp_path))


def test_a_folder_without_its_files_is_refused(sam2, tmp_path):
    with pytest.raises(UnusableInput, match=r"expected a folder with config\.json and model\.safetensors"):
        load_later_sam("sam2-tiny", tmp_path)
    bare = copy(sam2, tmp_path)
    (bare / "model.safetensors").unlink()
    with pytest.raises(UnusableInput, match=r"expected a folder with config\.json and model\.safetensors"):
        load_later_sam("sam2-tiny", bare)


@pytest.mark.parametrize("fault", ["truncated", "a tensor short", "a tensor of another shape"])
def test_damaged_weights_are_refused(sam2, tmp_path, fault):
    from safetensors.torch import load_file, save_file

    bad = copy(sam2, tmp_path)
    path = bad / "model.safetensors"
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:100_000])
    else:
        tensors = load_file(path)
        tensor = tensors.pop("mask_decoder.iou_token.weight")
        if fault == "a tensor of another shape":
            tensors["mask_decoder.iou_token.weight"] = tensor[:, :5].clone()
        save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UnusableInput, match=r"cannot be read|1 tensors are missing \(the first is mask_decoder\.iou"):
        load_later_sam("sam2-tiny", bad)


def test_a_damaged_config_is_refused(sam2, tmp_path):
    bad = copy(sam2, tmp_path)
    (bad / "config.json").write_text("{")
    with pytest.raises(UnusableInput, match=r"config\.json is damaged"):
        load_later_sam("sam2-tiny", bad)
    (bad / "config.json").write_text(json.dumps({"model_type": "sam2", "vision_config": 5}))
    with pytest.raises(UnusableInput, match="cannot be read"):
        load_later_sam("sam2-tiny", bad)


def test_another_size_of_sam_2_is_named(sam2, monkeypatch):
    from models import sam_later

    monkeypatch.setitem(sam_later._SIZES, "sam2-large", (8, [1, 1, 2, 1]))
    with pytest.raises(UnusableInput, match="holds sam2-large, and sam2-tiny was asked for; give --sam sam2-large"):
        load_later_sam("sam2-tiny", sam2)


def test_without_transformers_its_installation_is_asked_for(sam2, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnusableInput, match=r"pip install 'geoloom\[sam\]'"):
        hugging_face.load_network("Sam2Model", sam2, types=("sam2",), device="cpu")


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UnusableInput, match="no SAM 'sam2-huge'"):
        load_later_sam("sam2-huge", tmp_path)
