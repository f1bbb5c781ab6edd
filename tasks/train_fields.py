"""Labelled scenes as a network learns from them: which chips are drawn, and what is held back to validate on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.store import open_store
from models.balance import class_weights
from models.chips import Chips
from tasks.made_labels import MadeLabels, open_made_labels
from tasks.params import TrainParams
from tasks.raster.blend import TOP
from tasks.raster.chips import CELLS, ChipPlan, Corner, Regions, count_labels, plan_chips, plan_regions
from tasks.raster.classes import IGNORE, ClassMap
from tasks.raster.cube import Cube
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.grid import Window, windows
from tasks.raster.labels import SHARD
from tasks.raster.numbering import numbered
from tasks.recent_cells import Planes, RecentCells
from tasks.train_ground import seen_elsewhere
from tasks.workspace import Workspace, forgetting_damage, open_workspace

REACHED = 0.8
"""Share of a class's labelled pixels that windows must reach to be as large as the zoom would have them."""


@dataclass(frozen=True, slots=True)
class FieldLabels:
    """Labels as a network learns them."""

    made: MadeLabels
    table: NDArray[np.uint8]
    """(256,) from their ids to the model's."""
    told: NDArray[np.bool_]
    """(class,) of the model's, which they tell: what is none of them is `other` to them."""
    least_confidence: float
    """0..1; what is less sure is not learnt."""
    weigh: bool
    """Whether what is surer counts for more."""
    objects: tuple[int, ...] = ()
    """Classes of the model's whose objects are learnt one by one."""

    def read(self, window: Window) -> NDArray[np.uint8]:
        """(y, x) the model's class ids, 255 = ignore."""
        label: NDArray[np.uint8] = self.table[self.made.read(window)]
        if self.least_confidence:
            label[self.made.read(window, "confidence") < self.least_confidence * TOP] = IGNORE
        return label

    def sure(self, window: Window) -> NDArray[np.float32] | None:
        """(y, x) 0..1, how much each pixel counts; None where all count alike."""
        if not self.weigh:
            return None
        stored: NDArray[np.uint8] = self.made.read(window, "confidence")
        return np.minimum(stored, TOP).astype(np.float32) / np.float32(TOP)

    def digests(self, shape: tuple[int, int]) -> list[str]:
        """Of every block, as it is learnt: corrections change them, a labelling that gives the same again does not."""
        more = ["confidence"] * self.weigh + ["instance"] * bool(self.objects)
        return [
            digest(self.read(window), *(self.made.read(window, name) for name in more))
            for window in windows(shape, SHARD)
        ]


@dataclass(frozen=True, slots=True)
class Field:
    """One labelled scene to learn from."""

    workspace: Workspace
    cube: Cube
    labels: FieldLabels
    plan: ChipPlan

    def read(self, corners: Sequence[Corner], side: int, *, recent: RecentCells) -> Chips:
        """Windows of so many pixels a side."""
        shape = (self.cube.grid.shape[0], self.cube.grid.shape[1])
        windows = [(slice(r, r + side), slice(c, c + side)) for r, c in corners]
        with forgetting_damage(self.workspace.store):
            found = [recent.read(self.workspace.store.url, window, shape, self._planes) for window in windows]
        images, valid, labels, *more = (np.stack(part) for part in zip(*found, strict=True))
        told = np.broadcast_to(self.labels.told, (len(windows), len(self.labels.told)))
        ids = more.pop() if self.labels.objects else None
        sure = more.pop() if self.labels.weigh else None
        objects = None
        if ids is not None:  # what is one object is seen in the window, not in the cells that it was read from
            objects = np.stack(
                [numbered(label, self.labels.objects, instance=own) for label, own in zip(labels, ids, strict=True)]
            )
        return Chips(images, labels, valid, told, sure, objects)

    def _planes(self, window: Window) -> Planes:
        """Image, valid, labels of a window, how sure they are where that counts, and objects where they are learnt."""
        sure = self.labels.sure(window)
        more = [] if sure is None else [sure]
        if self.labels.objects:
            more = [*more, self.labels.made.read(window, "instance")]
        return (*self.cube.read(window), self.labels.read(window), *more)


_Opened: TypeAlias = tuple[Workspace, Cube, FieldLabels]


