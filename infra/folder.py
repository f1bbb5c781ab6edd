"""A store in a local folder: plain files, each written beside its place, flushed and renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import UnusableInput, UnwritableOutput
from infra.storage import (
    LEFTOVER,
    explaining,
    free_bytes,
    make_folder,
    remove,
    remove_leftover,
    replacing,
    sync,
    temporary_name,
)

if TYPE_CHECKING:
    import zarr.abc.store

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without hard links answer: exFAT drives, some network shares."""

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Folder:
    """A local folder; it need not be there yet. See `infra.store.Store` for what each operation promises."""

    root: Path
    """Made absolute, links resolved: two ways to one folder are equal."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root.resolve())

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self.root)

    def read(self, key: str) -> bytes | None:
        """The bytes of a file; None where there is none."""
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise UnusableInput(
                f"{self.root / key} cannot be read ({os.strerror(error.errno or 0).lower()})."
            ) from error

    def read_many(self, keys: Iterable[str]) -> list[bytes | None]:
        """The bytes of many files: one after the other, which for small ones is five times as fast as with threads."""
        return [self.read(key) for key in keys]

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Write a file in one piece."""
        _clear(self.root / key)
        with replacing(self.root / key, durable=durable) as temporary:
            temporary.write_bytes(data)

    def create(self, key: str, data: bytes) -> bool:
        """Write a file that is not there yet, whole from its first moment."""
        path = self.root / key
        _clear(path)
        temporary = temporary_name(path)
        try:
            with explaining(path):
                for _ in range(ATTEMPTS):
                    make_folder(path.parent)
                    with suppress(FileNotFoundError):  # a new holder of the workspace took it for a killed run's
                        temporary.write_bytes(data)
                        sync(temporary)
                        return _claim(temporary, path, data)
        finally:
            remove(temporary)
        raise UnwritableOutput(f"{path} cannot be written; something removes its folder again and again.")

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return (self.root / key).is_file()

    def keys(self, prefix: str = "") -> list[str]:
        """Every file below a folder."""
        start = str(self.root) + os.sep
        return sorted(entry.path.removeprefix(start) for entry in _files(str(self.root / prefix)))

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files."""
        for key in keys:
            with explaining(self.root / key), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                (self.root / key).unlink()

    def delete_all(self, prefix: str) -> None:
        """Remove a folder."""
        path = self.root / prefix
        if path.is_dir():
            with explaining(path):
                remove(path)
                if path.exists():  # the folder's own permissions forbade it
                    raise UnwritableOutput(f"{path} cannot be removed; check that you may write to it.")

    def settle(self, keys: Iterable[str]) -> None:
        """Flush files and all folders on the way to them."""
        folders = set()
        for key in keys:
            path = self.root / key
            with explaining(path):
                for entry in [path] if path.is_file() else [Path(e.path) for e in _files(str(path))]:
                    sync(entry)
                    folders |= {f for f in entry.parents if f.is_relative_to(self.root)}
        for folder in sorted(folders, reverse=True):  # the deepest first: a name is durable when what it names is
            with explaining(folder):
                sync(folder)

    def zarr(self, key: str) -> zarr.abc.store.Store:
        """The Zarr store in a folder."""
        from zarr.storage import LocalStore

        return LocalStore(self.root / key)

    def publishing(self, key: str) -> AbstractContextManager[Path]:
        """A temporary path beside the file or folder."""
        return replacing(self.root / key)

    @contextmanager
    def fetched(self, key: str) -> Iterator[Path]:
        """The file or folder itself."""
        path = self.root / key
        if not path.exists():
            raise UnusableInput(f"{path} is not there.")
        yield path

    def free(self) -> int:
        """Bytes free on the folder's disk."""
        return free_bytes(self.root)

    def sweep(self, prefix: str = "") -> None:
        """Remove what killed runs left, zarr's temporary files among it."""
        for entry in _entries(str(self.root / prefix)):
            if LEFTOVER.fullmatch(entry.name):
                remove_leftover(Path(entry.path))

    def explaining(self) -> AbstractContextManager[None]:
        """An operating system's error becomes one sentence."""
        return explaining(self.root)


def _clear(path: Path) -> None:
    """Remove the folders that deleted keys have left where a key is to stand; nothing that holds a file."""
    if path.is_dir() and all(p.is_dir() for p in path.rglob("*")):
        for folder in sorted(path.rglob("*"), reverse=True):
            folder.rmdir()
        path.rmdir()


def _claim(temporary: Path, path: Path, data: bytes) -> bool:
    """Give a written file its name; False where the name is taken, which a hard link tells without a gap."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            with path.open("xb") as file:  # exclusive as well, though a reader may see it before it is whole
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
    sync(path.parent)
    return True


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder; what is not finished is named, and not looked into. Links are not followed."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False) and not LEFTOVER.fullmatch(entry.name):
                    yield from _entries(entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return  # removed while we looked
    except OSError as error:
        raise UnusableInput(f"{folder} cannot be read ({os.strerror(error.errno or 0).lower()}).") from error


def _files(folder: str) -> Iterator[os.DirEntry[str]]:
    return (
        e for e in _entries(folder) if not e.name.startswith(".") and not LEFTOVER.fullmatch(e.name) and e.is_file()
    )
