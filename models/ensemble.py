"""Several looks at a tile as one answer: turned and mirrored, at several scales, by several models.

Their probabilities are averaged in float32, always in the same order, and rounded once. To the tile engine an ensemble
is a network like any other: a function of a tile, whose strides meet (`models.looks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from infra.errors import UnusableInput
from models.card import ModelCard
from models.looks import Looks
from models.normalise import LIMIT
from models.predictor import Predictor
from models.quantise import quantise_probability

ROUNDING = np.float32(1e-5)
"""By which a share of pixels may be off that is computed in float32."""


class Answers(Protocol):
    """What gives probabilities of tiles: a predictor, or an ensemble."""

    card: ModelCard

    def __call__(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Probabilities (n, class, y, x) in 254ths of images (n, band, y, x) with their valid pixels (n, y, x)."""

    def prepare(self, batch: int, rows: int, cols: int) -> None:
        """Do now what the first batch of this shape would wait for."""


@dataclass(frozen=True, slots=True)
class Member:
    """One model of an ensemble."""

    predictor: Predictor
    planes: tuple[int, ...]
    """Of the ensemble's images, those that it takes, in its order."""
    order: tuple[int, ...]
    """Of its classes, in the order of the ensemble's."""


class Ensemble:
    """Class probabilities of batches of tiles as the mean over looks; threads share it."""

    def __init__(self, card: ModelCard, members: Sequence[Member], looks: Looks) -> None:
        """Prepare.

        Args:
            card: as `Looks.card` gives it.
            members: the models.
            looks: what each of them sees of a tile.
        """
        self.card = card
        self._members = tuple(members)
        self._looks = looks

    def __call__(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Probabilities (n, class, y, x) in 254ths; as `Predictor.__call__`, bands those of all members.

        Raises:
            UnusableInput: the shapes do not fit the models or each other.
            GeoloomError: a network's probabilities are no numbers.
        """
        return quantise_probability(self.probabilities(image, valid))

    def probabilities(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The same before rounding: (n, class, y, x) float32, summing to 1 over classes."""
        total = np.zeros((len(image), len(self.card.classes), *image.shape[2:]), np.float32)
        count = 0
        for member in self._members:
            own = image[:, list(member.planes)]
            for scale in self._looks.scales:
                seen, data = _scaled(own, valid, scale, member.predictor.card)
                for turn in _turns(self._looks):
                    found = member.predictor.probabilities(turn.of(seen), turn.of(data))
                    total += _resized(turn.back(found), image.shape[2:])[:, list(member.order)]
                    count += 1
        total /= np.float32(count)
        return total

    def prepare(self, batch: int, rows: int, cols: int) -> None:
        """Do now what the first batch of this shape would wait for.

        Raises:
            UnusableInput: a runtime cannot be used here.
        """
        for member in self._members:
            for scale in self._looks.scales:
                shape = round(rows * scale), round(cols * scale)
                for rows_seen, cols_seen in {shape, shape[::-1]} if self._looks.turned else {shape}:
                    member.predictor.prepare(batch, rows_seen, cols_seen)


def assemble(predictors: Sequence[Predictor], *, bands: Sequence[Sequence[int]], looks: Looks) -> Answers:
    """Models that answer together; where that is one model and one look, its predictor.

    Args:
        predictors: one for each model; they answer in the classes of the first.
        bands: for each model the scene's planes that it takes; images have those of `union`.
        looks: what each of them sees of a tile.

    Raises:
        UnusableInput: their classes are not the same.
    """
    cards = tuple(predictor.card for predictor in predictors)
    if looks.plain and len(cards) == 1:
        return predictors[0]
    every = union(bands)
    members = [
        Member(predictor, tuple(every.index(plane) for plane in planes), _order(cards[0], predictor.card))
        for predictor, planes in zip(predictors, bands, strict=True)
    ]
    return Ensemble(looks.card(cards), members, looks)


def _order(first: ModelCard, other: ModelCard) -> tuple[int, ...]:
    if set(first.classes) != set(other.classes):
        raise UnusableInput(
            f"One model has the classes {', '.join(first.classes)} and another {', '.join(other.classes)}; "
            "only models of the same classes can answer together."
        )
    return tuple(other.classes.index(name) for name in first.classes)


def union(bands: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The planes of a scene that any of several models takes; those of one model in its own order."""
    return tuple(bands[0]) if len(bands) == 1 else tuple(sorted({plane for planes in bands for plane in planes}))


@dataclass(frozen=True, slots=True)
class _Turn:
    """One of the eight symmetries of the square: perhaps transposed, then mirrored along rows and columns."""

    transposed: bool
    rows: int
    cols: int

    def of(self, planes: NDArray[Any]) -> NDArray[Any]:
        """(..., y, x), turned."""
        turned = planes.swapaxes(-1, -2) if self.transposed else planes
        return np.ascontiguousarray(turned[..., :: self.rows, :: self.cols])

    def back(self, planes: NDArray[Any]) -> NDArray[Any]:
        """(..., y, x) as it was."""
        straight = planes[..., :: self.rows, :: self.cols]
        return straight.swapaxes(-1, -2) if self.transposed else straight


def _turns(looks: Looks) -> Iterator[_Turn]:
    for transposed in (False, True) if looks.turned else (False,):
        for rows in (1, -1) if looks.turned else (1,):
            for cols in (1, -1) if looks.turned else (1,):
                yield _Turn(transposed, rows, cols)


def _scaled(
    image: NDArray[Any], valid: NDArray[np.bool_], scale: float, card: ModelCard
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Images and valid pixels, larger or smaller.

    A new pixel is the mean of the valid ones that it is made of, and is valid where they are half of it at least.
    Nothing beyond what a network takes has a part.
    """
    if scale == 1:
        return image, valid
    mean = np.reshape(np.asarray(card.mean, np.float32), (1, -1, 1, 1))
    far = np.reshape(np.asarray(card.std, np.float32), (1, -1, 1, 1)) * np.float32(LIMIT)
    filled = np.where(valid[:, None] & np.isfinite(image), image, mean).clip(mean - far, mean + far).astype(np.float32)
    shape = tuple(round(length * scale) for length in image.shape[2:])
    there = _resized(valid[:, None].astype(np.float32), shape)
    there[there > 1 - ROUNDING] = 1.0
    return _resized(filled - mean, shape) / there.clip(ROUNDING) + mean, there[:, 0] > 0.5 - ROUNDING


def _resized(planes: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """(n, plane, y, x) at another size, smoothed where it is smaller."""
    if planes.shape[2:] == shape:
        return planes
    tensor = torch.from_numpy(np.ascontiguousarray(planes))
    smaller = shape[0] < planes.shape[2]
    found: NDArray[np.float32] = functional.interpolate(
        tensor, size=shape, mode="bilinear", align_corners=False, antialias=smaller
    ).numpy()
    return found
