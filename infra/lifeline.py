"""A worker process of this machine ends when the flow that started it ends, even by kill -9.

Dask workers load this module before their first job. Dask watches the parent in a thread, which needs Python's global
lock: a worker that is deep in a library which holds it would live on and write. The kernel's own signal needs nothing.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1


def dask_setup(_worker: Any) -> None:
    """Called by Dask as the worker starts, in its main thread."""
    end_with_parent()


def end_with_parent() -> None:
    """To be called by a process of `multiprocessing`, in its main thread, before anything else."""
    # Ctrl-C in a terminal goes to every process; the flow alone answers it, and tells its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "linux":
        return
    # The signal comes when the thread that started this process ends: with Dask, its own watcher of this process, which
    # lives as long as either; in a crew, the one that waits for it.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it ended before the line above
        os._exit(1)
