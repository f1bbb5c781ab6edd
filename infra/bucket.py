"""A store in an S3 bucket, or anything that speaks S3, through obstore.

obstore's runtime does not survive a fork: start workers with spawn, as Dask does.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from infra.errors import GeoloomError, UnusableInput, UnwritableOutput
from infra.storage import explaining

if TYPE_CHECKING:
    import zarr.abc.store
    from obstore.store import S3Store

Answer = TypeVar("Answer")

OUTAGE_S = 30.0
"""How long an endpoint may be out of reach. obstore's own ten retries were measured to be over after 2 to 3 s."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 3.0

READERS = 16
CREATES = 20
"""Attempts to create where the server says that somebody else is just creating, and nobody is."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Everything below a prefix of a bucket. See `infra.store.Store` for what each operation promises.

    Only the URL travels to workers, no credentials: each process reads its own from its environment.
    """

    url: str
    """s3://BUCKET or s3://BUCKET/PREFIX."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/.*)?", self.url):
            raise UnusableInput(f"{self.url} names no bucket; give s3://BUCKET/PREFIX.")

    def read(self, key: str) -> bytes | None:
        """The bytes of an object; None where there is none."""
        try:
            return self._ask(lambda client: bytes(client.get(key).bytes()), reading=True)
        except FileNotFoundError:
            return None

    def read_many(self, keys: Iterable[str]) -> list[bytes | None]:
        """The bytes of many objects, several at once: each takes a round trip."""
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(self.read, keys))

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:  # noqa: ARG002 - a put always is
        """Put an object."""
        self._ask(lambda client: client.put(key, data))

    def create(self, key: str, data: bytes) -> bool:
        """Put an object that is not there yet."""
        from obstore.exceptions import AlreadyExistsError

        for _ in range(CREATES):
            try:
                self._ask(lambda client: client.put(key, data, mode="create"))
            except AlreadyExistsError:
                # S3 also says so (409) where several tried at once and none landed.
                if self.exists(key):
                    return False
            else:
                return True
        return False

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        try:
            self._ask(lambda client: client.head(key), reading=True)
        except FileNotFoundError:
            return False
        return True

    def state(self, key: str) -> tuple[int, str]:
        """Bytes and entity tag of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        meta = self._ask(lambda client: client.head(key), reading=True)
        return meta["size"], meta["e_tag"] or str(meta["last_modified"])

    def keys(self, prefix: str = "") -> list[str]:
        """Every object below a prefix."""
        folder = prefix.strip("/")

        def listed(client: S3Store) -> list[str]:
            found = client.list(folder or None, chunk_size=1000)
            return sorted(entry["path"] for chunk in found for entry in chunk if entry["path"] != folder)

        return self._ask(listed, reading=True)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        unwanted = list(keys)
        self._ask(lambda client: client.delete(unwanted))

    def delete_all(self, prefix: str) -> None:
        """Remove every object below a prefix."""
        self.delete(self.keys(prefix))

    def settle(self, keys: Iterable[str]) -> None:
        """Nothing: an object is durable once it is put."""

    def zarr(self, key: str) -> zarr.abc.store.Store:
        """The Zarr store below a prefix."""
        from infra.bucket_zarr import PatientStore

        return PatientStore(_client(f"{self.url}/{key}" if key else self.url))

    @contextmanager
    def publishing(self, key: str) -> Iterator[Path]:
        """A path in a temporary folder, uploaded when the block ends.

        A folder's files are put one by one, then the objects that it no longer has are removed.
        """
        with tempfile.TemporaryDirectory(prefix="geoloom-") as folder:
            path = Path(folder) / key.rpartition("/")[2]
            with explaining(path):
                yield path
            if not path.exists():
                raise GeoloomError(f"Nothing was made for {self.url}/{key}.")
            if path.is_file():
                made = {key: path}
            else:
                made = {f"{key}/{p.relative_to(path).as_posix()}": p for p in sorted(path.rglob("*")) if p.is_file()}
            for name, file in made.items():
                self._ask(partial(_upload, name, file))
            if path.is_dir():
                self.delete(k for k in self.keys(key) if k not in made)

    @contextmanager
    def fetched(self, key: str) -> Iterator[Path]:
        """A download into a temporary folder."""
        wanted = [key] if self.exists(key) else self.keys(key)
        if not wanted:
            raise UnusableInput(f"{self.url}/{key} is not there.")
        with tempfile.TemporaryDirectory(prefix="geoloom-") as folder:
            path = Path(folder) / key.rpartition("/")[2]
            for name in wanted:
                file = path / name.removeprefix(f"{key}/") if name != key else path
                with explaining(file):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    self._ask(partial(_download, name, file), reading=True)
            yield path

    def free(self) -> None:
        """Nobody can say."""

    def sweep(self, prefix: str = "") -> None:
        """Nothing: an object is there whole, or not at all."""

    def explaining(self) -> AbstractContextManager[None]:
        """An object store's error becomes one sentence."""
        return _explaining(self.url)

    def _ask(self, call: Callable[[S3Store], Answer], *, reading: bool = False) -> Answer:
        """Make a request, again while it is not even sent; an error becomes one sentence."""
        with _explaining(self.url, reading=reading):
            for pause in pauses():
                try:
                    return call(_client(self.url))
                except Exception as error:
                    if not never_sent(error):
                        raise
                time.sleep(pause)
            return call(_client(self.url))


