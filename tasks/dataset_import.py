"""Import of a data set: which scenes it holds, each one's pixels as a raster to ingest, and its labels.

Ingesting itself is a step of its own: `flows/dataset_steps.py` puts them in order, a workspace a scene.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import UnusableInput, UnusableScene
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.progress import Progress, counting
from infra.stopping import check
from infra.store import Store
from tasks.correct import correct_again
from tasks.dataset_params import DatasetImportParams
from tasks.made_labels import DROPPED
from tasks.raster.annotations.assemble import assemble, is_whole, scene_window
from tasks.raster.annotations.formats import FORMATS
from tasks.raster.annotations.picture import CERTAIN, About, AnnotationSet, Picture, nothing
from tasks.raster.classes import IGNORE, ClassMap, class_map
from tasks.raster.cube import Cube
from tasks.raster.datasets.table import DATASETS
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.grid import Window, shape_of
from tasks.raster.labels import SHARD, are_labels, are_of, block_names, create_labels, set_cube, write_labels
from tasks.raster.truth import file_fingerprint
from tasks.units import blocks_of, read_entries, replacing_shards, to_do, writing_to
from tasks.workspace import DOCUMENT, LABEL, LABELS, open_workspace

IMPORTED = "import/scene.tif"
"""A scene that was put together for its ingest; removed once the labels are there."""
_NAME = re.compile(r"[^0-9A-Za-z._-]+")


@dataclass(frozen=True, slots=True)
class ImportScene:
    """A scene of a data set, which becomes a workspace."""

    name: str
    """Its folder's name."""
    pictures: tuple[Picture, ...]

    @property
    def origin(self) -> str:
        """Where its pixels come from: the file, or the folder of the files."""
        first = self.pictures[0].file
        return str(first if len(self.pictures) == 1 else first.parent)


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """A data set that is being imported."""

    name: str
    annotations: AnnotationSet
    classes: ClassMap
    rest: str
    """What becomes of unknown pixels: ignore, other."""
    scenes: tuple[ImportScene, ...]

    @property
    def about(self) -> About:
        """What it says of all its pictures."""
        return self.annotations.about


@dataclass(frozen=True, slots=True)
class ImportedLabels:
    """What the labels of one scene came to."""

    labels: str
    shares: dict[str, float]
    """Share of the valid pixels that each class got."""


def open_dataset(name: str, folder: Path, params: DatasetImportParams) -> OpenDataset:
    """Open a data set and sort its pictures into scenes; those of one scene are its windows.

    Raises:
        UnusableInput: no such format or data set, nothing of it in the folder, damaged annotations, or a class that the
            workspaces would not have.
    """
    openers = {key: style.open for key, style in FORMATS.items()} | DATASETS
    if name not in openers:
        raise UnusableInput(f"There is no format or data set '{name}'; there are {', '.join(sorted(openers))}.")
    annotations = openers[name](folder)
    if not annotations.pictures:
        raise UnusableInput(f"Of the data set in {folder} nothing can be used: {' '.join(annotations.left_out[:3])}")
    scenes: dict[str, list[Picture]] = {}
    for picture in annotations.pictures:
        scenes.setdefault(_NAME.sub("_", picture.scene).strip("._") or "scene", []).append(picture)
    classes = class_map(params.classes or annotations.about.classes)
    classes.translation(_used(annotations.about, classes))
    found = tuple(ImportScene(key, tuple(pictures)) for key, pictures in scenes.items())
    return OpenDataset(name, annotations, classes, params.rest, found)


def _used(about: About, classes: ClassMap) -> tuple[str, ...]:
    """A data set's classes in id order; those that it does not know and the map does not have are ignored."""
    known = {"other", *about.known}
    return tuple(n if n in known or n in classes.names else "ignore" for n in about.classes)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, _: tuple[int, int]) -> str:
    return file_fingerprint(str(path))


def _attributes(dataset: OpenDataset, scene: ImportScene) -> dict[str, Any]:
    """What labels of a scene say of themselves: made anew where anything of it differs."""
    files = [f for picture in scene.pictures for f in (*dataset.annotations.files(picture), picture.file)]
    states = ((f, f.stat()) for f in dict.fromkeys(files))
    about, other = dataset.about, dataset.rest == "other" and dataset.about.rest == "unknown"
    return {
        "classes": dataset.classes.names,
        "made_by": f"import {dataset.name}",
        "sources": [_sha256(f, (s.st_size, s.st_mtime_ns)) for f, s in states],
        "from_truth": True,
        "pieces": False,
        "known": [name for name in about.known if name != about.classes[0]],
        "rest": "other" if other else about.rest,
    }


def is_imported(dataset: OpenDataset, scene: ImportScene, store: Store) -> bool:
    """Whether a workspace is finished and of just these pictures and annotations."""
    if not store.exists(DOCUMENT) or store.exists(IMPORTED):
        return False
    try:
        workspace = open_workspace(store)
        cube, place = workspace.cube(), store.zarr(LABELS)
        finished = are_labels(place, cube.grid, **_attributes(dataset, scene)) and are_of(place, cube.fingerprint)
    except UnusableInput:
        return False
    return finished


