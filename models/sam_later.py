"""SAM 2 (and 2.1) and SAM 3 as a `Segmenter`, run by transformers.

A picture is stretched to a square. Beside the coarse embedding these networks keep two finer ones, which sharpen the
masks' edges: an embedding takes 8 MB (SAM 2) or 11 MB (SAM 3) as float16.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from infra.errors import UnusableInput
from models.hugging_face import import_transformers, load_network
from models.segmenter import Embedding, EncodedWindow, Prompts

_SIZES = {
    "sam2-tiny": (96, [1, 2, 7, 2]),
    "sam2-small": (96, [1, 2, 11, 2]),
    "sam2-base-plus": (112, [2, 3, 16, 3]),
    "sam2-large": (144, [2, 6, 36, 4]),
}
"""SAM 2 as it is published: channels and blocks a stage of the encoders."""


def load_later_sam(kind: str, folder: Path, *, device: str = "cpu") -> LaterSam:
    """A SAM 2 or SAM 3 from a folder in Hugging Face's layout; of SAM 3, the part that points and boxes are put to.

    Args:
        kind: sam2-tiny, sam2-small, sam2-base-plus, sam2-large or sam3.
        folder: config.json and model.safetensors.
        device: where it runs.

    Raises:
        UnusableInput: no such kind; transformers is not installed; or the files are missing, damaged or of another SAM.
    """
    if kind not in {*_SIZES, "sam3"}:
        raise UnusableInput(f"There is no SAM '{kind}'; choose one of {', '.join(_SIZES)}, sam3.")
    if kind == "sam3":
        network = load_network("Sam3TrackerModel", folder, types=("sam3_tracker", "sam3_video"), device=device)
        return LaterSam(network, "Sam3ImageProcessor")
    network = load_network("Sam2Model", folder, types=("sam2", "sam2_video"), device=device)
    backbone = network.config.vision_config.backbone_config
    size = (backbone.hidden_size, list(backbone.blocks_per_stage))
    if size in _SIZES.values() and size != _SIZES[kind]:
        own = next(name for name, known in _SIZES.items() if known == size)
        raise UnusableInput(f"{folder} holds {own}, and {kind} was asked for; give --sam {own}.")
    return LaterSam(network, "Sam2ImageProcessor")


class LaterSam:
    """SAM 2 or SAM 3 before pictures."""

    def __init__(self, network: Any, processor: str) -> None:
        """Take a network, and the class of the processor that prepares its pictures."""
        self.network = network
        self.device: torch.device = network.device
        self._side = int(network.config.prompt_encoder_config.image_size)
        size = {"height": self._side, "width": self._side}
        self._processor = getattr(import_transformers(), processor)(size=size)
        channels = network.config.mask_decoder_config.hidden_size
        self.shapes: tuple[tuple[int, int, int], ...] = tuple(
            (channels // share, int(rows), int(columns))
            for share, (rows, columns) in zip((8, 4, 1), network.backbone_feature_sizes, strict=True)
        )

    @torch.inference_mode()
    def encode(self, picture: NDArray[np.uint8]) -> Embedding:
        """As `Segmenter.encode`."""
        frame = self._processor(images=picture, input_data_format="channels_last", return_tensors="pt")["pixel_values"]
        return tuple(array.contiguous() for array in self.network.get_image_embeddings(frame.to(self.device)))

    @torch.inference_mode()
    def decode(
        self,
        window: EncodedWindow,
        prompts: Prompts,
        *,
        multimask: bool,
        least: float = -math.inf,  # noqa: ARG002 - it draws all
    ) -> tuple[Tensor, Tensor]:
        """As `Segmenter.decode`."""
        # n objects are n prompts in one picture; but a mask prompt belongs to its picture, so it takes n pictures.
        objects, axis = window.embedding, 0
        asked: dict[str, Tensor] = {}
        if prompts.masks is not None:
            n, axis = len(prompts.masks), 1
            objects = tuple(array.expand(n, -1, -1, -1) for array in window.embedding)
            asked["input_masks"] = prompts.masks[:, None]  # n 1 y x
        if prompts.points is not None:
            asked["input_points"] = self._placed(prompts.points, window.shape).unsqueeze(axis)  # 1 n k 2 or n 1 k 2
        if prompts.boxes is not None:
            boxes = self._placed(prompts.boxes.reshape(-1, 2, 2), window.shape).flatten(1)
            asked["input_boxes"] = boxes.unsqueeze(axis)  # 1 n 4 or n 1 4
        found = self.network(image_embeddings=list(objects), multimask_output=multimask, **asked)
        return found.pred_masks.flatten(0, 1), found.iou_scores.flatten(0, 1)

    def enlarge(self, masks: Tensor, shape: tuple[int, int]) -> Tensor:
        """As `Segmenter.enlarge`."""
        return functional.interpolate(masks[:, None], shape, mode="bilinear", align_corners=False)[:, 0]

    def shrink(self, masks: NDArray[np.bool_], shape: tuple[int, int]) -> Tensor:  # noqa: ARG002 the Protocol's
        """As `Segmenter.shrink`."""
        shares = torch.as_tensor(masks, dtype=torch.float32, device=self.device)[:, None]  # n 1 y x
        return functional.interpolate(shares, self.network.prompt_encoder.mask_input_size, mode="area")[:, 0]

    def cells(self, shape: tuple[int, int]) -> tuple[float, float]:
        """As `Segmenter.cells`."""
        _, rows, columns = self.shapes[-1]
        return rows / shape[0], columns / shape[1]

    def _placed(self, places: NDArray[np.float32] | NDArray[np.float64], shape: tuple[int, int]) -> Tensor:
        """Places (..., 2) x, y in the square that the network sees, float32."""
        scale = torch.tensor([self._side / shape[1], self._side / shape[0]], device=self.device)
        return torch.as_tensor(places, dtype=torch.float32, device=self.device) * scale
