"""Jobs on the workers of a Dask scheduler: other processes, on this machine or on many.

The scheduler is given few jobs at a time: those under way and as many again, so that no worker waits for this process.
What orders jobs is this process, not Dask's graph: 10^5 tasks would cost the scheduler memory, and the start minutes.
Dask runs a job again whose worker died, also one that had ended and whose result had not come here yet: jobs look in
the ledger first. What `done` was called for leaves nothing on the workers and is never run again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from distributed import Client, Future, KilledWorker

from infra.cluster import Device, Job
from infra.errors import GeoloomError
from infra.job_order import feed
from infra.stopping import Stopped, going, stop, stopped, work

GPU_SHARE = 0.5
"""What a job asks for of a worker's GPU: while one is in the network, another reads and writes (one lane, two jobs)."""
CENSUS = 5.0
"""Seconds between two looks at which workers there are: some join, some go."""
ANSWER = 3.0
"""Seconds to wait for a finished job's result, a small value, before asking again."""
TICK = 1.0
"""Seconds between two looks at whether all is well while no job ends."""


Ended = tuple[Job, Any, BaseException | None]
"""A job, what came back, and what was raised."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process that can take jobs."""

    threads: int
    """Jobs that it runs at a time."""
    limit: int
    """Bytes at which Dask ends it; 0 where it does not."""
    full: bool
    """Dask lets it begin nothing because its memory is full, and it has nothing under way that would free some."""


def workers_there(client: Client, device: Device) -> dict[str, Worker]:
    """The workers that can take jobs now, by their address: those with the resource GPU where the device is cuda."""
    known = client.scheduler_info()["workers"]
    return {
        address: Worker(int(facts["nthreads"]), int(facts["memory_limit"] or 0), _is_full(facts))
        for address, facts in known.items()
        if facts["status"] in {"running", "paused"}  # paused: its memory is full, and it goes on with what it has
        and (device != "cuda" or facts["resources"].get("GPU"))
    }


def _is_full(facts: Mapping[str, Any]) -> bool:
    return facts["status"] == "paused" and not facts["metrics"].get("task_counts", {}).get("executing")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a cluster's workers can take, as it was when it was opened."""

    workers: int
    """Lanes over all processes."""
    lanes: int
    """Networks at work at once in one process."""
    memory: int
    """Bytes that one process may use."""
    most: int | None = None
    """Jobs under way at most, where the user says so."""


class SchedulerLost(GeoloomError):
    """The scheduler, or the way to it, is gone in the middle of a run."""


class Distributed:
    """The workers that a `distributed.Client` reaches."""

    def __init__(self, client: Client, capacity: Capacity, *, device: Device, patience: float) -> None:
        self.workers, self.lanes, self.memory = capacity.workers, capacity.lanes, capacity.memory
        self._client, self._device, self._patience, self._most = client, device, patience, capacity.most
        assert client.scheduler is not None
        self._address = str(client.scheduler.address)
        self._threads, self._counted = 0, 0.0
        self._manned = self._willing = time.monotonic()

    def run(self, jobs: Iterable[Job], *, done: Callable[[Job, Any], None]) -> None:
        """Run all jobs; see `Cluster.run`."""
        ended: SimpleQueue[Ended] = SimpleQueue()
        under_way: dict[str, Future[Any]] = {}
        collector = _Collector(self._client, ended)
        share = {"GPU": GPU_SHARE} if self._device == "cuda" else None
        self._counted, self._manned = 0.0, time.monotonic()
        self._willing = self._manned

        with going() as run:

            def start(job: Job) -> None:
                if self._client.status != "running":
                    raise self._lost()
                # All keys of a run begin alike, so that Dask queues its tasks and gives them out in their order.
                key = (f"geoloom-{run}", job.key)
                under_way[job.key] = self._client.submit(
                    _work_here, run, job.call, job.args, key=key, pure=False, resources=share
                )
                collector.follow(job, under_way[job.key])

            def wait() -> tuple[Job, Any]:
                job, result, error = self._next(ended, run)
                future = under_way.pop(job.key)
                if error is not None:
                    self._raise(job, error, failed=future.status == "error")
                was_stopped, value = result
                if was_stopped:
                    raise Stopped
                return job, value

            try:
                feed(jobs, most=self._room, start=start, wait=wait, done=done)
            except SchedulerLost:
                raise  # nobody is left to tell
            except BaseException:
                self._end(run, under_way, ended)
                raise

    def everywhere(self, call: Callable[..., Any], *args: Any) -> list[Any]:
        """Call once in each worker process that takes jobs, all at the same time."""
        addresses = list(workers_there(self._client, self._device))
        found: Mapping[str, Any] = self._client.run(_in_a_thread, call, args, workers=addresses)
        return list(found.values())

    def _room(self) -> int:
        """Jobs that may be under way now: twice what runs at a time, and no more than the user wants."""
        self._count()
        ahead = 2 * self._threads + 2
        return ahead if self._most is None else min(ahead, self._most)

    def _count(self) -> None:
        """Look at which workers there are, once in a while."""
        now = time.monotonic()
        if now - self._counted < CENSUS:
            return
        self._counted = now
        try:
            there = workers_there(self._client, self._device)
        except OSError as error:
            raise self._lost() from error
        # A GPU worker has two jobs at a time, whatever its threads.
        self._threads = sum(min(w.threads, 2) if self._device == "cuda" else w.threads for w in there.values())
        if there:
            self._manned = now
        if not there or any(not worker.full for worker in there.values()):
            self._willing = now

    def _next(self, ended: SimpleQueue[Ended], run: str) -> Ended:
        """The next job that ended; raises where none will."""
        while True:
            with suppress(Empty):
                return ended.get(timeout=TICK)
            if stopped(run):
                raise Stopped
            if self._client.status != "running":
                raise self._lost()
            self._count()
            alone = time.monotonic() - self._manned
            if alone > self._patience:
                raise GeoloomError(
                    f"No worker of the Dask scheduler at {self._address} has been there for {alone:.0f} s; start "
                    "workers and run the same command again."
                )
            if time.monotonic() - self._willing > self._patience:
                raise GeoloomError(
                    f"The memory of every worker of the Dask scheduler at {self._address} is full, so that none begins "
                    "a job; give workers more memory (--memory-limit) and run the same command again."
                )

    def _is_at_work(self) -> bool:
        """Whether there is a worker that has a job under way, or could begin one."""
        return any(not worker.full for worker in workers_there(self._client, self._device).values())

    def _raise(self, job: Job, error: BaseException, *, failed: bool) -> NoReturn:
        """Raise a job's own error as it is, Dask's as one sentence."""
        if not failed:  # then the way to its result has
            raise self._lost() from error
        if isinstance(error, KilledWorker):
            raise GeoloomError(
                f"Dask's workers died {error.allowed_failures + 1} times at job {job.key}, the last at "
                f"{error.last_worker.address}; most often memory ran out: give fewer --workers or smaller tiles."
            ) from error
        raise error

    def _lost(self) -> SchedulerLost:
        return SchedulerLost(
            f"The Dask scheduler at {self._address} is gone; start it again and run the same command: it goes on from "
            "what is finished."
        )

    def _end(self, run: str, under_way: dict[str, Future[Any]], ended: SimpleQueue[Ended]) -> None:
        """Tell the jobs under way to end and wait for them; a second interrupt does not wait."""
        stop(run)
        with suppress(OSError):  # the scheduler has gone as well
            try:
                while under_way and self._client.status == "running" and self._is_at_work():
                    # Told again and again, because a worker may have joined since.
                    self._client.run(stop, run, on_error="ignore")
                    until = time.monotonic() + TICK
                    while under_way and (left := until - time.monotonic()) > 0:
                        with suppress(Empty):
                            under_way.pop(ended.get(timeout=left)[0].key, None)
            finally:
                self._client.cancel(list(under_way.values()))


