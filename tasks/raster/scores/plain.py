"""Scores as plain JSON."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue


def plain(value: Any) -> JsonValue:
    """A value of `dataclasses.asdict` as JSON has it: tuples as lists, NaN as None."""
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return None if value != value else value  # noqa: PLR0124 - only NaN differs from itself
