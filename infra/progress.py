"""How a long step tells how far it is: a Protocol that the terminal and Prefect each fulfil in their own way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One counted piece of work in progress."""

    def advance(self, amount: float = 1.0) -> None:
        """Add finished work, in the unit the task was started with."""

    def say(self, text: str) -> None:
        """Show a short text beside the bar: a score, a stage."""


class Progress(Protocol):
    """Where steps report to."""

    def start(self, name: str, *, total: float, unit: str) -> Task:
        """Begin a counted piece of work of `total` units (tiles, blocks, steps)."""

    def finish(self, task: Task) -> None:
        """End it, finished or not."""

    def note(self, text: str) -> None:
        """Tell the user one sentence that stays."""


class _Nothing:
    def advance(self, amount: float = 1.0) -> None: ...

    def say(self, text: str) -> None: ...


class Silent:
    """Reports to nobody: tests and `--quiet`."""

    def start(self, name: str, *, total: float, unit: str) -> Task:  # noqa: ARG002 - the Protocol's
        """Begin nothing."""
        return _Nothing()

    def finish(self, task: Task) -> None:
        """End nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


@contextmanager
def counting(progress: Progress, name: str, *, total: float, unit: str) -> Iterator[Task]:
    """A started task, finished whatever happens in the block."""
    task = progress.start(name, total=total, unit=unit)
    try:
        yield task
    finally:
        progress.finish(task)
