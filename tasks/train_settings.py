"""A training's options as the loop takes them."""

from __future__ import annotations

from typing import Any, Literal

from models.machine import has_bfloat16
from models.recipe import TrainSettings
from tasks.params import TrainParams
from tasks.train_fields import Field, weights_of

CHOOSING = ("batch", "draw", "validation_share", "least_confidence", "weigh_confidence")
"""Options that decide which chips are learnt from: one that changed on the way would let validated ground be learnt."""


def settings_of(params: TrainParams, fields: list[Field], *, device: str) -> TrainSettings:
    """The settings of a training on labelled scenes."""
    return TrainSettings(
        steps=params.steps,
        minutes=params.minutes,
        learning_rate=params.learning_rate,
        encoder_rate=params.encoder_rate,
        average=params.average,
        seed=params.seed,
        precision=_precision(params, device),
        loss=params.loss,
        class_weights=weights_of(params, fields),
        schedule=params.schedule,
        augment=params.augment,
        chip=params.chip,
        accumulate=params.accumulate,
        keep=params.keep,
        patience=params.patience,
        chosen={name: getattr(params, name) for name in CHOOSING},
    )


def recipe_of(params: TrainParams) -> dict[str, Any]:
    """The options that decide what comes out."""
    return params.model_dump(mode="json", exclude={"resume", "recipe", "logs"})


def _precision(params: TrainParams, device: str) -> Literal["float32", "bf16-mixed"]:
    """bfloat16 where the machine has it: imitated it takes 2.4 times as long as float32 (models/recipe.py)."""
    if params.precision != "auto":
        return params.precision
    return "bf16-mixed" if has_bfloat16(device) else "float32"
