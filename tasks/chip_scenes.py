"""Labelled scenes that become chips: opened so that they go together, and counted on a lattice of chips."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.store import open_store
from tasks.made_labels import MadeLabels, open_made_labels
from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE, ClassMap
from tasks.raster.cube import BLOCK, Cube
from tasks.raster.digest import digest
from tasks.raster.footprints import EDGE, Plane, joined, overlapping
from tasks.raster.grid import Window, windows
from tasks.workspace import Workspace, forgetting_damage, open_workspace

_NAME = re.compile(r"[^0-9A-Za-z._-]+")


@dataclass(frozen=True, slots=True)
class ChipScene:
    """One labelled scene."""

    name: str
    """Of its workspace; no other scene of the data set has it."""
    workspace: Workspace
    cube: Cube
    labels: MadeLabels
    table: NDArray[np.uint8]
    """(256,) from the labels' ids to the data set's."""

    @property
    def classes(self) -> ClassMap:
        """The labels' classes in their order, in the workspace's colours."""
        painted = {one.name: one for one in self.workspace.classes.classes}
        return ClassMap(tuple(painted.get(one.name, one) for one in self.labels.classes.classes))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.cube.grid.shape[0], self.cube.grid.shape[1]

    def label(self, window: Window, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """(y, x) ids of the data set's classes; 255 where nothing is labelled or no data."""
        label: NDArray[np.uint8] = self.table[self.labels.read(window)]
        label[~valid] = IGNORE
        return label


@dataclass(frozen=True, slots=True)
class Lattice:
    """A scene's pixels counted in squares of a chip's side, from its first pixel on; the rest at the end is unused."""

    chip: int
    pixels: NDArray[np.int64]
    """(row, column, class) labelled pixels."""
    valid: NDArray[np.int64]
    """(row, column)."""
    confidence: NDArray[np.float64]
    """(row, column) mean over the labelled pixels that have one, 0 to 1; NaN where none has."""
    digest: str
    """Of the labels and their confidence."""

    def usable(self, *, least: float) -> NDArray[np.bool_]:
        """(row, column): at least such a share of the pixels is labelled, and one."""
        return self.pixels.sum(axis=-1) >= max(least * self.chip**2, 1)  # type: ignore[no-any-return]


def open_scenes(roots: Sequence[str]) -> tuple[ChipScene, ...]:
    """Open labelled workspaces.

    Raises:
        UnusableInput: none is given, one has no finished labels, or their bands, pixels' dtypes or classes differ.
    """
    if not roots:
        raise UnusableInput("No workspace was given; name at least one that is labelled.")
    scenes: list[ChipScene] = []
    for root in roots:
        workspace = open_workspace(open_store(root))
        cube, labels = workspace.cube(), open_made_labels(workspace)
        first = scenes[0] if scenes else None
        if first is not None:
            _refuse_others(cube, labels, root=root, first=first)
        classes = (first.labels if first else labels).classes
        name = _free_name(workspace.store.url, [scene.name for scene in scenes])
        scenes.append(ChipScene(name, workspace, cube, labels, classes.translation(labels.classes.names)))
    return tuple(scenes)


def _refuse_others(cube: Cube, labels: MadeLabels, *, root: str, first: ChipScene) -> None:
    for what, mine, theirs in (
        ("bands", cube.bands, first.cube.bands),
        ("dtype", (cube.dtype.name,), (first.cube.dtype.name,)),
        ("classes", tuple(sorted(labels.classes.names)), tuple(sorted(first.labels.classes.names))),
    ):
        if mine != theirs:
            raise UnusableInput(
                f"{root} has the {what} {', '.join(mine)} and {first.workspace.store.url} has {', '.join(theirs)}; "
                f"make a data set of workspaces with the same {what}."
            )


def _free_name(url: str, taken: Sequence[str]) -> str:
    name = _NAME.sub("_", url.rstrip("/").rpartition("/")[2]).strip("._") or "scene"
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def count_lattice(scene: ChipScene, chip: int) -> Lattice:
    """Count a scene's labels; reads no pixel of the image.

    Raises:
        UnusableInput: the scene is smaller than a chip, or holds an id that its classes do not have.
    """
    rows, cols = (n // chip for n in scene.shape)
    if not rows or not cols:
        raise UnusableInput(
            f"The scene of {scene.workspace.store.url} has {scene.shape[0]} x {scene.shape[1]} pixels and a chip "
            f"{chip} x {chip}; use a smaller --chip, or leave it out."
        )
    classes = len(scene.labels.classes)
    pixels = np.zeros((rows, cols, IGNORE + 1), np.int64)
    valid, sure, known = (np.zeros((rows, cols), np.int64) for _ in range(3))
    digests = []
    with forgetting_damage(scene.workspace.store):
        for window in pieces((rows, cols), chip):
            place = tuple(slice(s.start // chip, s.stop // chip) for s in window)
            data = scene.cube.read(window, bands=())[1]
            label, confidence = scene.label(window, data), scene.labels.read(window, "confidence")
            digests.append(digest(label, confidence))
            told = (label != IGNORE) & (confidence <= TOP)
            valid[place], known[place] = _sums(data, chip), _sums(told, chip)
            sure[place] = _sums(np.where(told, confidence, 0), chip)
            for klass in np.unique(label):
                pixels[(*place, klass)] = _sums(label == klass, chip)
    if pixels[..., classes:IGNORE].any():
        raise UnusableInput(
            f"The labels in {scene.workspace.store.url} hold an id beyond their {classes} classes; label again."
        )
    mean = np.divide(sure, known * TOP, out=np.full((rows, cols), np.nan), where=known > 0)
    return Lattice(chip, pixels[..., :classes].copy(), valid, mean, digest(np.array(digests)))


def pieces(lattice: tuple[int, int], chip: int) -> list[Window]:
    """The windows of pixels in which a scene is read: as many whole chips as lie in about a block of the cube."""
    step = max(1, BLOCK // chip) * chip
    return list(windows((lattice[0] * chip, lattice[1] * chip), step))


def _sums(plane: NDArray[np.generic], chip: int) -> NDArray[np.int64]:
    rows, cols = (n // chip for n in plane.shape)
    sums: NDArray[np.int64] = plane.reshape(rows, chip, cols, chip).sum(axis=(1, 3), dtype=np.int64)
    return sums


def places(scenes: Sequence[ChipScene], plane: Plane) -> NDArray[np.int64]:
    """(scene,) the number of each one's place: those that overlap on the ground, or come from the same file, share it.

    A folder of files, as an import of a data set names it, is no file: its scenes are told apart by their pixels.
    """
    outlines = np.concatenate(
        [
            plane.outlines(n, np.array([[0, 0, scene.shape[1], scene.shape[0]]], np.float64), edge=EDGE)
            for n, scene in enumerate(scenes)
        ]
    )
    pairs = [(int(one), int(other)) for one, other in overlapping(outlines, outlines).T]
    first: dict[str, int] = {}
    pairs += [(first.setdefault(origin, n), n) for n, scene in enumerate(scenes) for origin in _origins(scene)]
    return joined(len(scenes), pairs)


def _origins(scene: ChipScene) -> set[str]:
    """What tells that two workspaces are of the same scene: the pixels, each source's, and the files."""
    found = {scene.cube.fingerprint}
    for source in scene.workspace.sources:
        found.add(source.fingerprint)
        if PurePosixPath(source.path).suffix:
            found.add(source.path)
    return found
