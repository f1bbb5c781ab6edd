"""Where a workspace's bytes lie: a local folder or a prefix of a bucket, behind the few operations that steps need.

A store's keys are names joined by '/', relative to its root: `products/classes.tif`, `cube.zarr/zarr.json`. A key is a
file or an object, never a folder; a prefix is everything below a name. Every write is whole or not there at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from infra.bucket import Bucket
from infra.errors import UnusableInput, UnwritableOutput
from infra.folder import Folder

if TYPE_CHECKING:
    import zarr.abc.store


class Store(Protocol):
    """A place for a workspace. Both kinds are frozen and picklable: they travel to workers.

    What cannot be read raises `UnusableInput`, what cannot be written `UnwritableOutput`.
    """

    @property
    def url(self) -> str:
        """The place, as users write it; `open_store` takes it."""

    def read(self, key: str) -> bytes | None:
        """The bytes of a key; None where it is not there."""

    def read_many(self, keys: Iterable[str]) -> list[bytes | None]:
        """What `read` gives for each key, in order; sooner."""

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Put bytes under a key, in one piece; they survive a power loss once this returns, unless not `durable`."""

    def create(self, key: str, data: bytes) -> bool:
        """Put bytes under a key that is not there yet; False where it is. Of many at once, one gets True.

        A lost answer may turn a True into a False: where that matters, put something of your own in `data` and read it.
        """

    def exists(self, key: str) -> bool:
        """Whether a file or object of exactly this key is there."""

    def keys(self, prefix: str = "") -> list[str]:
        """Every key below a prefix, sorted, relative to the store's root; unfinished ones are not among them."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove keys; one that is not there is none."""

    def delete_all(self, prefix: str) -> None:
        """Remove everything below a prefix."""

    def settle(self, keys: Iterable[str]) -> None:
        """Make durable what a library wrote under these keys or below them; those not there are passed over."""

    def zarr(self, key: str) -> zarr.abc.store.Store:
        """The Zarr store below a prefix, for `zarr.open_group`."""

    def publishing(self, key: str) -> AbstractContextManager[Path]:
        """A local path to make a file or a folder at; it takes the key's place when the block ends well.

        Its name ends as the key's does.
        """

    def fetched(self, key: str) -> AbstractContextManager[Path]:
        """A local path to read a file or a folder from, good inside the block.

        Raises:
            UnusableInput: nothing is there.
        """

    def free(self) -> int | None:
        """Bytes that there is room for; None where nobody can say."""

    def sweep(self, prefix: str = "") -> None:
        """Remove what killed runs left unfinished below a prefix. Only the holder of the lease may call it."""

    def explaining(self) -> AbstractContextManager[None]:
        """Around what a library writes here: an error becomes one clear sentence."""


def open_store(url: str | Path) -> Store:
    """The store at a path, `file://` or `s3://BUCKET/PREFIX`; nothing is read or made yet.

    A bucket's endpoint, region and credentials come from the usual variables: AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, and AWS_ALLOW_HTTP for one without TLS.

    Raises:
        UnusableInput: it names another kind of place, or no bucket.
    """
    if isinstance(url, Path) or "://" not in url:
        return Folder(Path(url))
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return Bucket(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Folder(Path(unquote(parts.path)))
    raise UnusableInput(f"{url} is not a place for a workspace; give a folder or s3://BUCKET/PREFIX.")


def write_json(store: Store, key: str, document: Mapping[str, Any]) -> None:
    """Write one JSON document in one piece, keys as given, floats exactly."""
    store.write(key, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def require_room(store: Store, need: int) -> None:
    """Refuse before work starts where a store cannot hold what will be written.

    Args:
        store: where it will be written.
        need: bytes.

    Raises:
        UnwritableOutput: less than that is free.
    """
    free = store.free()
    if free is not None and free < need:
        raise UnwritableOutput(
            f"{store.url} needs about {need / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; "
            "make room or choose another folder."
        )
