"""Review: how good a workspace's labels are, and where to look first.

`products/review.gpkg` opens in QGIS with its styles: `review` holds the places that are most likely wrong, the worst
first; `objects` holds every object, to be edited, and what was changed there goes back with
`geoloom label WS --with truth --truth review.gpkg --update`. Against a reference (maps or vectors that exist, with no
part in the labels) it also tells precision and recall, by class and by size of objects, where the two agree, and
whether the confidence can be believed. One pass over the blocks, in reading order; what is held does not grow with the
scene but by some numbers an object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from infra.lease import Grip
from infra.progress import Progress, Task, counting
from infra.stopping import check
from infra.store import Store, write_json
from models.metrics import Confusion
from tasks.label_params import ReviewParams
from tasks.label_report import Quality, report_page
from tasks.made_labels import DROPPED, GIVEN_OUT, MadeLabels, open_made_labels, remember_truth
from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE, ClassMap, MapClass
from tasks.raster.doubts import AGREEMENT, DIFFER, THIN, Place, Worst, agreement, places_of, thick
from tasks.raster.edits import LAYER, editing_plane
from tasks.raster.geotiff import Layout, class_layout, write_geotiff
from tasks.raster.grid import Window, crop_to, grown, windows, within
from tasks.raster.ground import Ground
from tasks.raster.labels import SHARD
from tasks.raster.objects import Gathering, Objects, find_objects
from tasks.raster.overlaps import Overlaps
from tasks.raster.reliability import Reliability
from tasks.raster.review_style import objects_style, places_style, store_styles
from tasks.raster.style import class_style, class_table
from tasks.raster.truth import Truth, as_told
from tasks.raster.vector_files import FeatureWriter, Table, copy_layer, writing
from tasks.truth_file import open_truth_file
from tasks.workspace import Workspace, open_workspace

REVIEW = "products/review.gpkg"
Masks = dict[tuple[str, int], NDArray[np.bool_]]
"""(y, x), by why they are looked at and class."""
OVERLOOKED = 0.6
"""Confidence in `other` below which something may have been overlooked."""
SURE = 0.8
"""Confidence from which an object is not worth a look."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a review made."""

    products: dict[str, str]
    """Name to place."""
    places: int
    """Doubtful places that there are; the worst of them are in the file."""
    quality: Quality


def review(params: ReviewParams, store: Store, *, grip: Grip, progress: Progress) -> Reviewed:
    """Look at a workspace's labels and write what is to be checked.

    Raises:
        UnusableInput: no finished labels, or a reference that does not fit or had a part in making them.
        UnwritableOutput: the products cannot be written.
    """
    workspace = open_workspace(store)
    made = open_made_labels(workspace)
    reference = None
    if params.truth is not None:
        made.refuse_their_truth(params.truth, ablation=params.ablation)
        reference = open_truth_file(params.truth, params, grid=workspace.grid, classes=made.classes)
        remember_truth(store, params.truth)
    with ExitStack() as stack:
        path = stack.enter_context(store.publishing(GIVEN_OUT))
        look = _Look(workspace, made, reference, Worst(params.places))
        blocks = list(windows(look.shape, SHARD))
        bar = stack.enter_context(counting(progress, "review", total=len(blocks), unit="blocks"))
        with writing(path, look.table) as objects:
            parts = look.through(blocks, objects, bar)
            if reference is None:
                for _ in parts:
                    pass
            else:
                _write_agreement(store, workspace, parts, grip=grip)
        target = stack.enter_context(store.publishing(REVIEW))
        _write_review(look, path, target)
        grip.check()
    quality = look.quality()
    places = look.worst.in_order()
    write_json(store, "products/label_quality.json", quality.to_json())
    page = report_page(quality, workspace.cube(), places, look.ground)
    store.write("products/label_report.html", page.encode())
    names = ["review.gpkg", "label_quality.json", "label_report.html", *(["agreement.tif"] if reference else [])]
    return Reviewed({n: f"{store.url}/products/{n}" for n in names}, look.worst.count, quality)


