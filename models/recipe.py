"""How long and how hard a network is trained, and what its training makes small. Reading it needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Balance: TypeAlias = Literal["none", "root", "inverse", "effective", "median"]
"""Rules by which rare classes weigh more (`models/balance.py`)."""
Schedule: TypeAlias = Literal["cosine", "one-cycle", "constant"]
"""How the learning rate falls."""
Keep: TypeAlias = Literal["best", "last"]
"""Which weights are kept."""


class LossRecipe(BaseModel):
    """The terms of the loss; a weight of 0 leaves one out."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cross_entropy: float = Field(default=1.0, ge=0, description="Weight of the cross-entropy.")
    focal: float = Field(default=0.0, ge=0, description="Weight of the focal loss.")
    dice: float = Field(default=1.0, ge=0, description="Weight of soft Dice.")
    lovasz: float = Field(default=0.0, ge=0, description="Weight of the Lovasz extension of 1 - IoU.")
    boundary: float = Field(default=0.0, ge=0, description="Weight of 1 - F1 of the classes' boundaries.")
    gamma: float = Field(
        default=2.0, ge=0, le=10, description="Of the focal loss: how little pixels count that are right already."
    )
    smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Of the cross-entropy: share of a label that goes to all classes alike."
    )

    @model_validator(mode="after")
    def _has_a_term(self) -> Self:
        if not any((self.cross_entropy, self.focal, self.dice, self.lovasz, self.boundary)):
            raise ValueError("every term weighs 0: give one of them a weight")
        return self


FARTHEST = 4.0
"""The largest magnification; its inverse is the smallest."""


class AugmentRecipe(BaseModel):
    """How far the views of a chip may stray; images are normalised, so 1 is a band's standard deviation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    turn: bool = Field(default=True, description="Turn and mirror: the square's eight symmetries.")
    zoom: tuple[float, float] = Field(default=(0.7, 1.4), description="Smallest and largest magnification.")
    brightness: float = Field(default=0.3, ge=0, description="Largest shift of all bands.")
    colour: float = Field(default=0.15, ge=0, lt=1, description="Largest shift of one band, and change of its gain.")
    contrast: float = Field(default=0.3, ge=0, lt=1, description="Largest change of all bands' gain.")
    gamma: float = Field(default=1.5, ge=1, description="Largest exponent of the tone curve; its inverse the smallest.")
    blur: float = Field(default=0.15, ge=0, le=1, description="Share of chips that are blurred.")
    noise: float = Field(default=0.15, ge=0, le=1, description="Share of chips that get noise.")
    noise_strength: float = Field(default=0.1, ge=0, description="Standard deviation of the noise.")
    cutout: float = Field(default=0.0, ge=0, le=1, description="Share of chips that get a hole without data.")
    paste: float = Field(default=0.0, ge=0, le=1, description="Share of chips that get objects of another chip.")

    @model_validator(mode="after")
    def _zooms(self) -> Self:
        low, high = self.zoom
        if not 1 / FARTHEST <= low <= high <= FARTHEST:
            raise ValueError(f"zoom is {self.zoom}: expected two magnifications from 0.25 to 4, the smaller first")
        return self


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """A training's settings.

    Without a time limit, the same settings and batches give the same bits on a CPU with the same number of threads.
    """

    steps: int
    """Batches to learn from."""
    minutes: float | None = None
    """Time limit: the learning rate then falls by whichever is further on, steps or clock."""
    learning_rate: float = 1e-3
    """Of AdamW, at the top of the schedule."""
    encoder_rate: float = 1.0
    """Factor for the parameters of `network.encoder`: below 1 where it comes with weights worth keeping."""
    weight_decay: float = 1e-2
    """Of AdamW, for everything but biases and normalisation."""
    warmup: float = 0.05
    """Share of the training in which the learning rate rises."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    seed: int = 0
    precision: Literal["float32", "bf16-mixed"] = "float32"
    """bf16-mixed is faster on GPUs and on CPUs with AMX or AVX512-BF16; without them 2.4 times slower than float32."""
    loss: LossRecipe = field(default_factory=LossRecipe)
    class_weights: tuple[float, ...] | None = None
    """How much each class weighs in the cross-entropy and the focal loss (`models.balance`); all weigh 1 if None."""
    average: float = 0.99
    """Decay per step of the exponential average of the weights, which is what is kept; 0 keeps the last weights."""
    schedule: Schedule = "cosine"
    """How the learning rate falls."""
    augment: AugmentRecipe | None = field(default_factory=AugmentRecipe)
    """Views of the chips; None for the chips as they are."""
    chip: int = 256
    """Pixels a side of what the network sees."""
    accumulate: int = 1
    """Parts in which each batch goes through the network; their gradients are added up."""
    keep: Keep = "best"
    """Which weights are kept: those with the best mean IoU at a validation, or the last."""
    patience: int | None = None
    """Validations without a better mean IoU after which the training ends early; never if None."""
    validate_every: int = 100
    """Steps between two validations."""
    save_every: int = 100
    """Steps between two checkpoints."""
    chosen: Mapping[str, JsonValue] = field(default_factory=dict)
    """How the batches are chosen, as their caller names it: the training is resumed with the same alone."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in ("steps", "validate_every", "save_every", "chip", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 1 or more")
        for name in ("learning_rate", "encoder_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected more than 0")
        for name in ("warmup", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 or more and less than 1")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes is {self.minutes}: expected more than 0, or None")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is {self.patience}: expected 1 or more, or None")
        if min(self.weight_decay, self.seed) < 0:
            raise ValueError("weight_decay and seed are 0 or more")

    def finished(self, *, steps: int, seconds: float) -> float:
        """The share of the training that is done, 0 to 1, by steps or by the clock."""
        clock = 0.0 if self.minutes is None else seconds / (60 * self.minutes)
        return min(1.0, max(steps / self.steps, clock))

    def rate(self, done: float) -> float:
        """The learning rate where a share `done` of the training is behind.

        - cosine: a short linear rise, then half a cosine to 0 (Loshchilov, Hutter: SGDR 2017, arXiv:1608.03983,
          equation 5, without restarts).
        - one-cycle: half a cosine up for 0.3 of the training, half a cosine down to 0 (Smith, Topin 2018,
          arXiv:1708.07120, with the shape of fastai's and torch's schedulers).
        - constant: a short linear rise, then the same.
        """
        rise = 0.3 if self.schedule == "one-cycle" else self.warmup
        if done < rise:
            # Half a step more than `done`, so that the first step is not lost to a rate of 0.
            share = min(1.0, (done + 0.5 / self.steps) / rise)
            return self.learning_rate * (_half_cosine(1 - share) if self.schedule == "one-cycle" else share)
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * _half_cosine((done - rise) / (1 - rise))


def _half_cosine(share: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))
