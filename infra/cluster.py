"""Where jobs run: lanes in this process, processes on this machine, or the workers of many machines.

One context manager gives a `Cluster`, whose `run` takes jobs (they may wait for each other), runs each once and calls
back as each ends. Steps do not know which kind they run on. docs/clusters.md says how each kind is set up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from infra.settings import settings

Device = Literal["cpu", "cuda"]
QUEUES = ("slurm", "pbs", "sge", "lsf", "htcondor", "oar")
KINDS = f"lanes, processes, cuda, kubernetes, {', '.join(QUEUES)}, or a Dask scheduler's address (tcp://..., tls://...)"


@dataclass(frozen=True, slots=True)
class Job:
    """One call that may run in any thread or process, and twice where a worker dies."""

    key: str
    """Unique in a run."""
    call: Callable[..., Any]
    """A function of a module, which every worker can import."""
    args: tuple[Any, ...] = ()
    """Small values that can be pickled: pixels go by the workspace."""
    after: tuple[str, ...] = ()
    """Keys of jobs that must have ended first; they come earlier in the order."""


class Cluster(Protocol):
    """Runs jobs."""

    @property
    def workers(self) -> int:
        """Lanes over all processes."""

    @property
    def lanes(self) -> int:
        """Networks at work at once in one process."""

    @property
    def memory(self) -> int:
        """Bytes that one process may hold, what it holds already among them."""

    def run(self, jobs: Iterable[Job], *, done: Callable[[Job, Any], None]) -> None:
        """Run every job once, each after those it names, and call `done` with its result in this thread.

        Jobs start in the order given, as far as those they wait for allow, and are taken from the iterable only as
        there is room: it may be lazy and long. No result is kept. The first error, of a job or of `done` or an
        interrupt of this thread, starts no other job, tells those under way to end (`infra.stopping`), waits for
        them, and is raised.

        Raises:
            GeoloomError: a worker died again and again at one job, or the scheduler is gone.
            KeyError: a job waits for one that did not come before it.
        """

    def everywhere(self, call: Callable[..., Any], *args: Any) -> list[Any]:
        """Call once in each process that runs jobs, and return what each gave."""


@contextmanager
def open_cluster(
    kind: str = "lanes",
    *,
    workers: int | None = None,
    device: Device | Literal["auto"] = "cpu",
    patience: float | None = None,
) -> Iterator[Cluster]:
    """Open where jobs run.

    Args:
        kind: one of `KINDS`.
        workers: lanes; processes of a kind that starts them; jobs at a time on a running scheduler. By default one
            per core (lanes, processes), one per GPU (cuda), all there are (a running scheduler). A batch queue and
            Kubernetes must be told.
        device: `cuda` sends jobs to workers that have the resource GPU, one network at a time to each; `auto` does so
            where there is one as the cluster is opened.
        patience: seconds to wait for the scheduler and for a first worker, and later without any; by default the
            setting's, else 30, and 600 where workers wait in a queue.

    Raises:
        UnusableInput: another kind, a library that is not installed, plain tcp to a machine that is not this one, no
            scheduler, no worker, or one with other versions.
    """
    if kind == "lanes":
        from infra.lanes import Lanes

        yield Lanes(workers or cores())
        return
    from infra.dask_kinds import open_dask

    wait = patience or settings().patience or (600.0 if kind in (*QUEUES, "kubernetes") else 30.0)
    with open_dask(kind, workers=workers, device=device, patience=wait) as cluster:
        yield cluster


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
