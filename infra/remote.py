"""What can be known of a file on a server without reading it: whether it has changed."""

from __future__ import annotations

import urllib.error
import urllib.request

from infra.bucket import Bucket
from infra.errors import UnusableInput

TIMEOUT_S = 30.0


def signature(url: str) -> list[int | str]:
    """Size and entity tag (or time of change) of an s3:// or http(s):// file: they differ where its bytes do.

    Raises:
        UnusableInput: it is not there, or may not be read.
    """
    if url.startswith("s3://"):
        bucket, _, key = url.removeprefix("s3://").partition("/")
        try:
            return list(Bucket(f"s3://{bucket}").state(key))
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
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise UnusableInput(f"{url} cannot be read ({error}); check the address and the network.") from error
    return [int(size) if size.isdigit() else 0, mark]
