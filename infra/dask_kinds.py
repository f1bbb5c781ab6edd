"""How each kind of Dask cluster is reached, and what is asked of it before the first job."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal
from urllib.parse import urlparse

from distributed import Client, Security
from distributed.comm.core import FatalCommClosedError
from distributed.versions import VersionMismatchWarning
from tornado.iostream import StreamClosedError

from infra.cluster import KINDS, QUEUES, Device
from infra.dask_cluster import Capacity, Distributed, Worker, workers_there
from infra.errors import UnusableInput
from infra.memory import available_memory, resident_memory
from infra.same_versions import require_same_scheduler, require_same_workers

USABLE = 0.8
"""Of a worker's memory limit: above it Dask pauses the worker (distributed.worker.memory.pause), at 0.95 it ends it."""


@contextmanager
def open_dask(
    kind: str, *, workers: int | None, device: Device | Literal["auto"], patience: float
) -> Iterator[Distributed]:
    """Start or reach the workers, see that they have this very installation, and measure what they can take.

    Raises:
        UnusableInput: see `infra.cluster.open_cluster`.
    """
    if kind == "processes" and device == "cuda":
        raise UnusableInput("--cluster processes is for the CPU; give --cluster cuda (one process per GPU) or lanes.")
    with ExitStack() as stack:
        where: Any
        if kind in {"processes", "cuda"}:
            from infra.dask_local import processes_here

            where = stack.enter_context(processes_here(kind, workers))
        elif kind == "kubernetes" or kind in QUEUES:
            from infra.dask_queues import queued_workers

            where = stack.enter_context(queued_workers(kind, workers))
        elif kind.startswith(("tcp://", "tls://")):
            refuse_open_network(kind)
            where = kind
        else:
            raise UnusableInput(f"--cluster was '{kind}'; expected {KINDS}.")
        client = connect(where, kind, patience)
        stack.callback(_close, client)
        try:
            require_same_scheduler(client)
            there = first_workers(client, kind, device="cuda" if device == "cuda" else "cpu", patience=patience)
            if device == "auto":
                with_gpu = there.keys() & workers_there(client, "cuda").keys()
                device = "cuda" if with_gpu else "cpu"
                there = {address: there[address] for address in with_gpu or there}
            capacity = measure(client, there, kind, workers, device)
        except OSError as error:
            raise UnusableInput(
                f"--cluster {kind} answered and then went away ({type(error).__name__}); look at the scheduler's log."
            ) from error
        yield Distributed(client, capacity, device=device, patience=patience)


def refuse_open_network(address: str) -> None:
    """Raise where an address is plain tcp and not on the loopback interface."""
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


def connect(where: Any, kind: str, patience: float) -> Client:
    """A client of a scheduler's address or of a cluster object.

    Raises:
        UnusableInput: nobody answers, or TLS is not set up on both sides.
    """
    if kind.startswith("tls://"):
        _require_certificates(kind)
    # What this process must know is raised; what Dask mends by itself, as a lost result, is no news.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # told as an error, further on
            return Client(where, timeout=patience, set_as_default=False)
    except (OSError, ImportError) as error:
        if kind.startswith("tls://") and _hung_up(error):
            raise UnusableInput(
                f"The Dask scheduler at {kind} and this process do not accept each other's certificates; both need "
                "one signed by the same distributed.comm.tls.ca-file."
            ) from error
        raise UnusableInput(
            f"No Dask scheduler answers at {kind}; start one (tls:// where it speaks TLS), or give --cluster lanes."
        ) from error


def _require_certificates(address: str) -> None:
    problem: object = "there is none"
    try:
        if Security().get_connection_args("client")["ssl_context"] is not None:
            return
    except OSError as error:  # no such file, or no certificate in it
        problem = error
    raise UnusableInput(
        f"--cluster was {address} and Dask finds no certificate to show ({problem}); set ca-file, client.cert and "
        "client.key under distributed.comm.tls in Dask's configuration."
    )


def _close(client: Client) -> None:
    """Leave; where the scheduler does not answer any more, that has been told."""
    with suppress(OSError):
        client.close()


HUNG_UP = (ssl.SSLError, FatalCommClosedError, StreamClosedError, ConnectionResetError, BrokenPipeError)
"""How it shows here that the other side was there and ended it, as it does where it refuses a certificate."""


def _hung_up(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, HUNG_UP):
        error = error.__cause__ or error.__context__
    return error is not None


def first_workers(client: Client, kind: str, *, device: Device, patience: float) -> dict[str, Worker]:
    """The workers that can take jobs, as soon as there is one, each with the same installation as this process.

    Raises:
        UnusableInput: none within `patience` seconds, none with a GPU, or one with another installation.
    """
    until = time.monotonic() + patience
    while True:
        there = workers_there(client, device)
        answering = require_same_workers(client, there) if there else []
        if answering:
            return {address: there[address] for address in answering}
        if device == "cuda" and workers_there(client, "cpu"):
            raise UnusableInput(
                f"No worker of --cluster {kind} has the resource GPU; start them with 'dask worker --resources GPU=1'."
            )
        if time.monotonic() > until:
            raise UnusableInput(
                f"No worker of --cluster {kind} came within {patience:.0f} s; start some with 'dask worker', or wait "
                "longer."
            )
        time.sleep(0.2)


def measure(client: Client, there: Mapping[str, Worker], kind: str, workers: int | None, device: Device) -> Capacity:
    """What the workers can take."""
    # A process that was started here has a thread more than lanes: one job reads and writes while another computes.
    started_here = kind in {"processes", "cuda"}
    lanes = 1 if started_here or device == "cuda" else max(w.threads for w in there.values())
    total, most = sum(min(lanes, w.threads) for w in there.values()), None
    if kind.startswith(("tcp://", "tls://")):
        total, most = min(total, workers or total), workers
    elif workers is not None and not started_here:
        total = workers * lanes  # the queue lets them in one by one
    return Capacity(total, lanes, _memory(client, there), most)


def _memory(client: Client, there: Mapping[str, Worker]) -> int:
    """Bytes that every worker may hold: what it has and its share of what its machine has free, and its own limit.

    Dask's default limit is a share of all the memory there is, whoever uses it.
    """
    free: dict[str, tuple[str, int, int]] = client.run(_free, workers=list(there), on_error="ignore")
    neighbours = Counter(host for host, *_ in free.values())
    shares = [held + room // neighbours[host] for host, room, held in free.values()]
    limits = [int(worker.limit * USABLE) for worker in there.values() if worker.limit]
    return min(shares + limits)


def _free() -> tuple[str, int, int]:
    return socket.gethostname(), available_memory(), resident_memory()
