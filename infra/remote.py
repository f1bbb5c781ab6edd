"""Small questions to servers: whether a file has changed, what a document says."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from fnmatch import fnmatchcase

from infra.bucket import Bucket
from infra.errors import UnusableInput

TIMEOUT_S = 30.0
PATTERN = re.compile(r"[*?\[]")
"""What makes a name mean all that match it."""
LARGEST = 64 << 20
"""Bytes of a document."""


def signature(url: str) -> list[int | str]:
    """Size and entity tag (or time of change) of an s3:// or http(s):// file: they differ where its bytes do.

    Raises:
        UnusableInput: it is not there, or may not be read.
    """
    if url.startswith("s3://"):
        bucket, key = _in_bucket(url)
        try:
            return list(bucket.state(key))
        except FileNotFoundError as error:
            raise UnusableInput(f"There is no {url}; give the address of a raster.") from error
    # A range of one byte, not HEAD: addresses that were signed for reading allow no HEAD.
    request = urllib.request.Request(url, headers={"Range": "bytes=0-0", "User-Agent": "geoloom"})  # noqa: S310 - http(s) only
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            size = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get(
                "Content-Length", "0"
            )
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise _unread(url, error) from error
    return [int(size) if size.isdigit() else 0, mark]


def find_objects(address: str, suffixes: tuple[str, ...]) -> list[str]:
    """The objects that an s3:// folder (its name ends in /) holds, or that match a pattern (* stays within a folder).

    Raises:
        UnusableInput: there are none of these endings, or the bucket may not be read.
    """
    bucket, path = _in_bucket(address)
    start = PATTERN.split(path)[0].rpartition("/")[0]
    wanted = [part for part in path.split("/") if part] + (["*"] if path.endswith("/") or not path else [])
    found = [
        f"{bucket.url}/{key}"
        for key in bucket.keys(start)
        if key.lower().endswith(suffixes)
        and len(parts := key.split("/")) == len(wanted)
        and all(fnmatchcase(part, want) for part, want in zip(parts, wanted, strict=True))
    ]
    if not found:
        raise UnusableInput(
            f"There is no raster ({', '.join(suffixes)}) at {address}; name one, or a folder with some."
        )
    return found


def read_document(url: str) -> bytes:
    """The bytes of a document at an s3:// or http(s):// address, of at most 64 MiB.

    Raises:
        UnusableInput: it is not there, may not be read, or is larger.
    """
    if url.startswith("s3://"):
        bucket, key = _in_bucket(url)
        content = bucket.read(key)
        if content is None:
            raise UnusableInput(f"There is no {url}; give the address of a document.")
    else:
        request = urllib.request.Request(url, headers={"User-Agent": "geoloom"})  # noqa: S310 - http(s) only
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                content = answer.read(LARGEST + 1)
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise _unread(url, error) from error
    if len(content) > LARGEST:
        raise UnusableInput(f"{url} is larger than {LARGEST >> 20} MB; expected a document.")
    return content


def _in_bucket(address: str) -> tuple[Bucket, str]:
    """The bucket of an s3:// address, and the key in it."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return Bucket(f"s3://{bucket}"), key


def _unread(url: str, error: Exception) -> UnusableInput:
    """The error of an address that cannot be read; it shows neither its query nor a password, which may be keys."""
    shown = url.partition("?")[0]
    scheme, _, rest = shown.partition("://")
    host, slash, path = rest.partition("/")
    shown = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    why = str(error)
    if isinstance(error, http.client.InvalidURL):
        why = type(error).__name__
    elif isinstance(error, urllib.error.HTTPError):
        error.close()  # it holds the connection
    elif isinstance(error, urllib.error.URLError):
        why = getattr(error.reason, "strerror", None) or str(error.reason)
    return UnusableInput(f"{shown} cannot be read ({why}); check the address and the network.")
