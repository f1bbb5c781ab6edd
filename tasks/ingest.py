"""Ingest: scenes into a cube, block by block."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask.delayed import delayed

from infra.cluster import Cluster
from infra.progress import Progress, counting
from infra.storage import replacing, require_free
from tasks.params import IngestParams
from tasks.raster import cube as cubes
from tasks.raster import grid as grids
from tasks.raster.classes import DEFAULT_CLASSES, class_map
from tasks.raster.scene import describe_scene
from tasks.raster.statistics import BandCount, count_band, merge_bands
from tasks.raster.union import Union, unite
from tasks.workspace import Source, new_workspace


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest made."""

    workspace: str
    rows: int
    columns: int
    bands: tuple[str, ...]
    valid_share: float
    blocks: int


def ingest(params: IngestParams, out: Path, *, cluster: Cluster, progress: Progress) -> Ingested:
    """Bring scenes into a workspace's cube; each block is read, counted and written by one Dask task.

    Raises:
        UnusableInput: a scene cannot be used, or scenes do not fit together.
        UnwritableOutput: the workspace cannot be written.
    """
    union = unite(
        tuple(describe_scene(path) for path in params.scenes),
        bands=params.bands,
        bounds=params.bounds,
        dtype=params.dtype,
    )
    classes = class_map(params.classes) if params.classes else DEFAULT_CLASSES
    workspace = new_workspace(out, grid=union.grid, classes=classes)
    rows, columns = union.grid.shape
    pixel = len(union.names) * (2 if union.dtype.endswith("16") else 4 if union.dtype == "float32" else 1) + 1
    require_free(out, rows * columns * pixel)

    windows = list(grids.windows((rows, columns), cubes.BLOCK))
    with replacing(workspace.cube_path) as path:
        cubes.create_cube(path, union.grid, bands=union.names, dtype=union.dtype, scenes=list(params.scenes))
        job = delayed(_ingest_block, pure=False)
        with counting(progress, "ingest", total=len(windows), unit="blocks") as bar:
            counts: list[BlockCount] = cluster.run([job(union, window, path) for window in windows], done=bar.advance)
        statistics = tuple(merge_bands(c.bands[i] for c in counts) for i in range(len(union.names)))
        fingerprint = _combine(c.digest for c in counts)
        cubes.finish_cube(path, statistics=statistics, fingerprint=fingerprint)

    sources = tuple(
        Source(
            scene.path,
            fingerprint if len(union.scenes) == 1 else _combine(c.scenes[i] for c in counts),
            scene.attribution,
        )
        for i, scene in enumerate(union.scenes)
    )
    new_workspace(out, grid=union.grid, classes=classes, sources=sources).save()
    valid = sum(c.valid for c in counts)
    if not valid:
        progress.note("The scenes hold no data at all; every product will be nodata.")
    return Ingested(str(out), rows, columns, union.names, valid / (rows * columns), len(windows))


@dataclass(frozen=True, slots=True)
class BlockCount:
    """What one block adds to the whole."""

    bands: tuple[BandCount, ...]
    valid: int
    digest: str
    scenes: tuple[str, ...]
    """A hash for each scene, where there are several."""


def _ingest_block(union: Union, window: grids.Window, path: Path) -> BlockCount:
    image, valid = union.read(window)
    cubes.write_block(path, window, image=image, valid=valid)
    several = range(len(union.scenes)) if len(union.scenes) > 1 else ()
    return BlockCount(
        tuple(count_band(plane, valid) for plane in image),
        int(valid.sum()),
        _digest(image, valid),
        tuple(_digest(*union.read(window, only=i)) for i in several),
    )


def _digest(image: Any, valid: Any) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    hasher.update(image.tobytes())
    hasher.update(valid.tobytes())
    return hasher.hexdigest()


def _combine(digests: Any) -> str:
    return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()
