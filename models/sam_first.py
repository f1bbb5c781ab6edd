"""The first Segment Anything as a `Segmenter`: Meta's package, whichever image encoder is in it.

The longer side of a picture is resized to 1024 pixels, the other padded at its end.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn import functional

from models.sam_mask_decoder import attend, draw
from models.sam_onnx_encoder import EMBEDDING_CHANNELS, EMBEDDING_SIZE, IMAGE_SIZE
from models.segmenter import Embedding, EncodedWindow, Prompts

_MASK_SIZE = IMAGE_SIZE // 4
"""Pixels a side of the masks that go in and come out."""
_NOTHING = -32.0
"""Logit of a mask that was not drawn."""


class FirstSam:
    """SAM ViT-T, B, L or H."""

    shapes: tuple[tuple[int, int, int], ...] = ((EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE),)

    def __init__(self, network: Sam) -> None:
        self.network = network
        self.device: torch.device = network.device
        self._resize = ResizeLongestSide(IMAGE_SIZE)

    @torch.inference_mode()
    def encode(self, picture: NDArray[np.uint8]) -> Embedding:
        """As `Segmenter.encode`."""
        resized = torch.as_tensor(self._resize.apply_image(picture), device=self.device)  # y x 3
        frame = self.network.preprocess(resized.permute(2, 0, 1).contiguous()[None])  # 1 3 1024 1024
        return (self.network.image_encoder(frame),)

    @torch.inference_mode()
    def decode(
        self, window: EncodedWindow, prompts: Prompts, *, multimask: bool, least: float = -math.inf
    ) -> tuple[Tensor, Tensor]:
        """As `Segmenter.decode`."""
        points = None
        if prompts.points is not None:
            places = self._placed(prompts.points, window.shape)
            points = places, torch.ones(places.shape[:2], dtype=torch.int, device=self.device)
        boxes = (
            None if prompts.boxes is None else self._placed(prompts.boxes.reshape(-1, 2, 2), window.shape).flatten(1)
        )
        masks = None if prompts.masks is None else prompts.masks[:, None]  # n 1 256 256
        sparse, dense = self.network.prompt_encoder(points=points, boxes=boxes, masks=masks)
        # What all prompts have in common is computed once: the package repeats the embedding for each.
        seen = window.embedding[0] + (dense[:1] if masks is None else dense)  # 1 or n, 256 64 64
        near = self._near(prompts, window.shape, count=len(sparse))
        return self._masks(seen, sparse, slice(1, None) if multimask else slice(0, 1), near, least)

    def _masks(
        self, seen: Tensor, sparse: Tensor, which: slice, near: list[list[list[int]]], least: float
    ) -> tuple[Tensor, Tensor]:
        """`MaskDecoder.predict_masks`, in another order: how good masks are is known before they are drawn."""
        decoder = self.network.mask_decoder
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])  # 5 256
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        cells, places = (x.flatten(2).transpose(1, 2) for x in (seen, self.network.prompt_encoder.get_dense_pe()))
        tokens, cells = attend(decoder.transformer, cells.contiguous(), places, tokens)
        scores = decoder.iou_prediction_head(tokens[:, 0])[:, which]
        low = torch.full((*scores.shape, _MASK_SIZE, _MASK_SIZE), _NOTHING, device=self.device)
        mixed = torch.stack(
            [mlp(tokens[:, 1 + n]) for n, mlp in enumerate(decoder.output_hypernetworks_mlps)][which], 1
        )
        for number in (scores > least).any(dim=1).nonzero()[:, 0].tolist():
            (top, left), (bottom, right) = near[number]
            part = cells[number].reshape(EMBEDDING_SIZE, EMBEDDING_SIZE, -1)[top:bottom, left:right]
            low[number, :, 4 * top : 4 * bottom, 4 * left : 4 * right] = draw(decoder, part, mixed[number])
        return low, scores

    def _near(self, prompts: Prompts, shape: tuple[int, int], *, count: int) -> list[list[list[int]]]:
        """First and last cells, row and column, that masks are drawn in; of each prompt."""
        if prompts.near is None:
            return [[[0, 0], [EMBEDDING_SIZE, EMBEDDING_SIZE]]] * count
        places = self._placed(prompts.near.reshape(-1, 2, 2), shape).flip(2) * (EMBEDDING_SIZE / IMAGE_SIZE)
        edges = torch.stack([places[:, 0].floor() - 1, places[:, 1].ceil() + 1], dim=1)  # masks are interpolated
        found: list[list[list[int]]] = edges.clamp(0, EMBEDDING_SIZE).int().tolist()
        return found

    def enlarge(self, masks: Tensor, shape: tuple[int, int]) -> Tensor:
        """As `Segmenter.enlarge`."""
        large: Tensor = self.network.postprocess_masks(masks[:, None], self._input_size(shape), shape)
        return large[:, 0]

    def shrink(self, masks: NDArray[np.bool_], shape: tuple[int, int]) -> Tensor:
        """As `Segmenter.shrink`."""
        rows, columns = (max(1, side // 4) for side in self._input_size(shape))
        shares = torch.as_tensor(masks, dtype=torch.float32, device=self.device)[:, None]  # n 1 y x
        shares = functional.interpolate(shares, (rows, columns), mode="area")
        return functional.pad(shares, (0, _MASK_SIZE - columns, 0, _MASK_SIZE - rows))[:, 0]  # n 256 256

    def cells(self, shape: tuple[int, int]) -> tuple[float, float]:
        """As `Segmenter.cells`."""
        return EMBEDDING_SIZE / max(shape), EMBEDDING_SIZE / max(shape)

    def _input_size(self, shape: tuple[int, int]) -> tuple[int, int]:
        rows, columns = self._resize.get_preprocess_shape(*shape, IMAGE_SIZE)
        return rows, columns

    def _placed(self, places: NDArray[np.float32] | NDArray[np.float64], shape: tuple[int, int]) -> Tensor:
        """Places (..., 2) x, y in the network's input; their dtype stays, for the package's bits hang on it."""
        rows, columns = self._input_size(shape)
        asked = torch.as_tensor(places, device=self.device)
        return asked * torch.tensor([columns / shape[1], rows / shape[0]], dtype=asked.dtype, device=self.device)
