"""Where tasks of a Dask graph run: lanes in this process, processes on this machine, or a running scheduler.

One context manager gives a `Cluster`, whose `run` takes delayed tasks (they may depend on each other), computes each
once and calls back as each ends. Steps do not know which kind they run on.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlparse

import dask.base
from dask.callbacks import Callback
from dask.delayed import Delayed

from infra.errors import UnusableInput

KINDS = "lanes, processes, or the address of a Dask scheduler (tcp://..., tls://...)"


class Cluster(Protocol):
    """Runs delayed tasks."""

    workers: int
    """How many tasks run at a time."""

    def run(self, jobs: Sequence[Delayed], *, done: Callable[[], None]) -> list[Any]:
        """Compute every job once, call `done` as each ends, and return their results in order."""


class Lanes:
    """Threads of this process: no start-up cost, one copy of the network."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, jobs: Sequence[Delayed], *, done: Callable[[], None]) -> list[Any]:
        """Compute on Dask's threaded scheduler."""
        keys = {job.key for job in jobs}

        def finished(key: Any, *_: Any) -> None:
            if key in keys:
                done()

        with Callback(posttask=finished):
            return list(dask.base.compute(*jobs, scheduler="threads", num_workers=self.workers, optimize_graph=False))


class Distributed:
    """A `distributed.Client`: processes on this machine or many machines."""

    def __init__(self, client: Any, workers: int) -> None:
        self.client = client
        self.workers = workers

    def run(self, jobs: Sequence[Delayed], *, done: Callable[[], None]) -> list[Any]:
        """Compute on the scheduler; a task's error is raised here and cancels the rest."""
        from distributed import as_completed

        futures = self.client.compute(list(jobs), optimize_graph=False)
        try:
            for future in as_completed(futures):
                future.result()
                done()
            return list(self.client.gather(futures))
        finally:
            self.client.cancel(futures)


@contextmanager
def open_cluster(kind: str = "lanes", *, workers: int | None = None) -> Iterator[Cluster]:
    """Open where tasks run.

    Args:
        kind: `lanes` (threads of this process), `processes` (a `LocalCluster`), or a scheduler's address.
        workers: lanes or processes; by default one per core this process may use.

    Raises:
        UnusableInput: another kind, or plain tcp to a machine that is not this one.
    """
    count = workers or cores()
    if kind == "lanes":
        yield Lanes(count)
    elif kind == "processes":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None, memory_limit=0) as local,
            Client(local) as client,
        ):
            yield Distributed(client, count)
    elif kind.startswith(("tcp://", "tls://")):
        _refuse_open_network(kind)
        from distributed import Client

        try:
            client = Client(kind, timeout=20)
        except OSError as error:
            raise UnusableInput(f"No Dask scheduler answers at {kind}; start one, or give --cluster lanes.") from error
        with client:
            client.get_versions(check=True)
            yield Distributed(client, max(1, sum(client.nthreads().values())))
    else:
        raise UnusableInput(f"--cluster was '{kind}'; expected {KINDS}.")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _refuse_open_network(address: str) -> None:
    url = urlparse(address)
    host = url.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if url.scheme == "tcp" and not loopback:
        raise UnusableInput(
            f"--cluster was {address}: anyone who reaches a plain tcp:// scheduler can run code on it; use tls://."
        )
