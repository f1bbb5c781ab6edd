"""Workers that a batch queue or Kubernetes starts for this run, and ends with it.

What one worker gets (cores, memory, queue, image) stands in Dask's own configuration files, which every site has.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
from distributed import Security

from infra.errors import UnusableInput
from infra.settings import settings

CLASSES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
}


@contextmanager
def queued_workers(kind: str, workers: int | None) -> Iterator[Any]:
    """A cluster of dask-jobqueue or dask-kubernetes that was asked for `workers` worker processes.

    Raises:
        UnusableInput: the library is not installed, or the site's configuration does not do.
    """
    if kind != "kubernetes" and kind not in CLASSES:
        raise UnusableInput(f"--cluster was '{kind}'; expected one of {', '.join(CLASSES)}, kubernetes.")
    library = _kubernetes() if kind == "kubernetes" else _import("dask_jobqueue", kind, "hpc")
    if workers is None:
        raise UnusableInput(f"--cluster {kind} needs --workers N: how many worker processes to ask for.")
    if kind != "kubernetes":
        _require_sizes(kind)
    with ExitStack() as stack:
        try:
            if kind == "kubernetes":
                cluster = stack.enter_context(library.KubeCluster(n_workers=workers, quiet=True))
            else:
                options = queue_options(kind, stack.enter_context(certificates(kind)))
                cluster = stack.enter_context(getattr(library, CLASSES[kind])(**options))
                cluster.scale(workers)
        except Exception as error:
            where = "kubernetes" if kind == "kubernetes" else f"jobqueue.{kind}"
            raise UnusableInput(
                f"--cluster {kind} could not be opened ({type(error).__name__}: {error}); look at {where} in Dask's "
                "configuration (~/.config/dask)."
            ) from error
        yield cluster


def _require_sizes(kind: str) -> None:
    for name in ("cores", "memory"):
        if dask.config.get(f"jobqueue.{kind}.{name}", None) is None:
            raise UnusableInput(
                f"--cluster {kind} needs jobqueue.{kind}.{name}, what one job gets, in Dask's configuration "
                "(~/.config/dask)."
            )


def queue_options(kind: str, security: Security) -> dict[str, Any]:
    """What a dask-jobqueue cluster is given beside the site's configuration: TLS, and no page on a public port."""
    own = dask.config.get(f"jobqueue.{kind}.scheduler-options", None) or {}
    return {
        "protocol": "tls://",
        "security": security,
        "silence_logs": "critical",
        "scheduler_options": {"dashboard": False, "dashboard_address": "127.0.0.1:0"} | own,
    }


@contextmanager
def certificates(kind: str) -> Iterator[Security]:
    """The site's (`distributed.comm.tls`), else a pair made for this run.

    It lies, for this user alone, where compute nodes can read it: in the site's shared-temp-directory, or in geoloom's
    cache under the home folder. It is gone when the block ends.
    """
    if dask.config.get("distributed.comm.tls.ca-file", None):
        yield Security(require_encryption=True)
        return
    shared = dask.config.get(f"jobqueue.{kind}.shared-temp-directory", None)
    folder = Path(os.path.expandvars(shared)).expanduser() if shared else settings().cache_dir / "tls"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Security.temporary()
    with TemporaryDirectory(dir=folder, prefix="run-") as place:  # made with mode 0700
        parts = {"ca_file": made.tls_ca_file, "cert": made.tls_worker_cert, "key": made.tls_worker_key}
        paths = {part: Path(place, f"{part}.pem") for part in parts}
        for part, path in paths.items():
            path.write_text(str(parts[part]), encoding="ascii")
        pairs = {
            f"tls_{role}_{part}": str(paths[part])
            for role in ("scheduler", "worker", "client")
            for part in ("cert", "key")
        }
        yield Security(require_encryption=True, tls_ca_file=str(paths["ca_file"]), **pairs)


def _import(library: str, kind: str, extra: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UnusableInput(
            f"--cluster {kind} needs {library.split('.', maxsplit=1)[0].replace('_', '-')}; install geoloom[{extra}]."
        ) from error


def _kubernetes() -> Any:
    return _import("dask_kubernetes.operator", "kubernetes", "kubernetes")
