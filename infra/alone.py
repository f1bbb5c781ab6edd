"""One run at a time in a folder that is no workspace."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.errors import WorkspaceBusy

LOCK = ".training.lock"
"""A file: of folders, network shares keep locks on one machine only."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder. The system forgets the lock with the process; the file goes at the end.

    Raises:
        WorkspaceBusy: another run is in it.
    """
    handle = _locked(folder)
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)


def _locked(folder: Path) -> int:
    while True:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise WorkspaceBusy(
                f"Another training writes into {folder}: wait until it has ended, or give another --out."
            ) from error
        except OSError:  # a share that knows no locks
            return handle
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), (folder / LOCK).stat()):
                return handle
        os.close(handle)  # of one that has just ended
