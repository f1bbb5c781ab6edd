"""Threads of this process: no start-up cost, one copy of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from infra.cluster import Job
from infra.job_order import feed
from infra.memory import available_memory, resident_memory
from infra.stopping import going, work


class Lanes:
    """Lanes in this process, on one thread more than there are lanes.

    Only as many networks work at once as there are lanes (the caller holds a semaphore); the thread more reads and
    writes one block's pixels while another's are in the network.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.lanes = workers

    @property
    def memory(self) -> int:
        """Bytes that this process may hold: what it has and what is free on this machine, and allowed to it."""
        return resident_memory() + available_memory()

    def run(self, jobs: Iterable[Job], *, done: Callable[[Job, Any], None]) -> None:
        """Run all jobs; see `Cluster.run`."""
        ended: SimpleQueue[tuple[Job, Future[Any]]] = SimpleQueue()
        threads = self.workers + 1
        # The pool's end, further out, waits for what is under way: by then the run is marked as one that ends.
        with ThreadPoolExecutor(threads, thread_name_prefix="lane") as pool, going() as run:

            def start(job: Job) -> None:
                future = pool.submit(work, run, job.call, job.args)
                future.add_done_callback(lambda future: ended.put((job, future)))

            def wait() -> tuple[Job, Any]:
                job, future = ended.get()
                return job, future.result()

            # One job more than threads, so that no thread waits while `done` runs.
            feed(jobs, most=lambda: threads + 1, start=start, wait=wait, done=done)

    def everywhere(self, call: Callable[..., Any], *args: Any) -> list[Any]:
        """Call once, here."""
        return [call(*args)]
