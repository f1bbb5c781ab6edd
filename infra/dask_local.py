"""Worker processes of this machine: one per core, or one per GPU with that GPU alone in sight.

They listen on the loopback interface only, and by TLS with a key made for this run: on a machine with other users a
plain port would let each of them run code as this one. There is no dashboard and no page. They end with their parent.

One process per GPU needs no more than an environment variable each. dask-cuda, which does the same, goes with one
release of Dask alone, and brings memory pools for arrays that torch does not use.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dask
from distributed import Nanny, Scheduler, Security, SpecCluster, Status

from infra.cluster import cores
from infra.errors import UnusableInput
from infra.settings import Settings

THREADS = 2
"""Jobs of a process at a time: one is in the network while the other reads and writes."""

STARTS = 3
"""Times that a process is started before the cluster counts as one that cannot be."""


class StubbornNanny(Nanny):
    """Starts its worker again where the process dies before it is up; Dask gives up there, and on the whole cluster.

    A worker that dies later is started again by Dask itself.
    """

    async def instantiate(self) -> Status:
        """Start the worker process."""
        status = await super().instantiate()
        for _ in range(STARTS - 1):
            if status == Status.running or self.status not in (Status.init, Status.starting):
                break
            status = await super().instantiate()
        return status


@contextmanager
def processes_here(kind: str, workers: int | None) -> Iterator[SpecCluster]:
    """Start `workers` processes (by default one per core), or one per GPU where the kind is `cuda`.

    Raises:
        UnusableInput: there are fewer GPUs than asked for, or none.
    """
    options: list[dict[str, Any]]
    if kind == "cuda":
        gpus = gpus_here()
        if not gpus or len(gpus) < (workers or 1):
            raise UnusableInput(f"--cluster cuda wants {workers or 1} GPU(s) and this machine shows {len(gpus)}.")
        options = [{"env": {"CUDA_VISIBLE_DEVICES": gpu}, "resources": {"GPU": 1}} for gpu in gpus[:workers]]
    else:
        options = [{}] * (workers or cores())
    security = Security.temporary()
    common = {"host": "127.0.0.1", "protocol": "tls", "security": security, "dashboard": False}
    # What goes wrong is raised here, in one sentence; Dask's own log of it would come in between.
    quiet = logging.CRITICAL
    nanny = common | {"nthreads": THREADS, "memory_limit": 0, "preload": ["infra.lifeline"], "silence_logs": quiet}
    settings: dict[str, list[str] | str | bool] = {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        # Dask samples every thread's stack all the time and keeps a tree a second, a thousand of them.
        "distributed.worker.profile.enabled": False,
        # Who asks a worker that has just died tries for so long, 30 s by default; on loopback an answer takes no time.
        "distributed.comm.timeouts.connect": "10s",
    }
    with dask.config.set(settings):
        cluster = SpecCluster(
            scheduler={"cls": Scheduler, "options": common | {"dashboard_address": "127.0.0.1:0"}},
            workers={n: {"cls": StubbornNanny, "options": nanny | own} for n, own in enumerate(options)},
            security=security,
            silence_logs=quiet,
        )
        try:
            yield cluster
        finally:
            # Dask cannot end a worker that it is just starting again, after it died; the lifeline will. Its complaint
            # would hide the error that ends the run.
            with suppress(Exception):
                cluster.close()


def gpus_here() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; asking torch would cost 466 MB."""
    named = Settings().visible_gpus
    if named is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip()]
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=uuid", "--format=csv,noheader"]
    told = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    return told.stdout.split() if told.returncode == 0 else []
