"""What a flow leaves in Prefect: one progress artifact a run, a table of scores, a picture, links to products."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from infra.progress import Progress, Task
from infra.store import open_store

EVERY = 1.0
"""Seconds between two updates of a progress artifact."""


@dataclass(frozen=True, slots=True)
class Share:
    """A step's part of a run's progress. Plain data: it travels to the step's task."""

    artifact: str
    """The run's progress artifact."""
    begin: float
    end: float
    """Percent of the run before and after the step."""


def begin_progress(description: str) -> str:
    """Create a run's progress artifact and return its id."""
    return str(create_progress_artifact(progress=0.0, key="progress", description=description))


def share_out(artifact: str, steps: int) -> list[Share]:
    """Equal parts of a run's progress for its steps, in order."""
    return [Share(artifact, 100 * i / steps, 100 * (i + 1) / steps) for i in range(steps)]


_listeners: list[Progress] = []


@contextmanager
def also_telling(progress: Progress) -> Iterator[None]:
    """Let a terminal hear what flows report in this process."""
    _listeners.append(progress)
    try:
        yield
    finally:
        _listeners.remove(progress)


class PrefectProgress:
    """Reports a step to its run's progress artifact and log, and to who listens in this process."""

    def __init__(self, share: Share) -> None:
        self.share = share

    def start(self, name: str, *, total: float, unit: str) -> Task:
        """Begin counting."""
        get_run_logger().info("%s: %g %s", name, total, unit)
        return _Counted(self.share, name, total, unit, [(p, p.start(name, total=total, unit=unit)) for p in _listeners])

    def finish(self, task: Task) -> None:
        """Say how far it came, and how fast."""
        assert isinstance(task, _Counted)
        seconds = max(time.monotonic() - task.begun, 1e-9)
        get_run_logger().info(
            "%s: %g of %g %s, %.2f/s %s", task.name, task.done, task.total, task.unit, task.done / seconds, task.said
        )
        task.show()
        for listener, told in task.told:
            listener.finish(told)

    def note(self, text: str) -> None:
        """Log a line."""
        get_run_logger().info(text)
        for listener in _listeners:
            listener.note(text)


class _Counted:
    def __init__(self, share: Share, name: str, total: float, unit: str, told: list[tuple[Progress, Task]]) -> None:
        self.share, self.name, self.total, self.unit, self.told = share, name, total, unit, told
        self.done, self.said = 0.0, ""
        self.begun = time.monotonic()
        self.shown = 0.0

    def advance(self, amount: float = 1.0) -> None:
        self.done += amount
        for _, told in self.told:
            told.advance(amount)
        if time.monotonic() - self.shown >= EVERY:
            self.show()

    def say(self, text: str) -> None:
        self.said = text
        for _, told in self.told:
            told.say(text)

    def show(self) -> None:
        self.shown = time.monotonic()
        part = min(self.done / self.total, 1.0) if self.total else 1.0
        percent = self.share.begin + part * (self.share.end - self.share.begin)
        update_progress_artifact(UUID(self.share.artifact), progress=percent)


def end_progress(artifact: str) -> None:
    """Show a run as complete."""
    update_progress_artifact(UUID(artifact), progress=100.0)


def show_scores(rows: list[tuple[str, str, str]]) -> None:
    """Create the table of scores; the first row is its head."""
    head, *body = rows
    create_table_artifact(
        table=[dict(zip(head, row, strict=True)) for row in body], key="scores", description="Scores of the map"
    )


def show_map(picture: str, products: list[str]) -> None:
    """Create the image of the map, and a link to each product."""
    folder, _, name = picture.rpartition("/")
    with open_store(folder).fetched(name) as path:
        encoded = base64.b64encode(path.read_bytes()).decode()
    create_image_artifact(image_url=f"data:image/png;base64,{encoded}", key="map", description=picture)
    for product in products:
        link, name = product if "://" in product else Path(product).absolute().as_uri(), product.rpartition("/")[2]
        create_link_artifact(link=link, link_text=name, key=re.sub("[^a-z0-9]+", "-", name.lower()))
