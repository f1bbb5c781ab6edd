"""Which model is meant by a name or a folder, and whether it fits a cube."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.errors import UnusableInput
from models.card import CARD_NAME, ModelCard, load_card
from tasks.raster.cube import Cube
from tasks.workspace import Workspace

SHIPPED = Path(__file__).resolve().parent.parent / "models" / "shipped"
"""Models that come with geoloom, a folder each."""
DEFAULT = "dubai"
"""The one that `default` means."""


def shipped_models() -> dict[str, Path]:
    """Name to folder of every model that comes with geoloom."""
    return {p.parent.name: p.parent for p in sorted(SHIPPED.glob("*/model.json"))}


def default_model() -> Path:
    """The folder of the model that `default` means, whatever lies in the working folder."""
    return SHIPPED / DEFAULT


def find_model(name: str) -> Path:
    """The folder of a model.

    Args:
        name: `default`, a shipped model's name, or a folder.

    Raises:
        UnusableInput: there is no such model.
    """
    if (Path(name) / CARD_NAME).is_file():
        return Path(name)
    shipped = shipped_models()
    found = shipped.get(DEFAULT if name == "default" else name)
    if found is None:
        known = ", ".join(shipped) or "none"
        raise UnusableInput(
            f"There is no model '{name}'; give a folder with model.json, or one of those shipped: {known}."
        )
    return found


def absolute_model(name: str) -> str:
    """A model's name as it is, its folder or a file of weights by its absolute path."""
    path = Path(name)
    is_path = (path / CARD_NAME).is_file() or (path.suffix and path.is_file())
    return str(path.absolute()) if is_path else name


def trained_here(card: ModelCard, workspace: Workspace, cube: Cube) -> bool:
    """Whether a model was trained on a workspace's cube, or on a scene that went into it."""
    learnt = card.lineage.get("fingerprints")
    prints = (cube.fingerprint, *(s.fingerprint for s in workspace.sources))
    return isinstance(learnt, list) and any(f in learnt for f in prints)


def fit_bands(card: ModelCard, cube: Cube) -> tuple[int, ...]:
    """The cube's planes that a model takes, in its order: by name, or by order where neither side has colour names.

    Raises:
        UnusableInput: the cube lacks a band.
    """
    if set(card.bands) <= set(cube.bands):
        return tuple(cube.bands.index(b) for b in card.bands)
    nameless = all(b == f"b{i}" for i, b in enumerate(cube.bands, 1)) or all(
        b == f"b{i}" for i, b in enumerate(card.bands, 1)
    )
    if nameless and len(card.bands) == len(cube.bands):
        return tuple(range(len(cube.bands)))
    raise UnusableInput(
        f"The model takes the {len(card.bands)} bands {', '.join(card.bands)} and the scene has the "
        f"{len(cube.bands)} bands {', '.join(cube.bands)}; choose with 'geoloom ingest --bands', or another model."
    )


def describe_model(name: str) -> dict[str, Any]:
    """A model's folder and card as plain values.

    Raises:
        UnusableInput: there is no such model, or it is damaged.
    """
    folder = find_model(name)
    return {"folder": str(folder)} | load_card(folder).model_dump(mode="json")
