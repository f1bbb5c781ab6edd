"""Batches through a GPU: small integers go up and come down, and several threads keep it busy at once.

Every calling thread has its own stream and its own page-locked buffers, so that one batch is copied while another is
computed. Normalisation, softmax and rounding to 254ths are done over there: a byte crosses the bus for a pixel and
class instead of four.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.normalise import LIMIT
from models.quantise import check_count, quantise_on_device
from models.runtime import Runner, warmed


class Gpu:
    """One device, for any number of threads."""

    def __init__(
        self, device: torch.device, *, mean: Sequence[float], std: Sequence[float], temperature: float
    ) -> None:
        self.device = device
        self._temperature = temperature
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1) for values in (mean, std)
        )
        self._own = threading.local()
        # Lanes' streams do not wait for the one on which the network was copied here.
        torch.cuda.synchronize(device)

    def quantised(self, runner: Runner, image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Probabilities (n, class, y, x) in 254ths; see `Predictor.__call__`.

        Raises:
            GeoloomError: the network's probabilities are no numbers.
        """
        lane = self._lane()
        with torch.inference_mode(), torch.cuda.stream(lane.stream):
            planes, wrong = quantise_on_device(self._probability(runner, lane, image, valid))
            result, count = lane.fetch("planes", planes), lane.fetch("wrong", wrong)
            lane.stream.synchronize()
        check_count(int(count))
        copied: NDArray[np.uint8] = result.numpy().copy()
        return copied

    def probabilities(self, runner: Runner, image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Probabilities (n, class, y, x) float32."""
        lane = self._lane()
        with torch.inference_mode(), torch.cuda.stream(lane.stream):
            result = lane.fetch("floats", self._probability(runner, lane, image, valid))
            lane.stream.synchronize()
        copied: NDArray[np.float32] = result.numpy().copy()
        return copied

    def _probability(self, runner: Runner, lane: _Lane, image: NDArray[Any], valid: NDArray[np.bool_]) -> Tensor:
        pixels, data = lane.send("image", image), lane.send("valid", valid)
        batch = normalise_on_device(pixels, data, mean=self._mean, std=self._std)
        logits = runner(batch.contiguous(memory_format=torch.channels_last))  # (n, class, y, x)
        return warmed(logits, self._temperature).softmax(dim=1).contiguous()

    def _lane(self) -> _Lane:
        lane = getattr(self._own, "lane", None)
        if lane is None:
            lane = self._own.lane = _Lane(self.device)
        return lane


class _Lane:
    """One thread's stream, and its page-locked memory by purpose."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._locked: dict[str, Tensor] = {}

    def send(self, purpose: str, array: NDArray[Any]) -> Tensor:
        """An array over there; not waited for."""
        source = torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
        return self._buffer(purpose, source).copy_(source).to(self.device, non_blocking=True)

    def fetch(self, purpose: str, tensor: Tensor) -> Tensor:
        """A tensor here; its numbers are there when the stream is done, until the next call."""
        return self._buffer(purpose, tensor).copy_(tensor, non_blocking=True)

    def _buffer(self, purpose: str, like: Tensor) -> Tensor:
        held = self._locked.get(purpose)
        if held is None or held.shape != like.shape or held.dtype != like.dtype:
            held = self._locked[purpose] = torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
        return held


def normalise_on_device(pixels: Tensor, valid: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
    """The same numbers as `models.normalise.normalise`, by torch where the pixels lie; (n, band, y, x) float32."""
    out = _as_float(pixels)
    if not pixels.is_floating_point():
        out = out.sub_(mean).div_(std)
    else:
        out = (out - mean).div_(std).nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    return out.clamp_(-LIMIT, LIMIT).masked_fill_(~valid[:, None], 0)


def _as_float(pixels: Tensor) -> Tensor:
    """Float32; torch has few operations on unsigned integers of more than a byte."""
    if pixels.dtype == torch.uint16:
        return pixels.view(torch.int16).int().bitwise_and_(0xFFFF).float()
    if pixels.dtype == torch.uint32:
        return pixels.view(torch.int32).long().bitwise_and_(0xFFFFFFFF).float()
    return pixels.float()
