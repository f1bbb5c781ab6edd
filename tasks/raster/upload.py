"""Files that somebody else put here: looked at in a process of its own before anything is believed of them.

Who uploads a raster may have written it to read another file, to ask a server, or to fill the memory of who opens it
(docs/hazards.md). Such a file must be of a few known formats by its own first bytes, lie in the folder of uploads, and
be small enough by what it claims. GDAL then opens it with that one driver, without sidecars, overviews or network.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.errors import UnusableInput, UnusableScene
from tasks.raster.places import driver_of


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upload may claim."""

    pixels: int = 4_000_000_000
    """Rows x columns."""
    bands: int = 20
    ratio: int = 1000
    """Bytes of pixels to a byte of the file."""
    block: int = 256 << 20
    """Bytes of what must be decoded at once: a tile or strip, of all bands."""
    memory: int = 2 << 30
    """Bytes of address space that looking at it may take."""
    seconds: int = 20
    """Of CPU, for looking at it."""


def require_upload(name: str, root: Path, limits: Limits | None = None) -> str:
    """Check an uploaded raster, and return its name.

    Args:
        name: its path, inside the folder of uploads.
        root: that folder.
        limits: what it may claim; the defaults otherwise.

    Raises:
        UnusableInput: it is not a regular file in that folder.
        UnusableScene: it is of no format that is taken, claims too much, or cannot be opened.
    """
    allowed = limits or Limits()
    shown = Path(name).name[:80]
    if "://" in name or "\0" in name or "\n" in name or name.startswith(("/vsi", "<")):
        raise UnusableInput(f"'{name[:80]!a}' is no file; expected the path of an uploaded raster.")
    place = Path(name).resolve()
    if not place.is_relative_to(root.resolve()) or not place.is_file():
        raise UnusableInput(f"'{shown}' is not a file in the folder of uploads; expected one that was uploaded there.")
    driver = driver_of(place)
    if driver is None:
        raise UnusableScene(f"'{shown}' is not a GeoTIFF, PNG, JPEG or JPEG 2000 file; upload one of these.", name)
    facts = _look(place, allowed)
    if facts is None:
        raise UnusableScene(f"'{shown}' cannot be opened as {driver} within {allowed.seconds} s; upload another.", name)
    problem = _problem(facts, place.stat().st_size, allowed)
    if problem:
        raise UnusableScene(f"'{shown}' {problem}; upload a smaller or another one.", name)
    return name


def _problem(facts: dict[str, int], size: int, limits: Limits) -> str:
    pixels = facts["width"] * facts["height"]
    claimed = pixels * facts["pixel"]
    if pixels > limits.pixels:
        return f"has {pixels:,} pixels, more than {limits.pixels:,}"
    if facts["bands"] > limits.bands:
        return f"has {facts['bands']} bands, more than {limits.bands}"
    if facts["block"] > limits.block:
        return f"is stored in pieces of {facts['block'] >> 20} MB, more than {limits.block >> 20}"
    if claimed > limits.ratio * size:
        return f"claims {claimed:,} bytes of pixels in a file of {size:,}, more than {limits.ratio} to one"
    return ""


def _look(place: Path, limits: Limits) -> dict[str, int] | None:
    """Size and layout, by a process that may take little memory and time; None where that fails."""
    allowed = (limits.memory, limits.seconds, limits.block)
    words = [sys.executable, "-m", "tasks.raster.upload", str(place), *(str(n) for n in allowed)]
    try:
        done = subprocess.run(  # noqa: S603 - a module of this package, and a path that was resolved
            words,
            capture_output=True,
            text=True,
            check=True,
            timeout=3 * limits.seconds,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        facts: dict[str, int] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError):
        return None
    return facts


def main(path: str, memory: int, seconds: int, most: int) -> None:
    """In the child: print what a raster claims; read one pixel, which shows that it can be decoded."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    from tasks.raster.opening import block_bytes, open_raster, pixel_bytes

    with open_raster(path, trusted=False) as source:
        block, pixel = block_bytes(source), pixel_bytes(source)
        facts = {"width": source.width, "height": source.height, "bands": source.count, "pixel": pixel, "block": block}
        if block <= most:
            source.read(1, window=((0, 1), (0, 1)))
    sys.stdout.write(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], *(int(n) for n in sys.argv[2:]))
