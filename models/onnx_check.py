"""Whether an ONNX graph gives what torch gives, on random images of several sizes, with holes and with NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from models.card import ModelCard
from models.predictor import Predictor

_LARGEST = 512
"""Most pixels a side that are tried."""
_TIE = 1e-5
"""Probabilities so near are equal; what rounding makes of them is no other class."""
_CELL, _HOLES, _ODD = 16, 0.05, 0.001
"""Pixels a side of a random image's shapes; shares of single pixels without data, and of values that are no numbers."""


def compare(content: bytes, predictor: Predictor, *, edge: int) -> tuple[float, float]:
    """The largest difference of a probability, and the share of pixels whose class is torch's, or as probable there.

    Args:
        content: the graph, with inputs `image` and `valid` and the output `probability`.
        predictor: the same model in torch, on the CPU.
        edge: least pixels a side that the network takes, a multiple of its stride.

    Raises:
        Exception: whatever onnxruntime raises where it cannot load or run the graph.
    """
    session = open_session(content)
    difference, equal, pixels = 0.0, 0, 0
    for seed, (n, y, x) in enumerate(_shapes(predictor.card, edge)):
        image, valid = _look(predictor.card, n, y, x, seed=seed)
        wanted = predictor.probabilities(image, valid)
        got: NDArray[np.float32] = session.run(None, {"image": image, "valid": valid})[0]
        far = float(np.abs(got - wanted).max())
        difference = max(difference, far if np.isfinite(far) else np.inf)
        ours = np.take_along_axis(wanted, got.argmax(axis=1, keepdims=True), axis=1)[:, 0]  # (n, y, x)
        equal += int((ours >= wanted.max(axis=1) - _TIE).sum())
        pixels += valid.size
    return difference, equal / pixels


def open_session(content: bytes) -> Any:
    """A session of onnxruntime on the CPU, with as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, too
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _shapes(card: ModelCard, edge: int) -> tuple[tuple[int, int, int], ...]:
    """(n, y, x): another batch than the traced one, another y than x, an odd number of strides, and the card's tile."""
    tile = max(min(card.tile, _LARGEST) // card.stride * card.stride, edge)
    return (1, edge, edge), (3, edge + card.stride, 2 * edge), (1, tile, tile)


def _look(card: ModelCard, n: int, y: int, x: int, *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Noise over coarse shapes (n, band, y, x) in source units, and what of it is valid (n, y, x)."""
    rng = np.random.default_rng(seed)
    mean, std = (np.asarray(v).reshape(1, -1, 1, 1) for v in (card.mean, card.std))
    bands = len(card.bands)
    shapes = np.kron(rng.normal(size=(n, bands, -(-y // _CELL), -(-x // _CELL))), np.ones((_CELL, _CELL)))
    standard = shapes[..., :y, :x] + rng.normal(0, 0.3, (n, bands, y, x))
    image = (standard * std + mean).astype(np.float32)
    # Values that are no numbers lie where valid and where not. None lies beyond the clamp: what that makes of a network
    # is rounding (a probability of float32 may be 1e-3 from that of float64), and the clamp is the same for all.
    for odd in (np.nan, np.inf, -np.inf):
        image[rng.random(image.shape) < _ODD] = odd
    valid = rng.random((n, y, x)) > _HOLES
    valid[:, : y // 8, : x // 4] = False
    return image, valid
