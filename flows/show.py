"""The options that every command takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclopts import Parameter

from flows.terminal import command


@Parameter(name="*")
@dataclass(frozen=True)
class Show:
    """How a command speaks."""

    json: bool = False
    """End with one JSON object on standard output."""
    quiet: bool = False
    """Print nothing but errors."""
    debug: bool = False
    """Print the traceback of an error."""

    def speak(self, name: str) -> Any:
        """The frame that a command's body runs in."""
        return command(name, as_json=self.json, quiet=self.quiet, debug=self.debug)