@contextmanager
def prepared(dataset: OpenDataset, scene: ImportScene, store: Store) -> Iterator[str]:
    """The raster to ingest: the picture's own file where that is the scene, else one put together for the time of it.

    Raises:
        UnusableScene: its pictures cannot be read, or do not go together.
    """
    annotations = dataset.annotations
    with _naming(scene):
        if is_whole(scene.pictures, fill=annotations.fill):
            yield str(scene.pictures[0].file)
            return
        store.sweep("import")
        with store.publishing(IMPORTED) as path:
            assemble(scene.pictures, path, nodata=annotations.nodata, fill=annotations.fill)
    try:
        yield f"{store.url}/{IMPORTED}"
    finally:
        store.delete_all("import")


@contextmanager
def _naming(scene: ImportScene) -> Iterator[None]:
    """Around what concerns one scene: what is wrong with it is no reason to leave the others."""
    try:
        yield
    except UnusableInput as error:
        raise UnusableScene(str(error), scene.name) from error


def import_labels(
    dataset: OpenDataset, scene: ImportScene, store: Store, *, grip: Grip, progress: Progress
) -> ImportedLabels:
    """Write the labels of a scene that has been ingested, block by block, and whose the scene is.

    Raises:
        UnusableScene: its annotations are damaged or do not fit.
        UnwritableOutput: the labels cannot be written.
        WorkspaceBusy: another run has taken the workspace over.
    """
    workspace = open_workspace(store)
    cube, about = workspace.cube(), _attributes(dataset, scene)
    place, ledger = store.zarr(LABELS), Ledger(store, LABEL)
    blocks = blocks_of((cube.grid.shape[0], cube.grid.shape[1]), SHARD)
    marks = {unit: fingerprint({"about": about, "cube": cube.fingerprint, "unit": unit}) for unit in blocks}
    grip.check()
    if not are_labels(place, cube.grid, **about):
        ledger.forget_all()
        store.delete_all(LABELS)
        with writing_to(store):
            create_labels(place, cube.grid, **about)
    pending = to_do(ledger, marks, places=(LABELS,))
    if pending:
        set_cube(place, "")
    with counting(progress, scene.name, total=len(pending), unit="blocks") as bar:
        for unit in pending:
            check()
            with _naming(scene):
                arrays = _read(dataset, scene, cube, blocks[unit])
            with replacing_shards(grip, LABELS, block_names(blocks[unit])):
                write_labels(place, blocks[unit], **arrays)
            label = arrays["label"]
            counts = np.bincount(label[label != IGNORE], minlength=len(dataset.classes))
            facts = {"counts": counts.tolist(), "valid": int(cube.read(blocks[unit], bands=())[1].sum())}
            ledger.record(Entry(unit, marks[unit], digest(*arrays.values()), short=False, facts=facts))
            bar.advance()
    if not are_of(place, cube.fingerprint):
        correct_again(store, cube, blocks, grip=grip, progress=progress)
    sources = tuple(
        replace(s, path=scene.origin, attribution=dataset.about.attribution or s.attribution) for s in workspace.sources
    )
    replace(workspace, sources=sources).save()
    store.delete([DROPPED])  # of labels that stood here before
    set_cube(place, cube.fingerprint)
    facts_of_all: list[Mapping[str, Any]] = [entry.facts for entry in read_entries(ledger, marks).values()]
    shares = np.sum([f["counts"] for f in facts_of_all], axis=0) / max(sum(f["valid"] for f in facts_of_all), 1)
    named = dict(zip(dataset.classes.names, map(float, shares), strict=True))
    return ImportedLabels(f"{store.url}/{LABELS}", named)


def _read(dataset: OpenDataset, scene: ImportScene, cube: Cube, block: Window) -> dict[str, Any]:
    """Label, instance and confidence of a block; what is no data is ignored."""
    about = dataset.about
    table = dataset.classes.translation(_used(about, dataset.classes))
    blank = nothing(shape_of(block), label=IGNORE)
    arrays: dict[str, Any] = {"label": blank.label, "instance": blank.instance, "confidence": blank.confidence}
    for picture in scene.pictures:
        both = scene_window(picture, block)
        if both is None:
            continue
        own, there = both
        found = dataset.annotations.read(picture, own)
        label = table[found.label]
        confidence = np.where(label == IGNORE, np.uint8(255), found.confidence)
        if about.rest == "unknown" and dataset.rest == "other":
            confidence[found.label == IGNORE] = CERTAIN
            label[found.label == IGNORE] = 0
        arrays["label"][there], arrays["confidence"][there] = label, confidence
        arrays["instance"][there] = np.where(label == IGNORE, 0, found.instance)
    data = cube.read(block, bands=())[1]
    for name, none in (("label", IGNORE), ("instance", 0), ("confidence", 255)):
        arrays[name][~data] = none
    return arrays
