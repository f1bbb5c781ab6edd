"""Chips: labelled workspaces as a data set of small GeoTIFFs in splits that share no place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.ledger import Entry, Ledger
from infra.progress import Progress, counting
from infra.stopping import check
from infra.storage import make_folder
from infra.store import Store, open_store, require_room, write_json
from tasks.chip_document import describe
from tasks.chip_page import chip_page
from tasks.chip_plan import ChipSetPlan, plan_chip_set
from tasks.chip_scenes import count_lattice, open_scenes, pieces
from tasks.dataset_params import ChipSetParams
from tasks.raster.band_tally import BandTally
from tasks.raster.chip_files import write_chip, write_label
from tasks.raster.chip_table import TABLE, write_table
from tasks.raster.class_chart import draw_class_chart
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.grid import Window, crop, within
from tasks.raster.leaks import pixel_digest
from tasks.raster.likeness import look
from tasks.units import to_do
from tasks.workspace import forgetting_damage

DOCUMENT, PAGE, CHART = "dataset.json", "index.html", "classes.png"
UNFINISHED = "unfinished.json"
"""Stands in a data set's folder until all of it is there; names the plan, so that the same command goes on."""
STEP = "chips"


@dataclass(frozen=True, slots=True)
class MadeChips:
    """What a data set of chips came to."""

    folder: str
    chips: dict[str, int]
    """By split."""
    kept: bool
    """An earlier run had finished it."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What only the pixels tell, chip by chip."""

    digests: list[str]
    looks: list[bytes]
    tallies: list[BandTally]
    """Of each band, over the training chips."""


