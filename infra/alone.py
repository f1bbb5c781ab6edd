"""One run at a time in a folder that is no workspace."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import WorkspaceBusy


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which lies there as before: the system forgets the lock with the process.

    Network shares that lock no folders let all of them in.

    Raises:
        WorkspaceBusy: another run is in it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WorkspaceBusy(
                f"Another training writes into {folder}: wait until it has ended, or give another --out."
            ) from error
        except OSError:
            pass  # a network share that locks no folders
        yield
    finally:
        os.close(handle)
