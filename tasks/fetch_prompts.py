"""Fetch prompts: the buildings and roads of OpenStreetMap or Overture where a scene lies, kept in its workspace.

They stand in `prompts/NAME.parquet`, classed and with widths, and are fetched again only for another place, or once
that file has been removed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj

from infra.errors import UnusableInput
from infra.lease import Grip
from infra.overpass import ANSWER_S, Overpass, TooMuch
from infra.overture import latest_release, opened
from infra.progress import Progress, counting
from infra.settings import settings
from infra.stopping import check
from infra.store import Store
from tasks.raster import osm, overture
from tasks.raster.features import Meaning
from tasks.raster.geoparquet import read_parquet
from tasks.raster.grid import Bounds
from tasks.raster.overpass import quarters, question, read_answer, tiles
from tasks.raster.vector_files import FeatureWriter, Table, writing
from tasks.raster.vector_placing import near_boxes
from tasks.workspace import Workspace

DEGREES = pyproj.CRS(4326)
COLUMNS = {"id": pa.string(), "class": pa.string(), "width": pa.float64()}
FETCHED, OWNERS = "GEOLOOM_FETCHED", "TIFFTAG_COPYRIGHT"
MOST_TILES = 400
"""Questions to a public server, a square degree in all; who wants more takes an extract."""
SMALLEST = 0.002
"""Degrees a side of a tile that is not cut again."""


@dataclass(frozen=True, slots=True)
class _Origin:
    title: str
    owners: str
    fetch: Callable[[list[Bounds], FeatureWriter, Progress], None]


def is_origin(prompts: str | None) -> bool:
    """Whether prompts are to be fetched, and no file."""
    return prompts in ORIGINS


def fetch_prompts(name: str, workspace: Workspace, *, grip: Grip, progress: Progress) -> str:
    """Make sure that a workspace has the prompts of an origin for all of its scene.

    Args:
        name: osm or overture.
        workspace: whose scene it is.
        grip: on the workspace.
        progress: told what is fetched, and whose it is.

    Returns:
        Whose they are.

    Raises:
        UnusableInput: the scene has no CRS, the server cannot be used, or has nothing there.
        UnwritableOutput: the workspace cannot be written.
    """
    origin, store, key = ORIGINS[name], workspace.store, _key(name)
    boxes = _boxes(workspace, origin)
    if not _covers(store, key, boxes):
        progress.note(f"Fetching {origin.title}'s buildings and roads ({origin.owners}).")
        about = {FETCHED: json.dumps({"origin": name, "boxes": boxes}), OWNERS: origin.owners}
        grip.check()
        with store.publishing(key) as path, writing(path, Table(COLUMNS, "Unknown", DEGREES, about)) as writer:
            origin.fetch(boxes, writer, progress)
            if not writer.count:
                raise UnusableInput(
                    f"{origin.title} has no buildings or roads where the scene lies; give a file with --prompts FILE."
                )
            grip.check()
    return origin.owners


@contextmanager
def opened_prompts(store: Store, prompts: str) -> Iterator[str]:
    """The path of a file of prompts, or of those that were fetched, good inside the block."""
    if not is_origin(prompts):
        yield prompts
        return
    with store.fetched(_key(prompts)) as path:
        yield str(path)


def _key(name: str) -> str:
    return f"prompts/{name}.parquet"


def _boxes(workspace: Workspace, origin: _Origin) -> list[Bounds]:
    """Where the scene lies, in degrees."""
    if workspace.grid.crs is None:
        raise UnusableInput(
            f"The scene has no CRS, so {origin.title} cannot be asked for its place; ingest it with --crs or "
            "--assume-crs, or give a file with --prompts FILE."
        )
    boxes = near_boxes(workspace.grid, "", DEGREES)
    if boxes is None:
        raise UnusableInput(f"The scene's place on Earth is not known, so {origin.title} cannot be asked for it.")
    return [(max(w, -180.0), max(s, -90.0), min(e, 180.0), min(n, 90.0)) for w, s, e, n in boxes]


def _covers(store: Store, key: str, boxes: list[Bounds]) -> bool:
    """Whether what was fetched before lies all around some boxes."""
    if not store.exists(key):
        return False
    try:
        with store.fetched(key) as path:
            about = pq.read_metadata(path).metadata
        known = json.loads(about[FETCHED.encode()])["boxes"]
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
        return False
    return all(any(k[0] <= b[0] and k[1] <= b[1] and k[2] >= b[2] and k[3] >= b[3] for k in known) for b in boxes)


def _add(writer: FeatureWriter, ids: Any, meaning: Meaning) -> None:
    """Write the features that show something."""
    known = np.flatnonzero(meaning.names != None)  # noqa: E711 - element by element
    columns: Mapping[str, Any] = {
        "id": [ids[number] for number in known],
        "class": list(meaning.names[known]),
        "width": pa.array(meaning.width[known], from_pandas=True),
    }
    writer.add(columns, meaning.geometry[known])


def _fetch_osm(boxes: list[Bounds], writer: FeatureWriter, progress: Progress) -> None:
    wanted = [tile for box in boxes for tile in tiles(box)]
    if len(wanted) > MOST_TILES:
        raise UnusableInput(
            f"The scene is too large to ask a public server for ({len(wanted):,} questions; at most {MOST_TILES}); "
            "give an extract of OpenStreetMap with --prompts FILE.osm.pbf, or take --prompts overture."
        )
    server, seen = Overpass(settings().overpass_url), set[str]()
    with counting(progress, "OpenStreetMap", total=len(wanted), unit="tiles") as bar:
        for tile in wanted:
            waiting = [tile]
            while waiting:
                check()
                part = waiting.pop()
                try:
                    ids, layer = read_answer(server.ask(question(part, seconds=ANSWER_S)), seen)
                except TooMuch:
                    if part[2] - part[0] < SMALLEST:
                        raise
                    waiting += quarters(part)
                else:
                    _add(writer, ids, osm.osm_meaning(layer))
            bar.advance()


def _fetch_overture(boxes: list[Bounds], writer: FeatureWriter, progress: Progress) -> None:
    release = latest_release(settings().overture_url)
    progress.note(f"Overture's release is {release.name}.")
    files = [
        (kind, url)
        for theme, kind in (("buildings", "building"), ("transportation", "segment"))
        for url in release.files(theme, kind, boxes)
    ]
    columns = frozenset({"id", *overture.COLUMNS})
    with counting(progress, "Overture", total=len(files), unit="files") as bar:
        for kind, url in files:
            check()
            with opened(url) as file:
                layer = read_parquet(file, url, kind, near=lambda _: boxes, assumed=None, columns=columns)
            _add(writer, list(layer.columns["id"]), overture.overture_meaning(layer))
            bar.advance()


ORIGINS: Mapping[str, _Origin] = {
    "osm": _Origin("OpenStreetMap", osm.OWNERS, _fetch_osm),
    "overture": _Origin("Overture", overture.OWNERS, _fetch_overture),
}
