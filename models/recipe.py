"""How long and how hard a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """A training's settings; without a time limit, the same settings and batches give the same bits on one machine."""

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
    class_counts: tuple[int, ...] | None = None
    """Labelled pixels of each class, for the loss's weights; all classes weigh 1 if None."""
    dice: float = 1.0
    """Weight of soft Dice beside the cross-entropy."""
    average: float = 0.99
    """Decay per step of the exponential average of the weights, which is what is kept; 0 keeps the last weights."""
    augment: bool = True
    validate_every: int = 100
    """Steps between two validations."""
    save_every: int = 100
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in ("steps", "validate_every", "save_every"):
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
        if min(self.weight_decay, self.dice, self.seed) < 0:
            raise ValueError("weight_decay, dice and seed are 0 or more")

    def finished(self, *, steps: int, seconds: float) -> float:
        """The share of the training that is done, 0 to 1, by steps or by the clock."""
        clock = 0.0 if self.minutes is None else seconds / (60 * self.minutes)
        return min(1.0, max(steps / self.steps, clock))

    def rate(self, done: float) -> float:
        """The learning rate where a share `done` of the training is behind: a linear rise, then half a cosine to 0.

        Loshchilov, Hutter: SGDR (2017), arXiv:1608.03983, equation 5, without restarts.
        """
        if done < self.warmup:
            # Half a step more than `done`, so that the first step is not lost to a rate of 0.
            return self.learning_rate * min(1.0, (done + 0.5 / self.steps) / self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))
