"""A model at work: from source pixels to probabilities, with the same bits every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from infra.errors import UnusableInput
from models.card import ModelCard
from models.checkpoint import load_model
from models.normalise import normalise

Precision = Literal["float32", "bfloat16"]
_AXES = 4  # n, band, y, x


class Predictor:
    """Class probabilities of batches of tiles.

    The bits of a result depend on the batch's composition, threads, memory format, precision, device kind and torch
    version, and on nothing else. How many threads torch takes is set by the process, not here.
    """

    def __init__(
        self,
        card: ModelCard,
        network: nn.Module,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
        channels_last: bool = True,
    ) -> None:
        if precision not in ("float32", "bfloat16"):
            raise UnusableInput(f"Precision {precision!r} is not known: choose float32 or bfloat16.")
        try:
            self.device = torch.device(device)
            self.network = network.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            raise UnusableInput(
                f"Device {device!r} cannot be used here ({str(error).splitlines()[0]}): choose cpu."
            ) from error
        self.card = card
        self.precision = precision
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network.to(memory_format=self.memory_format)
        if self.device.type == "cuda":
            # Process-wide: the same algorithm every time, and float32 that means float32.
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.allow_tf32 = False

    def __call__(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Probabilities (n, class, y, x) float32, summing to 1 over classes; what fills invalid pixels has no effect.

        Args:
            image: (n, band, y, x), any numeric dtype, source units, bands in the card's order; y and x are multiples
                of the card's stride.
            valid: (n, y, x) bool, True = data.

        Raises:
            UnusableInput: the shapes do not fit the model or each other.
        """
        self._check(image, valid)
        batch = torch.from_numpy(normalise(image, valid, mean=self.card.mean, std=self.card.std))
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"),
        ):
            logits = self.network(batch.to(self.device, memory_format=self.memory_format))  # (n, class, y, x)
            probability = logits.float().softmax(dim=1)
        result: NDArray[np.float32] = probability.contiguous().cpu().numpy()
        return result

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


def load_predictor(
    folder: Path, *, device: str = "cpu", precision: Precision = "float32", channels_last: bool = True
) -> Predictor:
    """A saved model, ready to predict.

    Raises:
        UnusableInput: the model is damaged or the device is not there.
    """
    network, card = load_model(folder)
    return Predictor(card, network, device=device, precision=precision, channels_last=channels_last)
