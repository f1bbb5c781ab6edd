"""Ingest: scenes into a cube, block by block.

A block is read, counted and written by one job, and then stands in the ledger: under a fingerprint of the scenes' files
(size and time of change), so that a rerun reads only what an interrupted one had left, or all of it when a file has
changed. What the pixels are is known by cells (`tasks/raster/cube.py`), so later steps redo only what differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.cluster import Cluster, Job
from infra.errors import UnusableInput, UnusableScene
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.progress import Progress, counting
from infra.remote import find_objects, signature
from infra.stopping import check
from infra.store import Store, require_room
from tasks.block_count import BlockCount, pack, unpack
from tasks.params import IngestParams
from tasks.raster import cube as cubes
from tasks.raster import grid as grids
from tasks.raster.classes import DEFAULT_CLASSES, class_map
from tasks.raster.collar import Collar, find_collar
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.places import SUFFIXES, find_scenes, is_address, means_several, without_keys
from tasks.raster.scene import Scene, describe_scene
from tasks.raster.scene_order import by_data, by_date
from tasks.raster.statistics import count_band, merge_bands
from tasks.raster.union import Union, unite
from tasks.raster.upload import require_upload
from tasks.raster.warp import choose_target
from tasks.stac_items import Item, describe_item, find_items, is_stac
from tasks.units import blocks_of, read_entries, replacing_shards, to_do, writing_to
from tasks.workspace import CUBE, DOCUMENT, INGEST, SCENE, Source, new_workspace


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
    left_out: tuple[str, ...] = ()
    """Why each scene that could not be read could not."""


def ingest(params: IngestParams, store: Store, *, grip: Grip, cluster: Cluster, progress: Progress) -> Ingested:
    """Bring scenes into a workspace's cube; those that cannot be read are named and left out where others can.

    Raises:
        UnusableInput: a scene cannot be used and there is no other, or scenes do not fit together.
        UnwritableOutput: the workspace cannot be written.
        WorkspaceBusy: another run has taken the workspace over.
    """
    left_out: list[str] = []
    named = _names(params)
    while True:
        owners: dict[str, str] = {}
        try:
            scenes: list[Scene] = []
            for name, item in named.items():
                owners[name] = name
                scenes.append(_describe(params, name, item))
                owners |= {file.path: name for file in scenes[-1].files}
            done = _ingest(params, tuple(scenes), store, grip=grip, cluster=cluster, progress=progress)
            return replace(done, left_out=tuple(left_out))
        except UnusableScene as error:
            if len(named) == 1:
                raise
            del named[owners[error.path]]
            left_out.append(str(error))
            progress.note(f"Left out: {error}")


def require_scenes(params: IngestParams) -> None:
    """Raise where a scene that is named is not there; costs no look into any."""
    if params.uploads is None:
        find_scenes(params.scenes)


def _names(params: IngestParams) -> dict[str, Item | None]:
    """The scenes that are meant: their names, and what a STAC item says of those that are one."""
    if params.uploads is not None:
        return dict.fromkeys(params.scenes)
    named: dict[str, Item | None] = {}
    many = [
        found
        for name in params.scenes
        for found in (find_objects(name, SUFFIXES) if name.startswith("s3://") and means_several(name) else [name])
    ]
    for name in find_scenes(tuple(many)):
        for item in find_items(name) if is_stac(name) else (None,):
            key = item.name if item else name
            if key in named:
                raise UnusableInput(f"{without_keys(key)} is there twice; name each scene once.")
            named[key] = item
    return named


def _describe(params: IngestParams, name: str, item: Item | None) -> Scene:
    if params.uploads is not None:
        path = require_upload(name, Path(params.uploads))
        return describe_scene(path, nodata=params.nodata, crs=params.assume_crs, trusted=False)
    if item:
        return describe_item(item, params.bands, nodata=params.nodata)
    if is_address(name):
        try:
            signature(name)  # says why it cannot be read, which GDAL does not
        except UnusableInput as error:
            raise UnusableScene(str(error), name) from error
    return describe_scene(name, nodata=params.nodata, crs=params.assume_crs)


def _ingest(
    params: IngestParams,
    scenes: tuple[Scene, ...],
    store: Store,
    *,
    grip: Grip,
    cluster: Cluster,
    progress: Progress,
) -> Ingested:
    names = [scene.name for scene in scenes]
    alike = next((name for name in names if names.count(name) > 1), None)
    if alike is not None:
        raise UnusableInput(f"Two scenes are told apart only by the keys in the address {alike}; name each once.")
    if params.order != "given":
        scenes = {"date": by_date, "data": by_data}[params.order](scenes)
    target = None
    if params.crs or params.resolution:
        target = choose_target(scenes[0], params.crs, params.resolution, params.resampling)
    # The key of an item's file stands for all its bands, which have names of their own.
    named = {band.strip().lower() for band in params.bands} <= set(scenes[0].all_bands)
    union = unite(
        scenes,
        bands=params.bands if named or not scenes[0].item else (),
        bounds=params.bounds,
        dtype=params.dtype,
        target=target,
        merge=params.merge,
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
            cubes.create_cube(place, union.grid, bands=union.names, dtype=union.dtype, scenes=[s.name for s in scenes])

    windows = blocks_of((rows, columns), cubes.BLOCK)
    marks = _marks(union, windows)
    pending = to_do(ledger, marks, places=(CUBE,))
    if pending:
        store.delete([DOCUMENT, SCENE])
        for name in ("digests", "counts", "levels"):
            store.delete_all(f"{CUBE}/{name}")
    jobs = [
        Job(f"ingest-{unit}", _ingest_block, (union, windows[unit], store, grip, Entry(unit, marks[unit], "")))
        for unit in pending
    ]
    _run(jobs, scenes, cluster=cluster, progress=progress)

    counts = {unit: unpack(entry.facts) for unit, entry in read_entries(ledger, marks).items()}
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
            scene.name,
            mark if len(scenes) == 1 else _combine(c.scenes.get(scene.name, "") for c in ordered),
            scene.attribution,
            scene.date and f"{scene.date}Z",
            union.extent(scene.name),
        )
        for scene in scenes
    )
    new_workspace(store, grid=union.grid, classes=classes, sources=sources, control=union.control).save()
    valid = sum(int(c.cells.counts.sum()) for c in ordered)
    if not valid:
        progress.note("The scenes hold no data at all; every product will be nodata.")
    share = valid / (rows * columns)
    return Ingested(store.url, rows, columns, union.names, share, len(windows), len(pending))


def _run(jobs: list[Job], scenes: Iterable[Scene], *, cluster: Cluster, progress: Progress) -> None:
    """Run the blocks' jobs; beside them, look for collars and ask about each."""
    files = [file for scene in scenes for file in scene.files] if jobs else []
    looks = [Job(f"collar-{n}", find_collar, (file,)) for n, file in enumerate(files)]
    collars: dict[str, Collar] = {}
    with counting(progress, "ingest", total=len(jobs), unit="blocks") as bar:

        def done(job: Job, result: Collar | None) -> None:
            if job.call is _ingest_block:
                bar.advance()
            elif result is not None:
                collars[job.args[0].name] = result

        cluster.run([*looks, *jobs], done=done)
    for file in files:
        if file.pages > 1:
            progress.note(f"{file.name} holds {file.pages} pictures, one a page; only the first was taken.")
    for name, collar in sorted(collars.items()):
        progress.note(
            f"{name} says of no pixel that it is no data, and {collar.share:.0%} of its edge is {collar.value:g} in "
            f"all bands: if that is a collar, ingest it with --nodata {collar.value:g}."
        )


