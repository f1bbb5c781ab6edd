"""What every SAM does, whoever wrote it: a picture is encoded once, and prompts in it become masks.

Prompts come in pixels of the picture and masks go out in them; how a backbone resizes and pads what it sees is its own
affair. An embedding can be kept as bytes and given back later, to the backbone that made it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infra.errors import UnusableInput

Embedding = tuple[Tensor, ...]
"""Arrays of 1 c y x, finest first; the last holds what the backbone makes of the picture, the others its details."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a SAM is asked, n objects at once, in pixels from the upper left corner of the picture's first pixel."""

    points: NDArray[np.float32] | NDArray[np.float64] | None = None
    """(n, k, 2) x, y, all of them on the object."""
    boxes: NDArray[np.float32] | None = None
    """(n, 4) x0, y0, x1, y1."""
    masks: Tensor | None = None
    """n y x logits, as coarse as `shrink` makes them."""
    near: NDArray[np.float32] | None = None
    """(n, 4) boxes beyond which masks need not be drawn."""


class Segmenter(Protocol):
    """A SAM on its device, in evaluation mode, its gradients off."""

    shapes: tuple[tuple[int, int, int], ...]
    """(c, y, x) of each array of its embeddings."""
    device: torch.device

    def encode(self, picture: NDArray[np.uint8]) -> Embedding:
        """The embedding of an (y, x, 3) RGB picture: the slow part."""

    def decode(
        self, window: EncodedWindow, prompts: Prompts, *, multimask: bool, least: float = -math.inf
    ) -> tuple[Tensor, Tensor]:
        """Mask logits, coarse, n k y x, and the IoU that it predicts for each, n k: three masks an object or one.

        Where it predicts no more than `least` for all masks of an object, they need not be drawn.
        """

    def enlarge(self, masks: Tensor, shape: tuple[int, int]) -> Tensor:
        """Coarse mask logits n y x in the pixels of a picture of a shape; above 0 is the object."""

    def shrink(self, masks: NDArray[np.bool_], shape: tuple[int, int]) -> Tensor:
        """Masks (n, y, x) of a picture as coarse as mask prompts are: the share of each cell, 0 in padding."""

    def cells(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Rows and columns of the last array of an embedding that a pixel of a picture of a shape takes."""


@dataclass(frozen=True, slots=True)
class EncodedWindow:
    """A picture before a SAM, encoded."""

    sam: Segmenter
    shape: tuple[int, int]
    """Rows and columns of the picture."""
    embedding: Embedding


def open_window(sam: Segmenter, picture: NDArray[np.uint8], *, kept: bytes | None = None) -> EncodedWindow:
    """A picture encoded, once for all prompts.

    Args:
        sam: what sees it.
        picture: (y, x, 3) uint8 RGB.
        kept: what `packed` made of this picture's embedding, where this SAM has encoded it before.

    Raises:
        UnusableInput: the picture is of another shape or dtype.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:  # noqa: PLR2004 (y, x, RGB)
        raise UnusableInput(
            f"SAM was given {picture.dtype} of {picture.shape}, expected (y, x, 3) uint8; choose three bands."
        )
    embedding = sam.encode(np.ascontiguousarray(picture)) if kept is None else _unpacked(sam, kept)
    return EncodedWindow(sam, (picture.shape[0], picture.shape[1]), embedding)


def embedding_of(window: EncodedWindow) -> NDArray[np.float32]:
    """What the backbone makes of the window, (c, y, x) float32."""
    embedding: NDArray[np.float32] = window.embedding[-1][0].cpu().numpy()
    return embedding


def packed(window: EncodedWindow) -> bytes:
    """The window's embedding as little-endian float16, one array after the other."""
    return b"".join(array.cpu().numpy().astype("<f2").tobytes() for array in window.embedding)


def packed_size(sam: Segmenter) -> int:
    """Bytes of a packed embedding."""
    return 2 * sum(int(np.prod(shape)) for shape in sam.shapes)


def _unpacked(sam: Segmenter, kept: bytes) -> Embedding:
    values = np.frombuffer(kept, "<f2").astype(np.float32)
    ends = np.cumsum([np.prod(shape) for shape in sam.shapes])[:-1]
    parts = zip(np.split(values, ends), sam.shapes, strict=True)
    return tuple(torch.from_numpy(part.reshape(1, *shape)).to(sam.device) for part, shape in parts)
