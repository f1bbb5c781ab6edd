"""Jobs out of a lazy iterable, handed out in their order as soon as those that they wait for have ended.

A map may have 10^5 jobs. They are taken from the iterable only when there is room to start one, those that still wait
are kept in a window of bounded length, and a job that has ended leaves nothing but its key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any

from infra.cluster import Job

WINDOW = 16_384
"""Jobs that may wait for others. Where blocks come row by row, parallel rows need as many times a row's blocks."""


class JobOrder:
    """Which job may start next."""

    def __init__(self, jobs: Iterable[Job], *, window: int = WINDOW) -> None:
        self._jobs = iter(jobs)
        self._window = window
        self._given: set[str] = set()
        self._followers: dict[str, list[int]] = {}
        """Key of a job that has not ended to the numbers of those that wait for it."""
        self._waiting: dict[int, tuple[Job, int]] = {}
        """Number of a job to it and to how many it waits for."""
        self._ready: list[tuple[int, Job]] = []
        """A heap: the earliest in the order comes first."""

    def next(self) -> Job | None:
        """The earliest job that may start, or None where none may until another has ended.

        Raises:
            KeyError: a job waits for a key that did not come before it.
            ValueError: a key came twice.
        """
        while not self._ready and len(self._waiting) < self._window:
            job = next(self._jobs, None)
            if job is None:
                break
            self._take(job)
        return heappop(self._ready)[1] if self._ready else None

    def ended(self, key: str) -> None:
        """A job has ended: those that waited for it alone may start."""
        for number in self._followers.pop(key):
            job, missing = self._waiting.pop(number)
            if missing == 1:
                heappush(self._ready, (number, job))
            else:
                self._waiting[number] = (job, missing - 1)

    def _take(self, job: Job) -> None:
        if job.key in self._given:
            raise ValueError(f"two jobs have the key {job.key}")
        for key in job.after:
            if key not in self._given:
                raise KeyError(f"job {job.key} waits for {key}, which did not come before it")
        number = len(self._given)
        self._given.add(job.key)
        missing = [key for key in dict.fromkeys(job.after) if key in self._followers]
        self._followers[job.key] = []
        for key in missing:
            self._followers[key].append(number)
        if missing:
            self._waiting[number] = (job, len(missing))
        else:
            heappush(self._ready, (number, job))


def feed(
    jobs: Iterable[Job],
    *,
    most: Callable[[], int],
    start: Callable[[Job], None],
    wait: Callable[[], tuple[Job, Any]],
    done: Callable[[Job, Any], None],
) -> None:
    """Start every job once, with at most `most()` under way, and call `done` with each result in this thread.

    `wait` blocks until one of the jobs under way has ended, and gives it with its result or raises its error. Nothing
    is started after an error, and those under way are the caller's to wait for.
    """
    order, under_way = JobOrder(jobs), 0
    while True:
        while under_way < most() and (job := order.next()) is not None:
            start(job)
            under_way += 1
        if not under_way:
            return
        job, result = wait()
        under_way -= 1
        order.ended(job.key)
        done(job, result)
        del job, result  # the next wait may be long