class _Look:
    """One pass over labels, and what is gathered on the way."""

    def __init__(self, workspace: Workspace, made: MadeLabels, reference: Truth | None, worst: Worst) -> None:
        self.made, self.reference, self.worst = made, reference, worst
        self.classes, self.store, self.grid = made.classes, workspace.store, workspace.grid
        self.told = as_told(reference, self.classes) if reference is not None else np.arange(256, dtype=np.uint8)
        self.shape = (workspace.grid.shape[0], workspace.grid.shape[1])
        self.ground = Ground(workspace.grid, workspace.control)
        self.confusion = Confusion(len(self.classes))
        self.overlaps = Overlaps(self.shape[1])
        self.reliability = Reliability()
        self.counts = np.zeros(len(self.classes), np.int64)
        self.objects = np.zeros(len(self.classes), np.int64)
        kinds = [(why, n) for why in ("unsure", *DIFFER) for n in range(1, len(self.classes))]
        self._gatherings = {kind: Gathering(self.shape[1]) for kind in [*kinds, ("overlooked", 0)]}
        area = f"area_{self.ground.unit}2"
        self.area = area
        columns = {"id": pa.int64(), "class": pa.string(), "confidence": pa.float64(), area: pa.float64(),
                   "key": pa.int64()}  # fmt: skip
        tags = {"GEOLOOM_CUBE": str(made.about["cube"])}
        crs = self.ground.crs if self.grid.crs is not None else None
        if crs is None:
            tags["GEOLOOM_COORDINATES"] = "as QGIS shows the scene, which has no CRS: columns, and rows below 0"
        self.table = Table(columns, "Polygon", crs, tags)

    def through(
        self, blocks: list[Window], objects: FeatureWriter, bar: Task
    ) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
        """Look at blocks in reading order; gives their agreement with the reference, (1, y, x), where there is one."""
        for window in blocks:
            check()
            around = crop_to(grown(window, THIN), self.shape)
            inner = within(window, around)
            label, confidence = self.made.read(around), self.made.read(around, "confidence")
            instance = self.made.read(window, "instance")
            self.counts += np.bincount(label[inner].ravel(), minlength=IGNORE + 1)[: len(self.classes)]
            masks = self._doubtful(label, confidence, inner)
            if self.reference is not None:
                reference = self.made.fold(self.reference.read(around))
                label = self.told[label]
                self._compare(window, label[inner], confidence[inner], instance, reference[inner])
                masks |= self._different(label, reference, inner)
                yield window, agreement(label[inner], reference[inner])[None]
            nothing = np.zeros(instance.shape, np.bool_)
            sure = np.where(confidence[inner] <= TOP, confidence[inner], np.uint8(0))
            for (why, klass), gathering in self._gatherings.items():
                names = instance if why == "unsure" else None
                mask = masks.get((why, klass), nothing)
                whole, pieces = find_objects(mask, sure, window, shape=self.shape, names=names)
                self._finish(objects, why, klass, whole)
                self._finish(objects, why, klass, gathering.add(pieces))
            bar.advance()
        for (why, klass), gathering in self._gatherings.items():
            self._finish(objects, why, klass, gathering.end())
        self.worst.add(self._dropped())

    def _compare(
        self, window: Window, label: NDArray[np.uint8], confidence: NDArray[np.uint8],
        instance: NDArray[np.uint32], reference: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        self.confusion.add(reference, label)
        self.overlaps.add(window, label, instance, reference)
        known = (label != IGNORE) & (reference != IGNORE)
        self.reliability.add(confidence[known], (label == reference)[known])

    def _doubtful(self, label: NDArray[np.uint8], confidence: NDArray[np.uint8], inner: Window) -> Masks:
        """Objects, and what may have been overlooked: more than a strip along their edges."""
        overlooked = thick((label == 0) & (confidence < OVERLOOKED * TOP))[inner]
        label = label[inner]
        masks = {("unsure", n): label == n for n in np.unique(label).tolist() if 0 < n < IGNORE}
        return masks | {("overlooked", 0): overlooked}

    def _different(self, label: NDArray[np.uint8], reference: NDArray[np.uint8], inner: Window) -> Masks:
        """Where more than an edge differs."""
        differ = (label != reference) & (label != IGNORE) & (reference != IGNORE)
        there = {"extra": np.where(differ, label, 0), "missing": np.where(differ & (label == 0), reference, 0)}
        return {
            (why, n): thick(classes == n)[inner]
            for why, classes in there.items()
            for n in np.unique(classes).tolist()
            if n
        }

    def _dropped(self) -> Iterator[Place]:
        """Vectors that the picture does not show, by their boxes."""
        document: Any = json.loads(self.store.read(DROPPED) or b'{"dropped": []}')
        for one in document["dropped"]:
            box = shapely.box(*one["box"])
            first = int(one["box"][1]) * self.shape[1] + int(one["box"][0])
            yield Place(box.area * one["score"], first, "dropped", int(one["klass"]), float(one["score"]), box)

    def _finish(self, objects: FeatureWriter, why: str, klass: int, found: Objects) -> None:
        if not len(found):
            return
        places = places_of(found, klass=klass, why=why)
        self.worst.add(place for place in places if why in DIFFER or place.confidence < SURE)
        if why == "unsure":
            self.objects[klass] += len(found)
            columns = {
                "id": found.names.astype(np.int64),
                "class": [self.classes.names[klass]] * len(found),
                "confidence": found.sums / found.pixels / TOP,
                self.area: self.ground.areas(found.outlines),
                "key": found.ids * len(self.classes) + klass,
            }
            objects.add(columns, shapely.transform(found.outlines, self.place))

    def place(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns and rows (n, 2) where a GIS edits."""
        x, y = editing_plane(self.grid) @ (pixels[:, 0], pixels[:, 1])  # type: ignore[operator]
        return np.stack([x, y], axis=1)

    def quality(self) -> Quality:
        """What was found out, in numbers."""
        compared = self.reference is not None
        return Quality(
            classes=self.classes.names,
            pixels=tuple(int(n) for n in self.counts),
            objects=tuple(int(n) for n in self.objects),
            made_by=str(self.made.about["made_by"]),
            scores=self.confusion.scores() if compared and self.confusion.matrix.any() else None,
            sizes=self.overlaps.scores() if compared else {},
            reliability=self.reliability if compared else None,
        )


def _write_agreement(
    store: Store, workspace: Workspace, parts: Iterator[tuple[Window, NDArray[np.uint8]]], *, grip: Grip
) -> None:
    classes = ClassMap(tuple(MapClass(*one) for one in AGREEMENT))
    layout: Layout = class_layout(workspace.grid, classes, tags={}, control=workspace.control)
    with store.publishing("products/agreement.tif") as temporary:
        write_geotiff(temporary, layout, parts, scratch=temporary.with_suffix(".scratch"))
        grip.check()
    store.write("products/agreement.qml", class_style(classes).encode())
    store.write("products/agreement.tif.aux.xml", class_table(classes).encode())


def _write_review(look: _Look, objects: Path, target: Path) -> None:
    """The GeoPackage: both layers and their styles."""
    kinds = {"rank": pa.int64(), "why": pa.string(), "class": pa.string(), "confidence": pa.float64(),
             "wrong_px": pa.float64(), look.area: pa.float64()}  # fmt: skip
    table = Table(kinds, "Polygon", look.table.crs, look.table.about)
    places: list[Place] = look.worst.in_order()
    outlines = np.empty(len(places), object)
    outlines[:] = [place.outline for place in places]
    columns = {
        "rank": np.arange(1, len(places) + 1),
        "why": [p.why for p in places],
        "class": [look.classes.names[p.klass] for p in places],
        "confidence": [p.confidence for p in places],
        "wrong_px": [p.wrong for p in places],
        look.area: look.ground.areas(outlines) if places else [],
    }
    ordered = target.with_suffix(".places")
    try:
        with writing(ordered, table) as writer:
            writer.add(columns, shapely.transform(outlines, look.place) if places else outlines)
        copy_layer(objects, target, look.table, layer=LAYER)
        copy_layer(ordered, target, table, layer="review", append=True)
    finally:
        ordered.unlink(missing_ok=True)
    store_styles(target, {LAYER: objects_style(look.classes), "review": places_style()})
