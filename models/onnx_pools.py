"""Adaptive pooling in a form that ONNX can say for any image size.

ONNX has no adaptive pooling, and torch's exporter makes plain pooling of it only where sizes are fixed. A mean over
cells is a product with a matrix of shares, which is made in the graph from the image's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class OpenPool(nn.Module):
    """`nn.AdaptiveAvgPool2d`: the mean over each cell of a grid; cells overlap where sizes do not divide."""

    def __init__(self, rows: int, cols: int) -> None:
        super().__init__()
        self.rows, self.cols = rows, cols

    def forward(self, features: Tensor) -> Tensor:
        """From (n, c, y, x) to (n, c, rows, cols)."""
        down, across = _shares(features.shape[2], self.rows), _shares(features.shape[3], self.cols)
        pooled: Tensor = down @ features @ across.T
        return pooled


def _shares(length: int | Tensor, cells: int) -> Tensor:
    """What each pixel adds to each cell's mean, (cell, pixel); while torch traces, the length is a tensor."""
    cell = torch.arange(cells)
    start = cell * length // cells
    end = ((cell + 1) * length + (cells - 1)) // cells
    pixel = torch.arange(length)  # type: ignore[arg-type]
    inside = (pixel >= start[:, None]) & (pixel < end[:, None])
    return inside.float() / (end - start)[:, None].float()


@contextmanager
def open_pools(network: nn.Module) -> Iterator[None]:
    """Replace a network's adaptive pools inside the block; those to one pixel stay, which ONNX knows as global."""
    kept: list[tuple[nn.Module, str, nn.Module]] = []
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and (size := _size(child)) not in (None, (1, 1)):
                kept.append((parent, name, child))
                setattr(parent, name, OpenPool(*size))
    try:
        yield
    finally:
        for parent, name, child in kept:
            setattr(parent, name, child)


def _size(pool: nn.AdaptiveAvgPool2d) -> tuple[int, int] | None:
    """Rows and columns; None where one of them is the image's own."""
    size = pool.output_size
    rows, cols = size if isinstance(size, tuple) else (size, size)
    return None if rows is None or cols is None else (rows, cols)
