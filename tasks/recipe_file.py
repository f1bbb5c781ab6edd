"""A training's options in a TOML file: recipes that can be kept, sent and repeated."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.errors import UnusableInput
from tasks.model import absolute_model
from tasks.params import TrainParams


def filled(params: TrainParams) -> TrainParams:
    """Options with those of their recipe's file, where there is one; what was given beside the file wins.

    Names may be written as on the command line or with underscores; `loss` and `augment` are tables.

    Raises:
        UnusableInput: the file cannot be read, is no TOML, or holds what is no option, or no value for it.
    """
    if params.recipe is None:
        return params
    try:
        told = tomllib.loads(Path(params.recipe).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableInput(f"The recipe {params.recipe} cannot be read ({error}); give a TOML file.") from error
    except tomllib.TOMLDecodeError as error:
        raise UnusableInput(f"The recipe {params.recipe} is not TOML: {error}.") from error
    told = _named(told)
    if "recipe" in told:
        raise UnusableInput(f"The recipe {params.recipe} names another recipe; write its options into one file.")
    try:
        return TrainParams.model_validate(_over(told, params.model_dump(exclude_unset=True)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        given = f", given {first['input']!r}" if first["type"] != "extra_forbidden" else ""
        raise UnusableInput(f"The recipe {params.recipe} cannot be used: {where}: {first['msg']}{given}.") from error


def self_contained(params: TrainParams) -> TrainParams:
    """Options that mean the same in another process and another folder: the recipe's among them, paths absolute.

    Raises:
        UnusableInput: as `filled`.
    """
    params = filled(params)
    return params.model_copy(update={"recipe": None, "start": absolute_model(params.start)})


def _named(table: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): _named(v) if isinstance(v, dict) else v for key, v in table.items()}


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two tables as one; where both say something, the one above."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
