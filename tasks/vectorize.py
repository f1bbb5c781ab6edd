"""Vectorize: buildings and roads of a stored prediction as features that a GIS opens.

Each block tells what it has of the classes (objects, and pieces of those that go on; walks along centre lines) and
stands in the ledger then; so a rerun does only what an interrupted one had left. One pass in reading order then puts
together what lies across blocks and writes the files as it goes: no more is held than reaches from one row of blocks
into the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from infra.cluster import Cluster, Job
from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.progress import Progress, counting
from infra.stopping import check
from infra.store import Store
from tasks.catalog import write_item
from tasks.params import VectorizeParams
from tasks.prediction import damaged, open_prediction
from tasks.qgis_project import write_project
from tasks.raster import found
from tasks.raster.blend import NODATA, predicted_class
from tasks.raster.centre_lines import REACH, walk_block
from tasks.raster.classes import ClassMap
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.grid import Window, grown, within
from tasks.raster.ground import Ground
from tasks.raster.objects import find_objects
from tasks.raster.probability import open_probability
from tasks.raster.shards import read_shards
from tasks.raster.square import square_objects
from tasks.units import to_do
from tasks.vector_layers import Drawing
from tasks.workspace import DRAW, PROBABILITY, VECTORIZE

PLURAL = {"building": "buildings", "road": "roads"}
"""File names that are not the class's own."""
RESERVED = (
    "classes", "probability", "uncertainty", "scene", "scores", "label_scores", "evaluation", "label_evaluation",
    "preview", "item",
)  # fmt: skip
"""What other files there are called."""


@dataclass(frozen=True, slots=True)
class Vectorized:
    """What was drawn."""

    products: dict[str, str]
    """Name to place."""
    features: dict[str, int]
    """Of each layer."""
    units_total: int
    units_run: int


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for in every block."""

    areas: tuple[int, ...]
    """Ids of classes."""
    lines: tuple[int, ...]
    square: bool
    aspect: float
    """Ground width of a pixel by its height."""
    shape: tuple[int, int]

    @property
    def classes(self) -> tuple[int, ...]:
        return (*self.areas, *self.lines)


def vectorize(params: VectorizeParams, store: Store, *, grip: Grip, cluster: Cluster, progress: Progress) -> Vectorized:
    """Draw classes of a prediction as polygons and lines.

    Raises:
        UnusableInput: nothing has been predicted yet, not all of it, or the map has no class of that name.
        UnwritableOutput: the files cannot be written.
    """
    prediction = open_prediction(store)
    ground = Ground(prediction.workspace.grid, prediction.workspace.control)
    areas, lines = _chosen(prediction.classes, params)
    wanted = _Wanted(
        areas,
        lines,
        params.outlines == "square",
        ground.aspect(ground.middle),
        prediction.shape,
    )
    if not wanted.classes:
        progress.note(
            f"The map's classes are {', '.join(prediction.classes.names)}: none is drawn unless --areas or --lines "
            "names it."
        )
        return Vectorized({}, {}, 0, 0)
    blocks, checksums = prediction.blocks(), prediction.checksums
    marks = {unit: _mark(window, wanted, checksums, prediction.side) for unit, window in blocks.items()}
    files = {_file(prediction.classes, number): number for number in wanted.classes}
    of = prediction.id
    written = {file: fingerprint({"of": of, "params": params.model_dump(), "class": n}) for file, n in files.items()}
    ledger = Ledger(store, VECTORIZE)
    looks = to_do(ledger, marks, places=("vectors",))
    with counting(progress, "vectorize", total=len(looks), unit="blocks") as bar:
        jobs = (
            Job(f"vectorize-{u}", _look, (store, grip, blocks[u], wanted, checksums[u], Entry(u, marks[u], "")))
            for u in looks
        )
        cluster.run(jobs, done=lambda _job, _result: bar.advance())

    drawing = Drawing(prediction, ground, params, grip)
    ledger = Ledger(store, DRAW)
    others = {file: mark for file, mark in ledger.done().items() if file not in written}
    draws = to_do(ledger, written | others, places=())
    counts: dict[str, int] = {}
    products: list[str] = []
    for file, number in files.items():
        entry = None if file in draws else ledger.read(file, written[file])
        if entry is None or not all(store.exists(f"products/{name}") for name in entry.facts["files"]):
            with counting(progress, f"draw {file}", total=len(blocks), unit="blocks") as bar:
                draw = drawing.draw_areas if number in wanted.areas else drawing.draw_lines
                made = draw(file, number, bar)
            facts = {"of": of, "class": number, "features": made.features, "files": made.files}
            entry = Entry(file, written[file], "", short=False, facts=facts)
            ledger.record(entry)
        counts |= entry.facts["features"]
        products += entry.facts["files"]
    write_project(prediction)
    write_item(prediction)
    return Vectorized({n: f"{store.url}/products/{n}" for n in products}, counts, len(marks), len(looks))


def _file(classes: ClassMap, number: int) -> str:
    """What a class's files are called."""
    stem = PLURAL.get(classes.names[number], classes.slugs[number])
    taken = stem in RESERVED or (stem in PLURAL.values() and classes.names[number] not in PLURAL)
    return f"{stem}-{number}" if taken else stem