def open_fields(
    params: TrainParams,
    workspaces: Sequence[str],
    *,
    objects: bool = False,
    before: Mapping[str, Regions] | None = None,
) -> list[Field]:
    """Labelled workspaces, to be learnt from together: all in the classes of the first.

    Args:
        params: how they are learnt from.
        workspaces: where they lie.
        objects: learn the objects of `params.objects` one by one; every other class is `other` then.
        before: by cubes' fingerprints, the regions of a training that this one goes on from.

    Raises:
        UnusableInput: no workspaces or labels, other bands or types, an unknown class, or nothing to draw.
    """
    fields: list[_Opened] = []
    counts: list[NDArray[np.int64]] = []
    for root in workspaces:
        workspace = open_workspace(open_store(root))
        cube = workspace.cube()
        made = open_made_labels(workspace)
        first, first_cube = fields[0][:2] if fields else (workspace, cube)
        classes: ClassMap = first.classes
        if cube.bands != first_cube.bands:
            raise UnusableInput(
                f"{root} has the bands {', '.join(cube.bands)} and {first.store.url} has "
                f"{', '.join(first_cube.bands)}; train on scenes of the same bands."
            )
        if cube.dtype != first_cube.dtype:
            raise UnusableInput(
                f"{root} has pixels of type {cube.dtype} and {first.store.url} of {first_cube.dtype}, whose values are "
                "not on one scale; train on scenes of one type."
            )
        labels = _field_labels(params, made, classes)
        if objects:
            labels = _of_objects(labels, classes, params.objects, root=root)
        fields.append((workspace, cube, labels))
        counts.append(_counted(params, workspace, cube, labels))
    if not fields:
        raise UnusableInput("No workspace was given to train on; name at least one.")
    farthest = math.ceil(CELLS / params.augment.zoom[0] - 1e-9)
    regions = _regions(params, fields, counts, before or {})
    cells_of = [(counted.shape[0], counted.shape[1]) for counted in counts]
    apart = seen_elsewhere([one[:2] for one in fields], cells_of, regions, cell=params.chip // CELLS)
    near = _planned(params, fields, counts, regions, apart, cells=CELLS)
    every = _reached(near, counts, params)
    for cells in range(max(farthest, CELLS), CELLS, -1):  # as far as the zoom sees, where that leaves nothing out
        with suppress(UnusableInput):
            far = _planned(params, fields, counts, regions, apart, cells=cells)
            some = _reached(far, counts, params)
            if all((a >= REACHED * b).all() for a, b in zip(some, every, strict=True)):
                return far
    return near


def _reached(
    fields: Sequence[Field], counts: Sequence[NDArray[np.int64]], params: TrainParams
) -> list[NDArray[np.int64]]:
    """Of each scene, (class,) labelled pixels that its windows reach."""
    return [field.plan.reached(counted, params.chip // CELLS) for field, counted in zip(fields, counts, strict=True)]


def _regions(
    params: TrainParams, fields: Sequence[_Opened], counts: Sequence[NDArray[np.int64]], before: Mapping[str, Regions]
) -> dict[str, Regions]:
    """What is held back of each scene, by its fingerprint: the same for all that label it."""
    labelled: dict[str, NDArray[np.int64]] = {}
    for (_, cube, _), counted in zip(fields, counts, strict=True):
        labelled[cube.fingerprint] = labelled.get(cube.fingerprint, 0) + counted
    return {
        mark: plan_regions(
            counted, chip=params.chip, share=params.validation_share, seed=params.seed, before=before.get(mark)
        )
        for mark, counted in labelled.items()
    }


def _field_labels(params: TrainParams, made: MadeLabels, classes: ClassMap) -> FieldLabels:
    told = np.zeros(len(classes), bool)
    told[[classes.id(name) for name in made.about["known"]]] = True
    told[0] = made.about["rest"] == "other"
    return FieldLabels(
        made, classes.translation(made.classes.names), told, params.least_confidence, params.weigh_confidence
    )


def _of_objects(labels: FieldLabels, classes: ClassMap, names: Sequence[str], *, root: str) -> FieldLabels:
    """Labels for who learns objects of some classes: all others are `other`.

    What these labels call `other` may be an object of a class that they do not tell: then it is ignored.
    """
    ids = tuple(classes.id(name) for name in names)
    told = np.zeros_like(labels.told)
    told[[0, *ids]] = labels.told[[0, *ids]]
    if 0 in ids or not told[list(ids)].any():
        raise UnusableInput(
            f"The labels in {root} tell no {' and no '.join(names)} one by one; name other classes with --objects, or "
            "train another architecture."
        )
    table = labels.table.copy()
    table[~np.isin(table, (0, *ids, IGNORE))] = 0
    if not told[list(ids)].all():
        told[0], table[labels.table == 0] = False, IGNORE
    return replace(labels, table=table, told=told, objects=ids)


def _counted(params: TrainParams, workspace: Workspace, cube: Cube, labels: FieldLabels) -> NDArray[np.int64]:
    shape = (cube.grid.shape[0], cube.grid.shape[1])
    with _named(workspace):
        return count_labels(labels.read, shape, chip=params.chip, classes=len(labels.told))


def _planned(
    params: TrainParams,
    fields: Sequence[_Opened],
    counts: Sequence[NDArray[np.int64]],
    regions: Mapping[str, Regions],
    apart: Sequence[NDArray[np.bool_] | None],
    *,
    cells: int,
) -> list[Field]:
    """The fields with windows of so many lattice cells a side."""
    found = []
    for (workspace, cube, labels), counted, away in zip(fields, counts, apart, strict=True):
        with _named(workspace):
            plan = plan_chips(counted, regions[cube.fingerprint], chip=params.chip, cells=cells, apart=away)
        found.append(Field(workspace, cube, labels, plan))
    return found


@contextmanager
def _named(workspace: Workspace) -> Iterator[None]:
    """What is wrong with a scene is told with its workspace."""
    try:
        yield
    except UnusableInput as error:
        raise UnusableInput(f"{workspace.store.url}: {error}") from error


def lessons_of(fields: list[Field]) -> dict[str, str]:
    """What stands for the pixels and the labels that are learnt from: a state to resume remembers it."""
    classes = fields[0].workspace.classes.names
    blocks = [f.labels.digests((f.cube.grid.shape[0], f.cube.grid.shape[1])) for f in fields]
    return {
        "scenes": fingerprint({"cubes": [f.cube.fingerprint for f in fields]}),
        "labels": fingerprint({"classes": classes, "told": [f.labels.told.tolist() for f in fields], "blocks": blocks}),
    }


def never_labelled(fields: list[Field]) -> list[str]:
    """Names of the classes to be learnt, but for `other`, of which no chip to learn from shows a pixel."""
    totals = np.sum([f.plan.totals for f in fields], axis=0).tolist()
    names = fields[0].workspace.classes.names
    return [names[number] for number in fields[0].labels.objects or range(1, len(names)) if not totals[number]]


def weights_of(params: TrainParams, fields: list[Field]) -> tuple[float, ...]:
    """How much each class weighs in the loss."""
    totals, around = (np.sum([getattr(f.plan, n) for f in fields], axis=0).tolist() for n in ("totals", "around"))
    return tuple(class_weights(totals, params.balance, around=around).tolist())
