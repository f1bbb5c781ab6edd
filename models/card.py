"""model.json: everything that must be known of a model beside its weights. Reading it needs no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from infra.errors import UnusableInput

FORMAT_VERSION: Literal[1] = 1
CARD_NAME = "model.json"
WEIGHTS_NAME = "weights.safetensors"

Name = Annotated[str, Field(min_length=1)]
Level = Annotated[int, Field(ge=0, le=255)]
Spread = Annotated[float, Field(gt=0)]


class ModelCard(BaseModel):
    """What a model is, was trained on, and how it must be run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: Literal[1] = FORMAT_VERSION
    architecture: Name
    """A name that `models.registry.build` takes, with its `arguments`."""
    arguments: dict[str, JsonValue] = {}
    bands: tuple[Name, ...] = Field(min_length=1)
    mean: tuple[float, ...]
    """Per band, source units."""
    std: tuple[Spread, ...]
    """Per band, source units."""
    classes: tuple[Name, ...] = Field(min_length=2, max_length=255)
    """Names in the order of their ids."""
    colours: tuple[tuple[Level, Level, Level], ...]
    """Red, green, blue of each class."""
    dtype: Name | None = None
    """Type of the pixels that it learnt from, as uint8; None where that is not known."""
    resolution: float | None = Field(default=None, gt=0)
    """Ground metres a pixel it was trained at; None where the scenes had no CRS."""
    stride: int = Field(gt=0)
    """What tile sizes and tile starts must be multiples of, in pixels: the network's, not the tiling's."""
    tile: int = Field(gt=0)
    margin: int = Field(ge=0)
    ramp: int = Field(ge=0)
    disagreement: float | None = Field(default=None, ge=0, le=1)
    """Share of pixels where the tiled prediction differs from one whole pass, at this tile, margin and ramp."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits before they become probabilities: fitted on validation, 1 where it was not."""
    lineage: dict[str, JsonValue] = {}
    """Scenes' fingerprints, labels' origin, recipe, steps, seed, versions, the data's attribution and licence; the
    sha256 of the float32 weights that it was fine-tuned from."""
    scores: dict[str, JsonValue] = {}
    weights_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Of weights.safetensors; empty until saved."""
    weights_dtype: Literal["float32", "float16"] = "float32"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(
                f"{len(self.bands)} bands need as many means and stds, not {len(self.mean)} and {len(self.std)}"
            )
        if len(self.classes) != len(self.colours):
            raise ValueError(f"{len(self.classes)} classes need as many colours ({len(self.colours)})")
        for kind, names in (("bands", self.bands), ("classes", self.classes)):
            if len(set(names)) < len(names):
                raise ValueError(f"{kind} {', '.join(names)} repeat a name")
        if self.tile % self.stride:
            raise ValueError(f"tile {self.tile} is not a multiple of the network's stride {self.stride}")
        if 2 * self.margin + self.ramp >= self.tile:
            raise ValueError(f"tile {self.tile} leaves nothing beside 2 x margin {self.margin} + ramp {self.ramp}")
        return self


def parse_card(text: str, *, source: Path) -> ModelCard:
    """The card that a model.json's text describes.

    Raises:
        UnusableInput: it is not JSON, of another format version, or its fields do not fit together.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UnusableInput(f"{source} is not JSON ({error}); get or train the model again.") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise UnusableInput(
            f"{source} has format version {version}, expected {FORMAT_VERSION}: use the geoloom that wrote it."
        )
    try:
        # Lax mode from JSON: lists become tuples.
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its fields"
        raise UnusableInput(f"{source} does not describe a model: {where}: {first['msg']}.") from error


def answers_of(card: ModelCard) -> str:
    """128 bits of everything that decides a model's probabilities: its weights, and what stands around them."""
    around = {"bands", "mean", "std", "classes", "temperature", "weights_sha256", "architecture", "arguments"}
    return hashlib.sha256(card.model_dump_json(include=around).encode()).hexdigest()[:32]


def load_card(folder: Path) -> ModelCard:
    """The card of a model whose weights are there and whole (by their sha256; they are not loaded).

    Raises:
        UnusableInput: a file is missing, the card cannot be read, or the weights are not those that it names.
    """
    return find_weights(folder)[0]


def pending_name(sha256: str) -> str:
    """The name of new weights between the moment that model.json names them and their rename to weights.safetensors."""
    return f"weights-{sha256[:16]}.safetensors"


def find_weights(folder: Path) -> tuple[ModelCard, bytes]:
    """The card and the bytes of the weights it names, proved by their sha256.

    Raises:
        UnusableInput: as `load_card`.
    """
    path = folder / CARD_NAME
    try:
        card = parse_card(path.read_text(encoding="utf-8"), source=path)
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableInput(
            f"{folder} is not a model: {CARD_NAME} cannot be read there; give a folder that geoloom train wrote."
        ) from error
    for name in (pending_name(card.weights_sha256), WEIGHTS_NAME):
        try:
            weights = (folder / name).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(weights).hexdigest() == card.weights_sha256:
            return card, weights
    if not (folder / WEIGHTS_NAME).is_file():
        raise UnusableInput(f"{folder} is not a model: {WEIGHTS_NAME} is missing there; get or train it again.")
    raise UnusableInput(
        f"{folder / WEIGHTS_NAME} is damaged or of another model: its sha256 is not the one in {CARD_NAME}; "
        "get or train the model again."
    )
