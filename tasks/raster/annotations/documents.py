"""Files of a data set, which strangers may have written: JSON, XML, and pictures that are named in them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any
from xml.etree import ElementTree as ET

from infra.errors import UnusableInput, UnusableScene
from tasks.raster.annotations.picture import KEY, About, Picture, about_from, picture_from
from tasks.raster.places import SUFFIXES
from tasks.raster.scene import describe_scene

SIDECAR = f"{KEY}.json"
"""What a format has no room for, beside it."""


def read_json(path: Path) -> Any:
    """A JSON document.

    Raises:
        UnusableInput: missing, or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UnusableInput(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UnusableInput(
            f"{path} is no JSON document ({error}); it is damaged or truncated: get it again."
        ) from error


def read_xml(path: Path) -> ET.Element:
    """An XML document without a document type, so without entities that could grow or lead elsewhere.

    Raises:
        UnusableInput: missing, damaged, or with a document type.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnusableInput(f"{path} cannot be read ({error.strerror}).") from error
    if not data.startswith((b"<", b"\xef\xbb\xbf<")) or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        # In UTF-8 only: in another encoding, a document type would not be seen here.
        raise UnusableInput(f"{path} is no plain XML document in UTF-8, or has a document type; expected neither.")
    try:
        return ET.fromstring(data)  # noqa: S314 - without a document type there are no entities
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UnusableInput(
            f"{path} is no XML document ({error}); it is damaged or truncated: get it again."
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around what takes a document apart: what is missing or of another kind becomes one sentence.

    Raises:
        UnusableInput: it is.
    """
    try:
        yield
    except UnusableInput as error:
        raise UnusableInput(error.args[0] if str(path) in str(error) else f"{path}: {error}") from error
    except KeyError as error:
        raise UnusableInput(
            f"{path} lacks {error} in one of its entries; it is damaged or of another format."
        ) from error
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise UnusableInput(f"{path} has an entry of another kind than expected ({error}).") from error


class Pictures:
    """The rasters below a folder, found by the names that documents give them."""

    def __init__(self, folder: Path, *, without: frozenset[str] = frozenset()) -> None:
        """List them; those in folders `without` are annotations, and those that cannot be read are left out."""
        require_folder(folder)
        self.root = folder
        self.files: list[Path] = []
        self.left_out: list[str] = []
        for path in sorted(folder.rglob("*")):
            inside = {part.lower() for part in path.relative_to(folder).parts[:-1]}
            if path.suffix.lower() in SUFFIXES and not without & inside and path.is_file():
                try:
                    describe_scene(path)
                except UnusableScene as error:
                    self.left_out.append(str(error))
                else:
                    self.files.append(path)
        self.by_name: dict[str, list[Path]] = {}
        for path in self.files:
            self.by_name.setdefault(path.name, []).append(path)
        stems = Counter(path.stem for path in self.files)
        self.names = {
            path: path.stem if stems[path.stem] == 1 else "_".join(path.relative_to(folder).with_suffix("").parts)
            for path in self.files
        }
        """What each is called: its stem, with the folders where two have the same; then with its ending."""
        twice = Counter(self.names.values())
        for path, name in self.names.items():
            if twice[name] > 1:
                self.names[path] = f"{name}_{path.suffix[1:].lower()}"

    def find(self, said: str, near: Path) -> Path | None:
        """The picture that a document in the folder `near` names; never one outside the data set's folder.

        A path that leads to one counts most; else the only one of that name does.
        """
        plain = PureWindowsPath(said).as_posix()
        for start in (near, near / "images", self.root, self.root / "images"):
            path = start / plain
            if path in self.names:
                return path
        named = self.by_name.get(plain.rpartition("/")[2], [])
        fitting = [path for path in named if path.as_posix().endswith(f"/{plain}")] or named
        return fitting[0] if len(fitting) == 1 else None


def require_folder(folder: Path) -> None:
    """Raise where there is no such folder."""
    if not folder.is_dir():
        raise UnusableInput(f"There is no folder {folder}; give the one that holds the data set.")


def open_picture(name: str, file: Path, said: Any, *, size: tuple[int, int] | None = None) -> Picture:
    """A picture of a data set, where `geoloom` says that it lies, or else by itself where its file says.

    Args:
        name: what it is called.
        file: the raster.
        said: what stands under the key, if anything does.
        size: rows and columns that the annotation has for it.

    Raises:
        UnusableInput: it cannot be read, or is of another size.
    """
    grid = describe_scene(file).grid
    shape = (grid.shape[0], grid.shape[1])
    picture = picture_from(name, file, said) if said else Picture(name, file, shape, name, grid)
    for other in (picture.shape, size or shape):
        if other != shape:
            raise UnusableInput(
                f"{file} has {shape[1]} x {shape[0]} pixels and its annotation is of {other[1]} x {other[0]}; "
                "get the picture that was annotated."
            )
    return picture


def read_sidecar(folder: Path) -> tuple[About | None, Mapping[str, Any]]:
    """What `geoloom.json` in a folder says of the data set, and of each picture by its name; nothing where it is not.

    Raises:
        UnusableInput: it is damaged.
    """
    path = folder / SIDECAR
    if not path.is_file():
        return None, {}
    document = read_json(path)
    with reading(path):
        pictures: Mapping[str, Any] = document["pictures"]
        return about_from(document), dict(pictures)


class Sidecar:
    """Writes `geoloom.json`, an entry as it comes, so that none is kept."""

    def __init__(self, folder: Path, about: About) -> None:
        """Begin it."""
        self.file = (folder / SIDECAR).open("w", encoding="utf-8")
        head = json.dumps(about.to_json(), ensure_ascii=False)
        self.file.write(f'{head[:-1]}, "pictures": {{')
        self.first = True

    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """Write what is said of one picture."""
        self.file.write("\n" if self.first else ",\n")
        self.first = False
        self.file.write(f"{json.dumps(name)}: {json.dumps(document, ensure_ascii=False)}")

    def close(self) -> None:
        """End it."""
        self.file.write("\n}}\n")
        self.file.close()


def natural(paths: Iterable[Path]) -> list[Path]:
    """Paths in the order that people count in."""

    def words(path: Path) -> list[tuple[int, str]]:
        return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", str(path))]

    return sorted(paths, key=words)
