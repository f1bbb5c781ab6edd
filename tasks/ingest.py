"""Ingest: scenes into a cube, block by block.

A block is read, counted and written by one job, and then stands in the ledger: under a fingerprint of the scenes' files
(size and time of change), so that a rerun reads only what an interrupted one had left, or all of it when a file has
changed. What the pixels are is known by cells (`tasks/raster/cube.py`), so later steps redo only what differs.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.cluster import Cluster, Job
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.progress import Progress, counting
from infra.stopping import check
from infra.store import Store, require_room
from tasks.params import IngestParams
from tasks.raster import cube as cubes
from tasks.raster import grid as grids
from tasks.raster.classes import DEFAULT_CLASSES, class_map
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.scene import describe_scene
from tasks.raster.statistics import BandCount, count_band, merge_bands
from tasks.raster.union import Union, unite
from tasks.units import read_entries, replacing_shards, to_do, unit_of, writing_to
from tasks.workspace import CUBE, DOCUMENT, INGEST, Source, new_workspace


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest made."""

    workspace: str
    rows: int
    columns: int
    bands: tuple[str, ...]
    valid_share: float
    units_total: int
    units_run: int


def ingest(params: IngestParams, store: Store, *, grip: Grip, cluster: Cluster, progress: Progress) -> Ingested:
    """Bring scenes into a workspace's cube.

    Raises:
        UnusableInput: a scene cannot be used, or scenes do not fit together.
        UnwritableOutput: the workspace cannot be written.
        WorkspaceBusy: another run has taken the workspace over.
    """
    union = unite(
        tuple(describe_scene(path) for path in params.scenes),
        bands=params.bands,
        bounds=params.bounds,
        dtype=params.dtype,
    )
    classes = class_map(params.classes) if params.classes else DEFAULT_CLASSES
    new_workspace(store, grid=union.grid, classes=classes)  # refuses one of another version
    rows, columns = union.grid.shape
    place, ledger = store.zarr(CUBE), Ledger(store, INGEST)
    if not cubes.is_cube(place, union.grid, bands=union.names, dtype=union.dtype):
        require_room(store, rows * columns * (len(union.names) * np.dtype(union.dtype).itemsize + 1))
        store.delete([DOCUMENT])
        ledger.forget_all()
        store.delete_all(CUBE)
        with writing_to(store):
            cubes.create_cube(place, union.grid, bands=union.names, dtype=union.dtype, scenes=list(params.scenes))

    windows = {unit_of(window, cubes.BLOCK): window for window in grids.windows((rows, columns), cubes.BLOCK)}
    files = [_signature(path) for path in params.scenes]
    scene = fingerprint({"union": _describe(union), "files": files})
    marks = {unit: fingerprint({"scene": scene, "unit": unit}) for unit in windows}
    pending = to_do(ledger, marks, places=(CUBE,))
    if pending:
        store.delete([DOCUMENT])
        for name in ("digests", "counts"):
            store.delete_all(f"{CUBE}/{name}")
    with counting(progress, "ingest", total=len(pending), unit="blocks") as bar:
        jobs = [
            Job(f"ingest-{unit}", _ingest_block, (union, windows[unit], store, grip, Entry(unit, marks[unit], "")))
            for unit in pending
        ]
        cluster.run(jobs, done=lambda _job, _result: bar.advance())

    counts = {unit: _unpack(entry.facts) for unit, entry in read_entries(ledger, marks).items()}
    ordered = [counts[unit] for unit in windows]
    if pending or not store.exists(f"{CUBE}/digests/zarr.json"):
        grip.check()
        statistics = tuple(merge_bands(c.bands[i] for c in ordered) for i in range(len(union.names)))
        cells = [(windows[unit], counts[unit].cells) for unit in windows]
        with writing_to(store):
            mark = cubes.finish_cube(place, statistics=statistics, blocks=cells)
    else:
        mark = cubes.open_cube(place).fingerprint
    sources = tuple(
        Source(
            scene.path,
            mark if len(union.scenes) == 1 else _combine(c.scenes[i] for c in ordered),
            scene.attribution,
        )
        for i, scene in enumerate(union.scenes)
    )
    new_workspace(store, grid=union.grid, classes=classes, sources=sources).save()
    valid = sum(int(c.cells.counts.sum()) for c in ordered)
    if not valid:
        progress.note("The scenes hold no data at all; every product will be nodata.")
    share = valid / (rows * columns)
    return Ingested(store.url, rows, columns, union.names, share, len(windows), len(pending))


@dataclass(frozen=True, slots=True)
class BlockCount:
    """What one block adds to the whole."""

    bands: tuple[BandCount, ...]
    cells: cubes.BlockCells
    scenes: tuple[str, ...]
    """A hash for each scene, where there are several."""


def _ingest_block(union: Union, window: grids.Window, store: Store, grip: Grip, entry: Entry) -> None:
    check()
    if Ledger(store, INGEST).has(entry.unit, entry.fingerprint):
        return  # a job may run twice
    image, valid = union.read(window)
    with replacing_shards(grip, CUBE, cubes.block_names(window, bands=len(image))):
        cubes.write_block(store.zarr(CUBE), window, image=image, valid=valid)
    several = range(len(union.scenes)) if len(union.scenes) > 1 else ()
    count = BlockCount(
        tuple(count_band(plane, valid) for plane in image),
        cubes.count_cells(image, valid),
        tuple(digest(*union.read(window, only=i)) for i in several),
    )
    checksum = digest(count.cells.digests)
    Ledger(store, INGEST).record(Entry(entry.unit, entry.fingerprint, checksum, short=False, facts=_pack(count)))


def _signature(path: str) -> list[int]:
    status = Path(path).stat()
    return [status.st_size, status.st_mtime_ns]


def _describe(union: Union) -> dict[str, Any]:
    scenes = [
        {k: v for k, v in asdict(s).items() if k != "grid"} | {"grid": grids.to_json(s.grid)} for s in union.scenes
    ]
    return {"scenes": scenes, "grid": grids.to_json(union.grid), "bands": union.bands, "dtype": union.dtype}


def _pack(count: BlockCount) -> dict[str, Any]:
    return {
        "digests": _text(count.cells.digests),
        "counts": _text(count.cells.counts),
        "cells": list(count.cells.counts.shape),
        "scenes": list(count.scenes),
        "bands": [asdict(band) | {"packed": base64.b64encode(band.packed).decode()} for band in count.bands],
    }


def _unpack(facts: Any) -> BlockCount:
    rows, cols = facts["cells"]
    digests = _array(facts["digests"], np.uint64).reshape(-1, rows, cols, 2)
    counts = _array(facts["counts"], np.uint32).reshape(rows, cols)
    bands = tuple(
        BandCount(**(band | {"edges": tuple(band["edges"]), "packed": base64.b64decode(band["packed"])}))
        for band in facts["bands"]
    )
    return BlockCount(bands, cubes.BlockCells(digests, counts), tuple(facts["scenes"]))


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(array.tobytes())).decode()


def _array(text: str, dtype: Any) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)


def _combine(digests: Iterable[str]) -> str:
    return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()
