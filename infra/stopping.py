"""How work that has begun learns that it is no longer wanted: it asks between tiles.

A thread cannot be ended from outside. So a run of jobs has a name, every thread that works for it knows that name, and
`check()`, called between tiles, raises `Stopped` once the run is to end: after an error in another job, an interrupt,
or `stop()`. The next run has another name, so there is nothing to reset, and two flows that share a scheduler's workers
do not stop each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

_working_for: ContextVar[str | None] = ContextVar("_working_for", default=None)
_going: set[str] = set()
"""Runs that this process drives."""
_to_end: set[str] = set()
"""Runs that are to end, here or in the process that drives them; one short name each, so none is ever taken out."""


class Stopped(BaseException):
    """This run is to end.

    A BaseException, as KeyboardInterrupt is: where a tile's failure is caught, retried and named (`except Exception`),
    an interrupt must not count as one.
    """


def check() -> None:
    """Raise `Stopped` where the run that this thread works for is to end; long jobs call it between tiles."""
    run = _working_for.get()
    if run is not None and run in _to_end:
        raise Stopped


def stop(run: str | None = None) -> None:
    """End a run soon; by default every run that this process drives."""
    _to_end.update([run] if run is not None else list(_going))


def stopped(run: str) -> bool:
    """Whether a run is to end."""
    return run in _to_end


@contextmanager
def going() -> Iterator[str]:
    """The name of a new run; whatever leaves the block by an exception ends the run's threads soon."""
    run = uuid4().hex[:12]
    _going.add(run)
    try:
        yield run
    except BaseException:
        stop(run)
        raise
    finally:
        _going.discard(run)


def work(run: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call in this thread for a run: `check()` in it, and in all it calls, heeds that run.

    Raises:
        Stopped: the run is to end.
    """
    token = _working_for.set(run)
    try:
        check()
        return call(*args)
    finally:
        _working_for.reset(token)