def require_free(out: Path) -> None:
    """Raise where a folder holds something that is no data set of chips, finished or not.

    Raises:
        UnusableInput: it does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not (
        (out / DOCUMENT).is_file() or (out / UNFINISHED).is_file() or {p.name for p in out.iterdir()} <= {"lease"}
    ):  # fmt: skip
        raise UnusableInput(f"{out} is not an empty folder; choose another one for the data set.")


def plan_chips(params: ChipSetParams, workspaces: list[str], *, progress: Progress) -> ChipSetPlan:
    """Plan a data set: which chips are cut, and which split each is in; reads labels, and writes nothing.

    Raises:
        UnusableInput: no labels, workspaces that do not go together, or a split without a chip.
    """
    scenes = open_scenes(workspaces)
    with counting(progress, "count", total=len(scenes), unit="scenes") as bar:
        lattices = []
        for scene in scenes:
            check()
            lattices.append(count_lattice(scene, params.chip))
            bar.advance()
    return plan_chip_set(scenes, lattices, params)


def make_chips(params: ChipSetParams, plan: ChipSetPlan, out: Path, *, progress: Progress) -> MadeChips:
    """Write the chips of a plan, a table of them, statistics and a page; what an earlier run has finished is kept.

    Raises:
        UnusableInput: the folder holds something else, or a cube is damaged.
        UnwritableOutput: it cannot be written.
    """
    store, cube = open_store(out), plan.scenes[0].cube
    chips = dict(zip(plan.splits, np.bincount(plan.split, minlength=len(plan.splits)).tolist(), strict=True))
    if _is_finished(store, plan):
        return MadeChips(str(out), chips, kept=True)
    require_room(store, len(plan) * plan.chip**2 * (cube.dtype.itemsize * len(cube.bands) + 1))
    write_json(store, UNFINISHED, {"plan": plan.fingerprint})
    for split in plan.splits:
        for what in ("images", "labels"):
            make_folder(out / what / split)
    found = _write(plan, store, out, progress=progress)
    _finish(plan, params, store, found)
    totals = plan.totals()
    for split, pixels in zip(plan.splits, totals, strict=True):
        lacking = [
            name
            for name, n, all_of in zip(plan.classes.names, pixels, totals.sum(axis=0), strict=True)
            if all_of > n == 0
        ]
        if lacking:
            progress.note(f"No chip of {split} shows {', '.join(lacking)}; another --seed or more scenes may.")
    return MadeChips(str(out), chips, kept=False)


def _is_finished(store: Store, plan: ChipSetPlan) -> bool:
    """Whether just this data set is there; what of it a killed run has left goes on."""
    for key in (DOCUMENT, UNFINISHED):
        data = store.read(key)
        if data is None:
            continue
        try:
            mine = json.loads(data)["plan"] == plan.fingerprint
        except (ValueError, KeyError, TypeError):
            mine = False
        if not mine:
            raise UnusableInput(
                f"{store.url} holds a data set of other workspaces, labels or options; choose another folder, or "
                "delete it."
            )
        if key == DOCUMENT:
            store.delete([UNFINISHED])
            return True
    return False


def _units(plan: ChipSetPlan) -> Iterator[tuple[str, int, Window, NDArray[np.int64]]]:
    """What is read at once: its name, the scene's number, the window, and the numbers of the chips in it."""
    for number, scene in enumerate(plan.scenes):
        rows, cols = (n // plan.chip for n in scene.shape)
        mine = np.arange(*np.searchsorted(plan.scene, [number, number + 1]))
        for window in pieces((rows, cols), plan.chip):
            inside = [(plan.corner[mine, n] >= s.start) & (plan.corner[mine, n] < s.stop) for n, s in enumerate(window)]
            chips = mine[inside[0] & inside[1]]
            if len(chips):
                yield f"{number}_{window[0].start}_{window[1].start}", number, window, chips


def _write(plan: ChipSetPlan, store: Store, out: Path, *, progress: Progress) -> _Found:
    """Write the chips that are not there yet; all pixels are read, for what is told of them as a whole."""
    cube = plan.scenes[0].cube
    found = _Found([""] * len(plan), [b""] * len(plan), [BandTally(cube.dtype) for _ in cube.bands])
    ledger = Ledger(store, STEP)
    marks = {unit: fingerprint({"plan": plan.fingerprint, "unit": unit}) for unit, *_ in _units(plan)}
    pending = set(to_do(ledger, marks, places=("images", "labels")))
    with (
        counting(progress, "chips", total=len(plan), unit="chips") as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for unit, number, window, chips in _units(plan):
            check()
            piece = _Piece(plan, number, window, out, new=unit in pending)
            for chip, (marked, seen) in zip(chips, pool.map(piece.cut, chips), strict=True):
                found.digests[chip], found.looks[chip] = marked, seen
            taught = piece.training(chips)
            for plane, tally in zip(piece.image, found.tallies, strict=True):
                tally.add(plane, taught)
            if unit in pending:
                store.settle(f"{what}/{_file(plan, n)}" for n in chips for what in ("images", "labels"))
                ledger.record(Entry(unit, marks[unit], digest(np.array([found.digests[n] for n in chips]))))
            bar.advance(len(chips))
    return found


def _file(plan: ChipSetPlan, chip: int) -> str:
    return f"{plan.splits[plan.split[chip]]}/{plan.name(chip)}.tif"


class _Piece:
    """A window of a scene, of which chips are cut."""

    def __init__(self, plan: ChipSetPlan, number: int, window: Window, out: Path, *, new: bool) -> None:
        self._plan, self._window, self._out, self._new = plan, window, out, new
        self._scene = plan.scenes[number]
        with forgetting_damage(self._scene.workspace.store):
            self.image, self._valid = self._scene.cube.read(window)
        self.image = np.where(self._valid, self.image, self.image.dtype.type(0))
        self._label = self._scene.label(window, self._valid) if new else None

    def _place(self, chip: int) -> tuple[Window, Window]:
        """A chip's window in the scene, and in this piece."""
        row, col = self._plan.corner[chip].tolist()
        window = slice(row, row + self._plan.chip), slice(col, col + self._plan.chip)
        return window, within(window, self._window)

    def cut(self, chip: int) -> tuple[str, bytes]:
        """Write a chip where it is new, and give the digest and the hash of its pixels."""
        window, here = self._place(chip)
        image, valid = self.image[:, *here], self._valid[here]
        if self._label is not None:
            plan, grid = self._plan, crop(self._scene.workspace.grid, window)
            name = _file(plan, chip)
            write_chip(self._out / "images" / name, image, valid, grid=grid, bands=self._scene.cube.bands)
            write_label(self._out / "labels" / name, self._label[here], grid=grid, classes=plan.classes)
        return pixel_digest(image, valid), look(image, valid)

    def training(self, chips: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(y, x): valid pixels of the training chips among these."""
        taught = np.zeros_like(self._valid)
        for chip in chips[self._plan.split[chips] == 0]:
            taught[self._place(int(chip))[1]] = True
        return taught & self._valid


def _finish(plan: ChipSetPlan, params: ChipSetParams, store: Store, found: _Found) -> None:
    """Write what is told of all chips; `dataset.json` last: where it stands, everything does."""
    names = [plan.name(n) for n in range(len(plan))]
    files = [_file(plan, n) for n in range(len(plan))]
    area = plan.chip**2
    rows: dict[str, Any] = {
        "name": names,
        "split": [plan.splits[s] for s in plan.split],
        "workspace": [plan.scenes[s].name for s in plan.scene],
        "place": plan.place,
        "image": [f"images/{file}" for file in files],
        "label": [f"labels/{file}" for file in files],
        "row": plan.corner[:, 0],
        "column": plan.corner[:, 1],
        "size": np.full(len(plan), plan.chip),
        "valid": plan.valid / area,
        "labelled": plan.pixels.sum(axis=1) / area,
        "confidence": plan.confidence,
        "scene": [plan.scenes[s].cube.fingerprint for s in plan.scene],
        "digest": found.digests,
        "look": [seen.hex() for seen in found.looks],
        "pixels": plan.pixels,
    }
    with store.publishing(TABLE) as path:
        write_table(path, rows, plan.outlines, crs=plan.crs, classes=plan.classes)
    document = describe(plan, params, [tally.summary() for tally in found.tallies])
    chart = draw_class_chart(plan.totals(), classes=plan.classes.names, splits=plan.splits)
    store.write(CHART, chart)
    store.write(PAGE, chip_page(plan, document, chart).encode())
    write_json(store, DOCUMENT, document)
    Ledger(store, STEP).forget_all()
    store.delete([UNFINISHED])