class _Collector:
    """In the client's event loop: hands over results, those of all jobs that ended meanwhile in one question.

    Asked one by one, each small result costs a round trip of some milliseconds. A thread that waits in
    `Future.result()` would wait for ever where the worker that has the result is gone and no other comes.
    """

    def __init__(self, client: Client, ended: SimpleQueue[Ended]) -> None:
        self._client, self._ended = client, ended
        self._over: list[tuple[Job, Future[Any]]] = []
        self._at_work = False

    def follow(self, job: Job, future: Future[Any]) -> None:
        """Hand over this job's result as soon as there is one; for any thread."""
        loop = self._client.loop
        assert loop is not None
        future.add_done_callback(lambda over: loop.add_callback(self._collect, job, over))

    async def _collect(self, job: Job, future: Future[Any]) -> None:
        self._over.append((job, future))
        if self._at_work:
            return
        self._at_work = True
        try:
            while self._over:
                batch, self._over = self._over, []
                # One that does not answer soon is gone on with beside the next.
                await asyncio.wait([asyncio.ensure_future(self._hand_over(batch))], timeout=ANSWER)
        finally:
            self._at_work = False

    async def _hand_over(self, batch: list[tuple[Job, Future[Any]]]) -> None:
        try:
            results = await _ask(self._client, [future for _, future in batch])
        except BaseException as error:  # noqa: BLE001 - whatever it is, the thread that waits raises it
            if len(batch) == 1:
                self._ended.put((batch[0][0], None, error))
            else:  # one by one: the others have their results
                await asyncio.gather(*(self._hand_over([one]) for one in batch))
        else:
            for (job, _), result in zip(batch, results, strict=True):
                self._ended.put((job, result, None))


async def _ask(client: Client, futures: list[Future[Any]]) -> list[Any]:
    """Jobs' results, asked for again where the scheduler does not give what it says it has.

    It then asks a worker that has just died, and goes on so for 30 s; asked again, it runs the job again.
    """
    asked: set[asyncio.Task[Any]] = set()
    answered: set[asyncio.Task[Any]] = set()
    finished = True
    while not answered:
        if finished:
            asked.add(asyncio.ensure_future(client.gather(futures, asynchronous=True)))
        answered, _ = await asyncio.wait(asked, timeout=ANSWER, return_when=asyncio.FIRST_COMPLETED)
        finished = all(future.status == "finished" for future in futures)
    for late in asked - answered:
        late.add_done_callback(lambda task: task.cancelled() or task.exception())  # looked at, so that no one logs it
    results: list[Any] = answered.pop().result()
    return results


def _work_here(run: str, call: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Any]:
    """In a worker: whether the job was stopped, and its result. Dask would log an exception with its traceback."""
    try:
        return False, work(run, call, args)
    except Stopped:
        return True, None
    except GeoloomError as error:
        error.__cause__ = error.__context__ = None  # GDAL's cannot be pickled, and Dask would send a bare Exception
        raise


async def _in_a_thread(call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """In a worker: call beside its event loop, which must go on telling the scheduler that the worker lives."""
    return await asyncio.to_thread(call, *args)