def _ingest_block(union: Union, window: grids.Window, store: Store, grip: Grip, entry: Entry) -> None:
    check()
    if Ledger(store, INGEST).has(entry.unit, entry.fingerprint):
        return  # a job may run twice
    image, valid = union.read(window)
    with replacing_shards(grip, CUBE, cubes.block_names(window, bands=len(image))):
        cubes.write_block(store.zarr(CUBE), window, image=image, valid=valid)
    seen, cells = union.seen_in(window), cubes.count_cells(image, valid)
    each = [cells if len(seen) == 1 else cubes.count_cells(*union.read_one(n, window)) for n in seen]
    count = BlockCount(
        tuple(count_band(plane, valid) for plane in image),
        cells,
        {union.layers[n].scene.name: digest(c.digests) for n, c in zip(seen, each, strict=True)},
    )
    checksum = digest(count.cells.digests)
    Ledger(store, INGEST).record(Entry(entry.unit, entry.fingerprint, checksum, short=False, facts=pack(count)))


def _signature(path: str) -> list[int | str]:
    if is_address(path):
        return signature(path)
    status = Path(path).stat()
    return [status.st_size, status.st_mtime_ns]


def _marks(union: Union, windows: dict[str, grids.Window]) -> dict[str, str]:
    """A fingerprint of what each block is made of: the scenes that reach it, and how they are put together."""
    layers = []
    for layer in union.layers:
        files = [file for file in layer.scene.files if set(file.bands) & set(layer.bands)]
        document = {
            "scene": [_about(file) for file in files],
            "file": [_signature(file.path) for file in files],
            "grid": grids.to_json(layer.grid),
            "offset": layer.offset,
            "bands": layer.bands,
            "resampling": layer.resampling,
        }
        layers.append(fingerprint(document))
    whole = {"grid": grids.to_json(union.grid), "bands": union.names, "dtype": union.dtype, "merge": union.merge}
    common = fingerprint(whole)
    return {
        unit: fingerprint({"map": common, "unit": unit, "layers": [layers[n] for n in union.seen_in(window)]})
        for unit, window in windows.items()
    }


_NO_PIXELS = ("beside", "attribution", "pages")
"""What of a scene its pixels on the grid do not depend on, or is told of each file."""


def _about(file: Scene) -> dict[str, Any]:
    """What a file says of itself; an address without its keys, which change while the pixels do not."""
    about = {f.name: getattr(file, f.name) for f in fields(file) if f.name not in _NO_PIXELS}
    control = file.control and asdict(file.control)
    return about | {
        "path": without_keys(file.path),
        "item": without_keys(file.item),
        "grid": grids.to_json(file.grid),
        "control": control,
    }


def _combine(digests: Iterable[str]) -> str:
    return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()
