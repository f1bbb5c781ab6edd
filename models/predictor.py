"""A model at work: from source pixels to probabilities, with the same bits every time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infra.errors import UnusableInput
from models.card import ModelCard, load_card
from models.checkpoint import load_model
from models.malloc import keep_freed_memory
from models.normalise import normalise
from models.quantise import quantise_probability
from models.runtime import REFERENCE, Runner, Runtime, build_runner, place, warmed

_AXES = 4  # n, band, y, x
_HELD = 4
"""Networks that a process keeps: as many as an ensemble usually has."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One object in an image."""

    place: tuple[slice, slice]
    """Rows and columns of the image that its mask is of."""
    mask: NDArray[np.float32]
    """(y, x) 0..1: how likely each pixel is its."""
    score: float
    """0..1: how likely there is such an object."""
    klass: int
    """In the card's order."""


class Predictor:
    """Class probabilities of batches of tiles; threads share it.

    The bits of a result depend on the runtime, the batch's shape, the machine's kind (`models.machine`) and how many
    threads torch takes for an operation, which is set by the process and not here; on nothing else.
    """

    def __init__(
        self, card: ModelCard, network: nn.Module, *, device: str = "cpu", runtime: Runtime = REFERENCE
    ) -> None:
        self.card = card
        self.runtime = runtime
        self._network = network
        self._device = place(network, device)
        self._runners: dict[tuple[int, ...], Runner] = {}
        self._building = Lock()
        if self._device.type == "cuda":
            from models.gpu import Gpu

            self._gpu: Gpu | None = Gpu(self._device, mean=card.mean, std=card.std, temperature=card.temperature)
        else:
            self._gpu = None

    def __call__(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Probabilities (n, class, y, x) in 254ths, summing to 254; what fills invalid pixels has no effect.

        Args:
            image: (n, band, y, x), any numeric dtype, source units, bands in the card's order; y and x are multiples
                of the card's stride.
            valid: (n, y, x) bool, True = data.

        Raises:
            UnusableInput: the shapes do not fit the model or each other, or the runtime cannot be used here.
            GeoloomError: the network's probabilities are no numbers.
        """
        runner = self._runner(image, valid)
        if self._gpu is not None:
            return self._gpu.quantised(runner, image, valid)
        return quantise_probability(self._probability(runner, image, valid).numpy())

    def probabilities(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The same before rounding: (n, class, y, x) float32, summing to 1 over classes."""
        runner = self._runner(image, valid)
        if self._gpu is not None:
            return self._gpu.probabilities(runner, image, valid)
        result: NDArray[np.float32] = self._probability(runner, image, valid).numpy()
        return result

    def objects(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> list[list[Found]]:
        """The objects of each image, the surest first, of a network that finds objects (`models.mask_rcnn`).

        Args:
            image: as for probabilities.
            valid: as for probabilities.
        """
        self._runner(image, valid)  # checks, and fixes what decides about bits
        batch = torch.from_numpy(normalise(image, valid, mean=self.card.mean, std=self.card.std)).to(self._device)
        with torch.inference_mode():
            seen = self._network.instances(batch.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
        return [[Found(s.place, s.mask.cpu().numpy(), float(s.score), s.klass) for s in one] for one in seen]

    @property
    def device(self) -> torch.device:
        """Where its network computes."""
        return self._device

    def prepare(self, batch: int, rows: int, cols: int) -> None:
        """Do now what the first batch of this shape would wait for.

        Raises:
            UnusableInput: the runtime cannot be used here.
        """
        self._runner_for((batch, len(self.card.bands), rows, cols))

    def _probability(self, runner: Runner, image: NDArray[Any], valid: NDArray[np.bool_]) -> Tensor:
        batch = torch.from_numpy(normalise(image, valid, mean=self.card.mean, std=self.card.std))
        with torch.inference_mode():
            logits = runner(batch.contiguous(memory_format=torch.channels_last))  # (n, class, y, x)
            return warmed(logits, self.card.temperature).softmax(dim=1)

    def _runner(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> Runner:
        self._check(image, valid)
        return self._runner_for(image.shape)

    def _runner_for(self, shape: tuple[int, ...]) -> Runner:
        key = () if self.runtime.kind == "eager" else shape
        found = self._runners.get(key)
        if found is None:
            with self._building:
                found = self._runners.get(key)
                if found is None:
                    found = self._runners[key] = build_runner(self._network, self.runtime, shape=shape)
        return found

    def _check(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        bands, stride = len(self.card.bands), self.card.stride
        if image.ndim != _AXES or image.shape[1] != bands:
            raise UnusableInput(
                f"The image's shape is {image.shape}, expected (n, {bands}, y, x): the bands of the model."
            )
        if valid.shape != (image.shape[0], *image.shape[2:]) or valid.dtype != np.bool_:
            raise UnusableInput(
                f"The valid mask is {valid.dtype} {valid.shape}, expected bool {(image.shape[0], *image.shape[2:])}."
            )
        if image.shape[2] % stride or image.shape[3] % stride:
            raise UnusableInput(
                f"Tiles of {image.shape[2]} x {image.shape[3]} pixels do not fit: use multiples of {stride}."
            )


def load_predictor(folder: Path, *, device: str = "cpu", runtime: Runtime = REFERENCE) -> Predictor:
    """A saved model, ready to predict; on a CPU, the process keeps memory for it (`models.malloc`).

    Raises:
        UnusableInput: the model is damaged or the device is not there.
    """
    network, card = shared_network(folder)
    predictor = Predictor(card, network, device=device, runtime=runtime)
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    return predictor


def shared_network(folder: Path) -> tuple[nn.Module, ModelCard]:
    """A saved model's network, to be run and not changed: the last ones are kept, since they are measured, then used.

    Raises:
        UnusableInput: the model is damaged.
    """
    with _loading:
        card = load_card(folder)
        for held in _shared:
            if held[1] == card:
                return held
        _shared.append(load_model(folder))
        del _shared[:-_HELD]
        return _shared[-1]


_shared: list[tuple[nn.Module, ModelCard]] = []
_loading = Lock()
