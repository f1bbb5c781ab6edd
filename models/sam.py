"""Segment Anything as Meta's own package runs it: the official ViT-B/L/H checkpoints, or a small ViT-T for a CPU.

ViT-T is an ONNX graph in place of the image encoder; prompt encoder and mask decoder are the package's own modules.
Either way the result is a `segment_anything.modeling.Sam` that `SamPredictor` and `SamAutomaticMaskGenerator` run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor

from infra.errors import UnusableInput, first_line
from models.sam_onnx_encoder import EMBEDDING_CHANNELS, EMBEDDING_SIZE, IMAGE_SIZE, OnnxImageEncoder

SamKind = Literal["sam-vit-t", "sam-vit-b", "sam-vit-l", "sam-vit-h"]

ENCODER_FILE = "sam_vit_t_encoder.onnx"
DECODER_FILE = "sam_vit_t_decoder.safetensors"
CHECKPOINTS: dict[str, tuple[str, str]] = {
    "sam-vit-b": ("vit_b", "sam_vit_b_01ec64.pth"),
    "sam-vit-l": ("vit_l", "sam_vit_l_0b3195.pth"),
    "sam-vit-h": ("vit_h", "sam_vit_h_4b8939.pth"),
}
"""Kind → name in the package's registry, and the official file's name."""


def load_sam(kind: SamKind, folder: Path, *, device: str = "cpu", threads: int = 1) -> Sam:
    """A SAM in evaluation mode, its gradients off, from weight files in a folder.

    Args:
        kind: which size.
        folder: holds `sam_vit_t_encoder.onnx` and `sam_vit_t_decoder.safetensors`, or the official checkpoint; for
            ViT-B/L/H also the path of a checkpoint itself, ending in .pth.
        device: where the torch parts run; the encoder of ViT-T always runs on the CPU.
        threads: CPU threads of the ViT-T encoder; torch's own are set by the process.

    Raises:
        UnusableInput: no such kind, or its files are missing, damaged or of another network.
    """
    if kind not in get_args(SamKind):
        raise UnusableInput(f"There is no SAM '{kind}'; choose one of {', '.join(get_args(SamKind))}.")
    if kind == "sam-vit-t":
        decoder = _existing(folder / DECODER_FILE)
        sam = _with_encoder(OnnxImageEncoder(_existing(folder / ENCODER_FILE), threads=threads))
        _load_parts(sam, decoder)
    else:
        name, file = CHECKPOINTS[kind]
        sam = _official(name, _existing(folder if folder.suffix == ".pth" else folder / file))
    return sam.requires_grad_(requires_grad=False).eval().to(device)


def prompt_parts() -> tuple[PromptEncoder, MaskDecoder]:
    """The package's prompt encoder and mask decoder, untrained, with the arguments all SAM sizes share."""
    prompt = PromptEncoder(
        embed_dim=EMBEDDING_CHANNELS,
        image_embedding_size=(EMBEDDING_SIZE, EMBEDDING_SIZE),
        input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
        mask_in_chans=16,
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=EMBEDDING_CHANNELS, mlp_dim=2048, num_heads=8)
    mask = MaskDecoder(num_multimask_outputs=3, transformer=transformer, transformer_dim=EMBEDDING_CHANNELS)
    return prompt, mask


def _with_encoder(encoder: OnnxImageEncoder) -> Sam:
    prompt, mask = prompt_parts()
    return Sam(image_encoder=encoder, prompt_encoder=prompt, mask_decoder=mask)


def _load_parts(sam: Sam, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise UnusableInput(f"{path} is damaged ({error}); delete it and fetch the model again.") from error
    _load_strictly(sam, tensors, path)  # the ONNX encoder has no tensors, so strict means these two parts exactly


def _official(name: str, path: Path) -> Sam:
    sam = sam_model_registry[name](checkpoint=None)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)  # a pickle from outside: tensors only
    except Exception as error:  # unpickling raises nearly anything
        raise UnusableInput(
            f"{path} holds no weights that can be read safely ({first_line(error)}); fetch it again."
        ) from error
    if not isinstance(tensors, dict):
        raise UnusableInput(f"{path} holds a {type(tensors).__name__}, expected named tensors; fetch it again.")
    _load_strictly(sam, tensors, path)
    return sam


def _load_strictly(sam: Sam, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        sam.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        want, got = set(sam.state_dict()), set(tensors)
        raise UnusableInput(
            f"{path} does not fit: {len(want - got)} tensors are missing, {len(got - want)} are unknown, "
            "or shapes differ; give the file that belongs to this SAM."
        ) from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UnusableInput(f"{path} is missing; run 'geoloom models fetch' for this model first.")
    return path
