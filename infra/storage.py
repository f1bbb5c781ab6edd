"""Where bytes lie: nothing half-written ever stands under a final name.

A file or folder is built beside its final place under a name that begins with a dot, flushed to the disk, and renamed.
Whatever goes wrong on the way, a full disk included, becomes one `UnwritableOutput`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count, takewhile
from pathlib import Path

from infra.errors import GeoloomError, UnwritableOutput

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

RUN = secrets.token_hex(3)
"""Tells this run's temporary names from those of a process of the same number: in containers each is number 1."""

LEFTOVER = re.compile(r"\.(part|old|probe)\d+\..+|.+\.[0-9a-f]{32}\.partial", re.DOTALL)
"""Names of what is not finished: ours, and those that zarr's LocalStore writes to before it renames."""

PAUSES_S = (0.05, 0.1, 0.5, 2.0)
"""Between attempts to remove a folder: threads of a write that failed may still be at their last files."""

_serial = count()


def sha256_of(path: Path) -> str:
    """Of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success what was made there takes its place, on failure it is removed.

    Works for files and folders alike. A folder that stood there before is deleted only after the new one is complete.

    Args:
        path: the file or folder to make.
        durable: it is on the disk when the block ends; without, it is only whole (a flush waits for whatever else is
            being written, seconds on a busy disk).

    Raises:
        UnwritableOutput: the place cannot be written, or the disk is full.
    """
    make_folder(path.parent)
    temporary = temporary_name(path)
    try:
        with explaining(path):
            yield temporary
            if not temporary.exists():
                raise GeoloomError(f"Nothing was made for {path}.")
            if path.is_dir() and temporary.is_file():
                raise UnwritableOutput(f"{path} is a folder and a file is to be written; name a file in it.")
            if durable:
                _flush(temporary)
            _move(temporary, path)
            if durable:
                sync(path.parent)  # the names, too
    finally:
        remove(temporary)


def temporary_name(path: Path, kind: str = "part") -> Path:
    """A name beside `path` that nobody else takes; it ends in the same suffix, which drivers look at."""
    return path.with_name(f".{kind}{os.getpid()}.{RUN}{next(_serial)}.{path.name}")


def remove_leftover(path: Path) -> None:
    """Remove an unfinished file or folder of a killed run; this run's own stay.

    A run killed between taking an old folder's name away and giving it to the new one leaves neither: the old one gets
    its name back.
    """
    _, kind, run, name = [*path.name.split(".", 3), "", ""][:4]
    if run.startswith(RUN):
        return
    with explaining(path):
        if kind.startswith("old") and name and not path.with_name(name).exists():
            path.rename(path.with_name(name))
        else:
            remove(path)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn an operating system's error while writing `path` into one clear sentence."""
    try:
        yield
    except OSError as error:
        if isinstance(error, GeoloomError):
            raise
        if error.errno in NO_SPACE:
            raise UnwritableOutput(
                f"The disk is full while writing {path} ({free_bytes(path) / 1e6:.0f} MB are free); "
                "make room or choose another folder, and run again."
            ) from error
        if error.errno in (
            errno.ENOENT,
            errno.ENAMETOOLONG,
            errno.ELOOP,
            errno.EINVAL,
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.ENOTDIR,
            errno.EEXIST,
            errno.EISDIR,
        ):
            reason = os.strerror(error.errno).lower()
            raise UnwritableOutput(
                f"{path} cannot be written ({reason}); choose a folder that you may write to."
            ) from error
        raise


def make_folder(path: Path) -> None:
    """Make a folder and its parents, and check that files can be made in it.

    Raises:
        UnwritableOutput: it cannot be made or written to.
    """
    with explaining(path):
        new = list(takewhile(lambda p: not p.exists(), (path, *path.absolute().parents)))
        path.mkdir(parents=True, exist_ok=True)
        for folder in new:
            sync(folder.absolute().parent)  # what is made in it is as durable as its own name
        probe = path / f".probe{os.getpid()}.{RUN}"
        probe.touch()
        probe.unlink(missing_ok=True)  # another thread's may be the same


def free_bytes(path: Path) -> int:
    """Bytes free on the disk that holds a path, or will."""
    return shutil.disk_usage(next(p for p in (path, *path.absolute().parents) if p.exists())).free


def sync(entry: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk."""
    descriptor = os.open(entry, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, as far as it is there and may be removed."""
    if path.is_dir() and not path.is_symlink():
        for pause in PAUSES_S:
            shutil.rmtree(path, ignore_errors=True)
            time.sleep(pause)
            if not path.exists():
                break
    else:
        with suppress(OSError):
            path.unlink()


def _flush(path: Path) -> None:
    for entry in [path] if path.is_file() else [path, *path.rglob("*")]:
        sync(entry)


def _move(temporary: Path, path: Path) -> None:
    if path.is_dir():
        old = temporary_name(path, "old")
        path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old)
    else:
        temporary.rename(path)