def _chosen(classes: ClassMap, params: VectorizeParams) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of the classes that are drawn as areas and as lines."""
    both = sorted(set(params.areas or ()) & set(params.lines or ()))
    if both:
        raise UnusableInput(f"'{both[0]}' is named by both --areas and --lines; choose one.")
    areas = _ids(classes, params.areas, tuple({"building"} - set(params.lines or ())))
    return areas, _ids(classes, params.lines, tuple({"road"} - set(params.areas or ())))


def _ids(classes: ClassMap, names: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[int, ...]:
    if names is None:
        return tuple(classes.id(name) for name in default if name in classes.names)
    for name in names:
        if name not in classes.names[1:]:
            raise UnusableInput(f"The map has no class '{name}' to draw; it has {', '.join(classes.names[1:])}.")
    return tuple(classes.id(name) for name in names)


def _around(window: Window, wanted: _Wanted) -> Window:
    """The pixels that a block's features depend on: itself, and for lines what lies around it."""
    around = grown(window, REACH) if wanted.lines else window
    rows, cols = (slice(s.start, min(s.stop, n)) for s, n in zip(around, wanted.shape, strict=True))
    return rows, cols


def _mark(window: Window, wanted: _Wanted, checksums: Mapping[str, str], side: int) -> str:
    """A fingerprint of what a block's features depend on."""
    rows, cols = (range(s.start // side, (s.stop - 1) // side + 1) for s in _around(window, wanted))
    blocks = [checksums[f"{row}_{col}"] for row in rows for col in cols]
    return fingerprint({"version": version("geoloom"), "wanted": asdict(wanted), "blocks": blocks})


def _look(store: Store, grip: Grip, window: Window, wanted: _Wanted, checksum: str, entry: Entry) -> None:
    """Find what a block has, and keep it."""
    check()
    if Ledger(store, VECTORIZE).has(entry.unit, entry.fingerprint):
        return  # a job may run twice
    around = _around(window, wanted)
    inner = within(window, around)
    try:
        planes = read_shards(open_probability(store.zarr(PROBABILITY)), around)
    except (ValueError, RuntimeError, OSError) as error:
        raise damaged(store, window, entry.unit) from error
    if digest(planes[(slice(None), *inner)]) != checksum:
        raise damaged(store, window, entry.unit)
    best = predicted_class(planes)
    areas = {n: _areas(best[inner] == n, planes[(n, *inner)], window, wanted) for n in wanted.areas}
    known = best != NODATA
    lines = {n: walk_block(best == n, planes[n] * known, around, window, shape=wanted.shape) for n in wanted.lines}
    data = found.pack(areas, lines)
    grip.check()
    store.write(found.key(entry.unit), data)
    Ledger(store, VECTORIZE).record(replace(entry, checksum=digest(np.frombuffer(data, np.uint8))))


def _areas(mask: NDArray[np.bool_], likely: NDArray[np.uint8], window: Window, wanted: _Wanted) -> found.Areas:
    whole, pieces = find_objects(mask, likely, window, shape=wanted.shape)
    if wanted.square:
        whole = square_objects(whole, aspect=wanted.aspect)
    return found.Areas(whole, pieces)
