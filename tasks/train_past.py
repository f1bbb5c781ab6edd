"""What a training goes on from: its own state, or a model that has learnt from scenes before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from infra.errors import UnusableInput
from infra.storage import sha256_of
from models.card import ModelCard, load_card
from models.pretrained import SUFFIXES
from models.recipe import TrainSettings
from models.resume import Saved
from tasks.model import find_model
from tasks.params import TrainParams
from tasks.raster.chips import Regions
from tasks.train_fields import Field

REGIONS = TypeAdapter(dict[str, Regions])
"""By the fingerprint of a cube, as they stand in a model's lineage."""
INHERITED = ("imagenet", "encoder_sha256", "fine_tuned_from", "fingerprints", "attribution", "regions")
"""What a lineage tells of the past."""
BEGINNING = ("start", "architecture", "encoder")
"""Options that a state remembers, and that need not be given again."""


def from_model(params: TrainParams) -> bool:
    """Whether a training begins with a model's weights."""
    return params.start not in {"imagenet", "random"} and not from_file(params)


def from_file(params: TrainParams) -> bool:
    """Whether a training begins with a file of an encoder's weights."""
    return Path(params.start).suffix in SUFFIXES


def architecture_of(params: TrainParams, saved: ModelCard | None) -> str:
    """The architecture that is trained: a model's, where a training starts from one or is resumed.

    Raises:
        UnusableInput: that model is not there, or damaged.
    """
    if saved is not None:
        return saved.architecture
    if from_model(params):
        return load_card(find_model(params.start)).architecture
    return params.architecture


def learnt_before(params: TrainParams, saved: ModelCard | None) -> dict[str, Regions]:
    """What the training that is resumed, or else the model that this one begins with, has learnt from: by cubes.

    Args:
        params: of this training.
        saved: the card of the one that is resumed.

    Raises:
        UnusableInput: that model is not there, or damaged.
    """
    card = saved
    if card is None and from_model(params):
        card = load_card(find_model(params.start))
    told = {} if card is None else card.lineage.get("regions", {})
    try:
        return REGIONS.validate_python(told)
    except ValidationError as error:
        raise UnusableInput(
            f"the `regions` that {params.start if saved is None else 'the interrupted training'} tells in its lineage "
            "cannot be read, so nobody knows what it learnt from; take another model to begin with"
        ) from error


def is_same(
    saved: Saved, params: TrainParams, fields: list[Field], settings: TrainSettings, lessons: Mapping[str, str]
) -> bool:
    """Whether a state is of this very training: one that is asked for again then goes on, whatever ended it.

    One that fine-tunes a model of the same folder, since labels have changed, is asked for by --resume alone.

    How many threads or processes learn, and how the model is stored, may differ.
    """
    told: Any = saved.card.lineage
    same: bool = (saved.settings, saved.lessons, saved.origin) == (settings, lessons, "")
    same &= all(told["recipe"].get(name) == getattr(params, name) for name in BEGINNING)
    same &= told["recipe"].get("objects") == list(params.objects)
    regions = REGIONS.validate_python(told.get("regions", {}))
    same &= all(regions.get(field.cube.fingerprint) == field.plan.regions for field in fields)
    if same and from_model(params):
        same = told.get("fine_tuned_from") == load_card(find_model(params.start)).weights_sha256
    if same and from_file(params):
        start = Path(params.start)
        same = start.is_file() and told.get("encoder_sha256") == sha256_of(start)
    return same


def require_same_beginning(params: TrainParams, saved: ModelCard) -> None:
    """Refuse to resume a training with another network, or from elsewhere.

    Raises:
        UnusableInput: an option says so.
    """
    told: Any = {**saved.lineage["recipe"], "architecture": saved.architecture, **saved.arguments}  # type: ignore[dict-item]
    for name in BEGINNING:
        began = told[name]
        if getattr(params, name) not in {began, TrainParams.model_fields[name].default}:
            raise UnusableInput(
                f"The interrupted training began with --{name} {began}, not {getattr(params, name)}: resume it "
                f"without --{name}, or train anew."
            )


def as_before(card: ModelCard, saved: ModelCard) -> ModelCard:
    """The card of a training that is resumed, with what its bands are normalised by and what it began with."""
    recipe: Any = saved.lineage["recipe"]
    told: Any = card.lineage["recipe"]
    lineage = card.lineage | {"recipe": told | {name: recipe[name] for name in BEGINNING}}
    return card.model_copy(update={"mean": saved.mean, "std": saved.std, "lineage": lineage})
