"""The leakage check: whether chips of different splits share a place or pixels.

A folder is looked at file by file; a `chips.parquet` alone is believed. Foreign data sets are folders of pictures in
which some folder is called after its split; where their files say where they lie, that is compared, too.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.errors import UnusableInput
from infra.progress import Progress, counting
from infra.stopping import check
from tasks.raster.chip_files import read_chip
from tasks.raster.chip_table import TABLE, ChipTable, read_table
from tasks.raster.leaks import Footprint, Sample, find_leaks, pixel_digest
from tasks.raster.likeness import BLANK, look
from tasks.raster.places import SUFFIXES
from tasks.raster.shifted import marks_of

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLITS |= {"test": "test", "testing": "test"}
"""Folder names, and the split that each means."""
TRUTH = frozenset({"labels", "label", "masks", "mask", "annotations", "ann_dir", "gt", "map", "output", "instances"})
"""Folders of what belongs to pictures, and is none."""
AT_ONCE = 256
"""Chips that are read before an interrupt is heeded."""


@dataclass(frozen=True, slots=True)
class CheckedChips:
    """What was compared, where nothing leaks."""

    chips: dict[str, int]
    """By split."""
    without_place: int
    """Chips of which nothing says where they lie: only their pixels were compared, and where two overlap and one was
    recompressed, that is not seen."""
    without_look: int
    """Chips that show too little to be told from others: only their exact pixels were compared."""


def check_chips(paths: Sequence[Path], *, progress: Progress) -> CheckedChips:
    """Compare all chips of data sets, taken together, across their splits.

    Args:
        paths: folders, or tables that `geoloom dataset chips` wrote.
        progress: told of the files that are read.

    Raises:
        UnusableInput: chips of different splits share a place or pixels; or nothing to compare, damaged files, a table
            that is not of the files beside it.
    """
    samples: list[Sample] = []
    damage: list[str] = []
    for path in paths:
        if path.is_dir():
            samples += _read_folder(path, damage, progress=progress)
        else:
            samples += _believed(read_table(path), f"{path.parent}/")
    chips = Counter(sample.split for sample in samples)
    if len(chips) < 2:  # noqa: PLR2004
        raise UnusableInput(
            f"{', '.join(map(str, paths))} holds {len(samples)} chips of {', '.join(chips) or 'no split'}, and two "
            "splits are needed to compare; give folders with pictures in train, val or test, or a chips.parquet."
        )
    leaks = find_leaks(samples)
    if leaks:
        more = f", and {len(leaks) - 1} more pairs do" if len(leaks) > 1 else ""
        todo = "take one chip of each pair out, or split anew by place"
        raise UnusableInput(f"The splits leak: {leaks[0]}{more}; {todo}.")
    if damage:
        raise UnusableInput(f"{damage[0]}; make the data set again ({len(damage)} such files).")
    return CheckedChips(
        dict(sorted(chips.items())),
        sum(sample.footprint is None for sample in samples),
        sum(sample.look == BLANK for sample in samples),
    )


def _believed(table: ChipTable, folder: str) -> list[Sample]:
    """Chips as their table tells of them."""
    return [
        Sample(folder + image, split, footprint, digest, seen)
        for image, split, footprint, digest, seen in zip(
            table.images, table.splits, _footprints(table), table.digests, table.looks, strict=True
        )
    ]


def _footprints(table: ChipTable) -> list[Footprint]:
    wkt = table.crs.to_wkt() if table.crs is not None else ""
    return [
        Footprint(outline, wkt, "" if wkt else scene)
        for outline, scene in zip(table.outlines, table.scenes, strict=True)
    ]


def _read_folder(folder: Path, damage: list[str], *, progress: Progress) -> list[Sample]:
    """Chips as their files are; of a scene without a CRS the table, where there is one, knows where they were cut."""
    files = list(_pictures(folder))
    listed: dict[str, tuple[str, Footprint]] = {}
    if (folder / TABLE).is_file():
        table = read_table(folder / TABLE)
        listed = dict(zip(table.images, zip(table.digests, _footprints(table), strict=True), strict=True))
        there = {path.relative_to(folder).as_posix() for path, _ in files}
        damage += [f"{folder / name} is missing and {TABLE} lists it" for name in sorted(set(listed) - there)]
    samples: list[Sample] = []

    def read(file: tuple[Path, str]) -> Sample:
        path, split = file
        chip = read_chip(path)
        digest, told = pixel_digest(chip.image, chip.valid), listed.get(path.relative_to(folder).as_posix())
        if told is not None and told[0] != digest:
            damage.append(f"{path} does not have the pixels that {TABLE} tells of")
        footprint = Footprint(chip.outline, chip.crs) if chip.crs else told[1] if told is not None else None
        marks = marks_of(chip.image, chip.valid) if footprint is None else None
        return Sample(str(path), split, footprint, digest, look(chip.image, chip.valid), marks)

    with (
        counting(progress, "check", total=len(files), unit="chips") as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for start in range(0, len(files), AT_ONCE):
            check()
            some = files[start : start + AT_ONCE]
            samples += pool.map(read, some)
            bar.advance(len(some))
    return samples


def _pictures(folder: Path) -> Iterator[tuple[Path, str]]:
    """Pictures below a folder, and the split that a folder on the way to each is called after."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        folders[:] = [name for name in folders if name.lower() not in TRUTH and not name.startswith(".")]
        inner = Path(place).relative_to(folder).parts
        split = next((SPLITS[part.lower()] for part in inner if part.lower() in SPLITS), None)
        if split is not None:
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                    yield Path(place, name), split
