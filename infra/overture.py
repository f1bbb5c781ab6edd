"""Overture's public release: its files by type and place, found through its STAC catalog, and read by ranges.

https://docs.overturemaps.org/getting-data: the root catalog names the latest release; below it lie a catalog a theme, a
collection a type and an item a file, with the file's bounds. Plain https: no account, whatever AWS_* variables say.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from infra.bucket import OUTAGE_S
from infra.errors import UnusableInput
from infra.remote import read_document

if TYPE_CHECKING:
    from obstore.store import HTTPStore

READERS = 16
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Release:
    """One release of Overture."""

    name: str
    catalog: str
    """Its catalog's address."""

    def files(self, theme: str, kind: str, boxes: list[Box]) -> list[str]:
        """The addresses of a type's files that meet boxes of degrees.

        Raises:
            UnusableInput: the catalog cannot be read, or is none as Overture writes it.
        """
        above = _read(self.catalog)
        themes = _links(above, self.catalog, "child", part=theme)
        found = []
        for address in themes:
            for collection in _links(_read(address), address, "child", part=kind):
                items = _links(_read(collection), collection, "item")
                with ThreadPoolExecutor(READERS) as readers:
                    found += [url for url in readers.map(lambda item: _file(item, boxes), items) if url is not None]
        return found


def latest_release(catalog: str) -> Release:
    """The newest release of a root catalog.

    Raises:
        UnusableInput: the catalog cannot be read, or names no release.
    """
    root = _read(catalog)
    name = root.get("latest")
    links = _links(root, catalog, "child", part=str(name))
    if not isinstance(name, str) or not links:
        raise _strange(catalog, "it names no latest release")
    return Release(name, links[0])


class RangedFile(io.RawIOBase):
    """A file on a server: reading asks for just that range.

    obstore's own reader lacks what pyarrow asks of a file (`closed`).
    """

    def __init__(self, store: HTTPStore, key: str) -> None:
        super().__init__()
        self._store, self._key, self._place = store, key, 0
        self._size: int = store.head(key)["size"]

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte, as counted from the start, from here or from the end."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        """Where it is."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on."""
        wanted = min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        buffer[:wanted] = memoryview(self._store.get_range(self._key, start=self._place, length=wanted))
        self._place += wanted
        return wanted


@contextmanager
def opened(url: str) -> Iterator[Any]:
    """A file at an address, as an open file of which only what is asked for is fetched.

    Raises:
        UnusableInput: it cannot be read.
    """
    from obstore.exceptions import BaseError
    from obstore.store import HTTPStore

    parts = urlsplit(url)
    store = HTTPStore(
        f"{parts.scheme}://{parts.netloc}",
        client_options={"allow_http": parts.scheme == "http"},
        retry_config={"retry_timeout": timedelta(seconds=OUTAGE_S)},
    )
    try:
        yield RangedFile(store, parts.path.lstrip("/"))
    except (BaseError, FileNotFoundError) as error:
        why = str(error).partition("\n")[0].strip(" .")
        raise UnusableInput(f"{url} cannot be read ({why}); check the network, or try again later.") from error


def _file(item: str, boxes: list[Box]) -> str | None:
    """The address of an item's file; None where it lies elsewhere."""
    document = _read(item)
    west, south, east, north = document["bbox"]
    if not any(west <= b[2] and east >= b[0] and south <= b[3] and north >= b[1] for b in boxes):
        return None
    assets = document["assets"]
    asset = assets.get("aws") or next(iter(assets.values()))
    return urljoin(item, str(asset["href"]))


def _read(address: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(read_document(address))
    except ValueError as error:
        if isinstance(error, UnusableInput):
            raise
        raise _strange(address, "it is no JSON") from error
    return document


def _links(document: dict[str, Any], address: str, rel: str, *, part: str | None = None) -> list[str]:
    """The addresses that a document links to, of those with a folder of a name where one is given."""
    found = [urljoin(address, link["href"]) for link in document.get("links", []) if link.get("rel") == rel]
    return [url for url in found if part is None or part in urlsplit(url).path.split("/")]


def _strange(address: str, why: str) -> UnusableInput:
    return UnusableInput(f"{address} is no catalog of Overture's ({why}); check GEOLOOM_OVERTURE_URL.")
