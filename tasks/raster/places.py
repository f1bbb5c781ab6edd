"""Where scenes are: what a user names becomes rasters that GDAL can open.

The user's own words are trusted as far as files and addresses go, never as GDAL's own language: `/vsi...`, connection
strings and XML are refused, and what GDAL is given for an address is made here.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from infra.errors import UnusableInput

SUFFIXES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")
"""Of the files that are taken from a folder."""
_GLOB = re.compile(r"[*?\[]")
_KEY = re.compile(
    r"x-(amz|goog)-.*|googleaccessid|awsaccesskeyid|policy|key-pair-id|sig|signature|.*(token|secret|password|auth)|"
    r"(api|access|subscription|account)[-_]?key",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"s[a-z]|sk[a-z]+|spr|expires|key", re.IGNORECASE)
"""Names of what a signed address carries beside what it names (AWS, Google, CloudFront, Azure's shared access): the
second only where there is a signature."""

NO_NETWORK = {"CPL_VSIL_CURL_ALLOWED_FILENAME": "none"}
"""No address is called so, so GDAL's file systems on servers open nothing."""
MAGIC = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
)
"""First bytes of the formats that are taken, and GDAL's driver for each."""


def find_scenes(names: tuple[str, ...]) -> tuple[str, ...]:
    """The rasters that names mean: files, folders (all rasters in them), globs, s3:// and http(s):// addresses.

    Raises:
        UnusableInput: a folder or glob holds none, a file is not there, or a name is GDAL's own language.
    """
    found: list[str] = []
    for name in names:
        if not name.strip():
            raise UnusableInput("A scene has an empty name; give the path of a raster.")
        if is_address(name) or Path(name).is_file():
            found.append(name)
        elif Path(name).is_dir():
            inside = sorted(str(p) for p in Path(name).iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise UnusableInput(f"The folder {name} holds no raster ({', '.join(SUFFIXES)}); name one that does.")
            found += inside
        elif _GLOB.search(name):
            matching = sorted(p for p in glob.glob(name, recursive=True) if Path(p).is_file())  # noqa: PTH207 - may be absolute
            if not matching:
                raise UnusableInput(f"Nothing matches {name}; give a pattern that names rasters.")
            # Beside rasters lie world files and the like; where nothing has a known ending, all is meant.
            found += [p for p in matching if Path(p).suffix.lower() in SUFFIXES] or matching
        else:
            raise UnusableInput(f"There is no file {gdal_name(name)}; give the path of a raster.")
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise UnusableInput(f"{twice[0]} is named twice; name each scene once.")
    return tuple(found)


def means_several(name: str) -> bool:
    """Whether a name is of a folder by its last character, or a pattern."""
    return name.endswith("/") or _GLOB.search(name) is not None


def is_address(name: str) -> bool:
    """Whether a name is of something that is not a file of this machine."""
    return name.startswith(("s3://", "http://", "https://"))


def without_keys(name: str) -> str:
    """An address as it may be shown and kept: without a password, a signature or a token. A path stays as it is."""
    if not name.startswith(("http://", "https://")):
        return name
    parts = urlsplit(name)
    words = [word for word in parts.query.split("&") if word]
    names = [word.partition("=")[0] for word in words]
    signed = any("sig" in name.lower() for name in names)
    kept = "&".join(
        word
        for word, name in zip(words, names, strict=True)
        if not _KEY.fullmatch(name) and not (signed and _SIGNED.fullmatch(name))
    )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, kept, parts.fragment))


def gdal_name(name: str) -> str:
    """What GDAL is given to open.

    Raises:
        UnusableInput: the name is GDAL's own language, or nothing that geoloom reads.
    """
    if name.startswith("s3://"):
        return f"/vsis3/{name.removeprefix('s3://')}"
    if is_address(name):
        parts = urlsplit(name)
        if not parts.hostname:
            raise UnusableInput(f"{name} names no server; give https://HOST/PATH.")
        return f"/vsicurl/{parts.scheme}://{parts.netloc}{quote(parts.path, safe='/%')}" + (
            f"?{parts.query}" if parts.query else ""
        )
    if "://" in name or name.startswith(("/vsi", "<")) or "\n" in name:
        raise UnusableInput(
            f"{name[:80]} is no file and no address that geoloom reads; give a path, s3:// or https://."
        )
    return name


def driver_of(path: Path) -> str | None:
    """GDAL's driver for a file by its first bytes; None where geoloom takes no such files."""
    with path.open("rb") as file:
        first = file.read(12)
    return next((driver for magic, driver in MAGIC if first.startswith(magic)), None)


def drivers_of(name: str) -> tuple[str, ...]:
    """GDAL's drivers that may open a place, in the order in which to try: no driver that follows other files."""
    if is_address(name):
        likely = "JP2OpenJPEG" if urlsplit(name).path.lower().endswith((".jp2", ".j2k")) else "GTiff"
        return tuple(sorted({driver for _, driver in MAGIC}, key=lambda driver: (driver != likely, driver)))
    driver = driver_of(Path(name))
    return () if driver is None else (driver,)


def gdal_options(name: str, *, trusted: bool = True) -> dict[str, str]:
    """GDAL's settings for a place.

    A file never leads to a server, and one that somebody else put here to no other file. Of a server, no folder is
    listed; few round trips, patience.
    """
    if not trusted:
        return NO_NETWORK | {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
    if not is_address(name):
        return NO_NETWORK
    options = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MAX_RETRY": "5",
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        "GDAL_HTTP_CONNECTTIMEOUT": "10",
        "GDAL_HTTP_MULTIPLEX": "YES",
        "CPL_VSIL_CURL_CHUNK_SIZE": str(1 << 18),
        "VSI_CACHE": "TRUE",
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if name.startswith("s3://") and endpoint:
        parts = urlsplit(endpoint)
        options |= {
            "AWS_S3_ENDPOINT": parts.netloc,
            "AWS_HTTPS": "YES" if parts.scheme == "https" else "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
    return options
