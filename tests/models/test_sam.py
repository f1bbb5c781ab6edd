"""SAM as Meta's package runs it, on the real ViT-T weights and on untrained official networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything import SamPredictor, sam_model_registry

from infra.errors import UnusableInput
from models import sam as sam_module
from models.sam import load_sam, prompt_parts
from models.sam_onnx_encoder import OnnxImageEncoder

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights"
needs_weights = pytest.mark.skipif(
    not (WEIGHTS / sam_module.ENCODER_FILE).is_file(), reason="the SAM ViT-T weights are not on this machine"
)


@needs_weights
def test_a_bright_square_on_grass_is_segmented_exactly_by_the_package_s_own_predictor():
    sam = load_sam("sam-vit-t", WEIGHTS)
    image = np.full((200, 300, 3), (60, 110, 50), np.uint8)
    truth = np.zeros((200, 300), bool)
    truth[60:130, 90:190] = True
    image[truth] = (220, 210, 200)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    masks, quality, _ = predictor.predict(point_coords=np.array([[140, 95]]), point_labels=np.array([1]))
    found = masks[quality.argmax()]
    assert (found & truth).sum() / (found | truth).sum() > 0.97
    assert sam.device == torch.device("cpu")
    assert not sam.training
    assert not any(p.requires_grad for p in sam.parameters())


@needs_weights
def test_the_encoder_gives_each_image_of_a_batch_its_own_embedding_and_threads_do_not_change_it():
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 1024, 1024)).astype(np.float32))
    one = OnnxImageEncoder(WEIGHTS / sam_module.ENCODER_FILE)
    both = one(images)
    assert both.shape == (2, 256, 64, 64)
    assert not torch.equal(both[0], both[1])
    two = OnnxImageEncoder(WEIGHTS / sam_module.ENCODER_FILE, threads=2)
    assert torch.allclose(two(images[1:])[0], both[1], atol=1e-4)


@pytest.fixture
def tiny_official(monkeypatch):
    """The package's own builder, with a ViT of one narrow block, under the name of ViT-B."""

    def build(checkpoint=None):
        from segment_anything.modeling import ImageEncoderViT, Sam

        assert checkpoint is None
        prompt, mask = prompt_parts()
        encoder = ImageEncoderViT(depth=1, embed_dim=16, num_heads=2, out_chans=256, use_rel_pos=True, window_size=14)
        return Sam(encoder, prompt, mask)

    monkeypatch.setitem(sam_model_registry, "vit_b", build)
    return build


def test_an_official_checkpoint_loads_every_tensor(tmp_path, tiny_official):
    saved = tiny_official()
    torch.save(saved.state_dict(), tmp_path / "sam_vit_b_01ec64.pth")
    loaded = load_sam("sam-vit-b", tmp_path)
    want, got = saved.state_dict(), loaded.state_dict()
    assert list(want) == list(got)
    assert all(torch.equal(want[name], got[name]) for name in want)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(tmp_path, tiny_official):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weight": Evil()}, tmp_path / "sam_vit_b_01ec64.pth")
    with pytest.raises(UnusableInput, match="read safely"):
        load_sam("sam-vit-b", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path, tiny_official):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "sam_vit_b_01ec64.pth")
    with pytest.raises(UnusableInput, match="1 are unknown"):
        load_sam("sam-vit-b", tmp_path)


@pytest.mark.parametrize("kind", ["sam-vit-t", "sam-vit-b", "sam-vit-l", "sam-vit-h"])
def test_missing_files_are_named(tmp_path, kind):
    with pytest.raises(UnusableInput, match="is missing; run 'geoloom models fetch'"):
        load_sam(kind, tmp_path)


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UnusableInput, match="no SAM 'sam-vit-x'"):
        load_sam("sam-vit-x", tmp_path)


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / sam_module.ENCODER_FILE).write_bytes(b"not a graph")
    (tmp_path / sam_module.DECODER_FILE).write_bytes(b"")
    with pytest.raises(UnusableInput, match="no ONNX graph"):
        load_sam("sam-vit-t", tmp_path)


@needs_weights
@pytest.mark.parametrize("fault", ["truncated", "a tensor short"])
def test_a_damaged_decoder_is_refused(tmp_path, fault):
    (tmp_path / sam_module.ENCODER_FILE).symlink_to(WEIGHTS / sam_module.ENCODER_FILE)
    good = WEIGHTS / sam_module.DECODER_FILE
    target = tmp_path / sam_module.DECODER_FILE
    if fault == "truncated":
        target.write_bytes(good.read_bytes()[:1_000_000])
    else:
        tensors = load_file(good)
        tensors.pop("mask_decoder.iou_token.weight")
        save_file(tensors, target)
    with pytest.raises(UnusableInput, match=r"damaged|1 tensors are missing"):
        load_sam("sam-vit-t", tmp_path)