def never_sent(error: Exception) -> bool:
    """Whether the server closed a connection before it carried the request; obstore does not retry that (measured)."""
    return "hyper::Error(" in str(error) and "Canceled" in str(error)


def pauses() -> Iterator[float]:
    """Seconds to wait between attempts, until `OUTAGE_S` are over."""
    ends = time.monotonic() + OUTAGE_S
    pause = FIRST_PAUSE_S
    while time.monotonic() < ends:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _upload(name: str, file: Path, client: S3Store) -> None:
    client.put(name, file)


def _download(name: str, file: Path, client: S3Store) -> None:
    with file.open("wb") as out:
        for chunk in client.get(name):
            out.write(chunk)


_first_process = cache(os.getpid)


@cache
def _open(url: str) -> S3Store:
    from obstore.store import S3Store

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return S3Store(
        bucket,
        prefix=prefix or None,
        skip_signature=os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in {"YES", "TRUE", "1"},  # as GDAL calls it
        retry_config={
            "max_retries": 1000,
            "retry_timeout": timedelta(seconds=OUTAGE_S),
            "backoff": {
                "init_backoff": timedelta(seconds=FIRST_PAUSE_S),
                "max_backoff": timedelta(seconds=LONGEST_PAUSE_S),
                "base": 2,
            },
        },
    )


def _client(url: str) -> S3Store:
    if _first_process() != os.getpid():  # measured: it would wait for ever
        raise GeoloomError(f"{url} was used before this process was forked; start processes with spawn.")
    return _open(url)


@contextmanager
def _explaining(url: str, *, reading: bool = False) -> Iterator[None]:
    """Turn an object store's error into one clear sentence, but for an object that is missing or there already."""
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        yield
    except AlreadyExistsError:
        raise
    except (BaseError, FileNotFoundError) as error:
        said = str(error).partition("\n\nDebug source")[0]
        if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in said:
            raise
        verb = "read" if reading else "written"
        kind = UnusableInput if reading else UnwritableOutput
        raise kind(f"{url} cannot be {verb}: {_reason(said)}.") from error


def _reason(said: str) -> str:
    code = re.search(r"<Code>(\w+)</Code>", said)
    if "NoSuchBucket" in said:
        return "there is no such bucket; make it, or name another"
    if "/latest/api/token" in said or "/latest/meta-data" in said:  # where a machine in the cloud asks for its own
        return "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_NO_SIGN_REQUEST=YES"
    if "403 Forbidden" in said or "401 Unauthorized" in said:
        why = code[1] if code else "forbidden"
        return f"its server refuses these credentials ({why}); check AWS_ACCESS_KEY_ID and the like"
    if "builder error" in said and "http://" in said:
        return "its endpoint has no TLS; set AWS_ALLOW_HTTP=true if that is what you want"
    if "error sending request" in said:
        return "its server does not answer; check AWS_ENDPOINT_URL, AWS_REGION and the network"
    return code[1] if code else said.partition("\n")[0].rpartition(" - ")[2].strip(" .")
