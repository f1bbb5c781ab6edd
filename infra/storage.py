"""Where bytes lie: nothing half-written ever stands under a final name.

A file or folder is built beside its final place under a name that begins with a dot, flushed to the disk, and renamed.
Whatever goes wrong on the way, a full disk included, becomes one `UnwritableOutput`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.errors import GeoloomError, UnwritableOutput

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success what was made there takes its place, on failure it is removed.

    Works for files and folders alike. A folder that stood there before is deleted only after the new one is complete.

    Raises:
        UnwritableOutput: the place cannot be written, or the disk is full.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".part{os.getpid()}.{path.name}")  # the suffix stays: drivers look at it
    _remove(temporary)  # of a killed run whose number came round again, as in containers
    try:
        with explaining(path):
            yield temporary
            if not temporary.exists():
                raise GeoloomError(f"Nothing was made for {path}.")
            if path.is_dir() and temporary.is_file():
                raise UnwritableOutput(f"{path} is a folder and a file is to be written; name a file in it.")
            _flush(temporary)
            _move(temporary, path)
            _sync(path.parent)  # the names, too
    finally:
        _remove(temporary)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn an operating system's error while writing `path` into one clear sentence."""
    try:
        yield
    except OSError as error:
        if isinstance(error, GeoloomError):
            raise
        if error.errno in NO_SPACE:
            free = shutil.disk_usage(_existing(path)).free
            raise UnwritableOutput(
                f"The disk is full while writing {path} ({free / 1e6:.0f} MB are free); "
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
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)  # another thread's may be the same


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write one JSON document in one piece, keys as given, floats exactly."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def require_free(path: Path, need: int) -> None:
    """Refuse before work starts where the disk cannot hold what will be written.

    Args:
        path: where it will be written.
        need: bytes.

    Raises:
        UnwritableOutput: less than that is free.
    """
    free = shutil.disk_usage(_existing(path)).free
    if free < need:
        raise UnwritableOutput(
            f"{path} needs about {need / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; "
            "make room or choose another folder."
        )


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def _flush(path: Path) -> None:
    for entry in [path] if path.is_file() else [path, *path.rglob("*")]:
        _sync(entry)


def _sync(entry: Path) -> None:
    descriptor = os.open(entry, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(temporary: Path, path: Path) -> None:
    if path.is_dir():
        old = path.with_name(f".old{os.getpid()}.{path.name}")
        path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old)
    else:
        temporary.rename(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
