"""Scores as plain JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def to_plain(scores: DataclassInstance) -> dict[str, JsonValue]:
    """The fields of a dataclass as JSON has them: tuples as lists, NaN as None."""
    return {name: _plain(value) for name, value in asdict(scores).items()}


def _plain(value: Any) -> JsonValue:
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return None if value != value else value  # noqa: PLR0124 - only NaN differs from itself
