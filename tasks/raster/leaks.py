"""Leaks: what two splits share, by place or by pixels; found in time that grows with the number of chips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from tasks.raster.digest import digest
from tasks.raster.footprints import DEGREES, brought, overlapping
from tasks.raster.likeness import pairs_alike
from tasks.raster.shifted import Marks, pairs_shifted


@dataclass(frozen=True, slots=True)
class Footprint:
    """Where a chip lies."""

    outline: shapely.Geometry
    crs: str
    """WKT; '' where the outline is in columns and rows of a scene."""
    scene: str = ""
    """What stands for that scene's pixels."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A chip as the check sees it."""

    name: str
    split: str
    footprint: Footprint | None
    digest: str
    """Of its pixels; '' where they show nothing, as all black, and may well be the same."""
    look: bytes
    marks: Marks | None = None
    """Of a chip of unknown place: what other windows of the same picture are known by."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Two chips of different splits that share something."""

    one: Sample
    other: Sample
    how: str
    """What they do: `show the same pixels`."""

    def __str__(self) -> str:
        """What a person is told."""
        return f"{self.one.name} ({self.one.split}) and {self.other.name} ({self.other.split}) {self.how}"


@dataclass(slots=True)
class Leaks:
    """What was found: each pair of chips once, the surest reason first."""

    found: dict[tuple[int, int], Leak] = field(default_factory=dict)

    def add(self, samples: Sequence[Sample], one: int, other: int, how: str) -> None:
        """Take a pair."""
        low, high = sorted((one, other))
        self.found.setdefault((low, high), Leak(samples[low], samples[high], how))


def pixel_digest(image: NDArray[Any], valid: NDArray[np.bool_]) -> str:
    """The digest of pixels (band, y, x) and of what of them is data (y, x); '' where all are the same."""
    return "" if (image == image.flat[0]).all() else digest(image, valid)


def find_leaks(samples: Sequence[Sample]) -> list[Leak]:
    """Pairs of chips of different splits with the same pixels or a place in common, or whose pictures look alike.

    Of chips of unknown place, pixels in common tell of a place in common.

    Of many chips with the same pixels in two splits, one pair is told.
    """
    names = sorted({sample.split for sample in samples})
    split = np.array([names.index(sample.split) for sample in samples], np.int64)
    leaks = Leaks()
    first: dict[str, int] = {}
    for n, sample in enumerate(samples):
        if sample.digest and split[other := first.setdefault(sample.digest, n)] != split[n]:
            leaks.add(samples, other, n, "have the same pixels")
    for how, numbers, outlines in _planes(samples):
        for one, other in _overlaps(outlines, split[numbers]):
            leaks.add(samples, int(numbers[one]), int(numbers[other]), how)
    for one, other, bits in pairs_alike([sample.look for sample in samples], split):
        leaks.add(samples, one, other, f"look the same ({bits} of 255 bits of their hashes differ)")
    marked = {n: sample.marks for n, sample in enumerate(samples) if sample.marks is not None}
    numbers = np.array([*marked], np.int64)
    for one, other, (down, right) in pairs_shifted([*marked.values()], split[numbers]):
        how = f"share pixels ({abs(down)} rows and {abs(right)} columns apart)"
        leaks.add(samples, int(numbers[one]), int(numbers[other]), how)
    return list(leaks.found.values())


def _planes(samples: Sequence[Sample]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.object_]]]:
    """Of each plane in which outlines can be compared: what overlaps mean, numbers of samples, their outlines."""
    by_crs: dict[str, list[int]] = {}
    by_scene: dict[str, list[int]] = {}
    for n, sample in enumerate(samples):
        if sample.footprint is not None:
            among, key = (by_crs, sample.footprint.crs) if sample.footprint.crs else (by_scene, sample.footprint.scene)
            among.setdefault(key, []).append(n)
    if by_crs:
        all_crs = {wkt: pyproj.CRS(wkt) for wkt in by_crs}
        plane = next(iter(all_crs.values())) if len(all_crs) == 1 else DEGREES
        parts = [brought(_outlines(samples, numbers), all_crs[wkt], plane) for wkt, numbers in by_crs.items()]
        yield "overlap on the ground", np.concatenate([np.array(n) for n in by_crs.values()]), np.concatenate(parts)
    for numbers in by_scene.values():
        yield "overlap in the same scene", np.array(numbers), _outlines(samples, numbers)


def _outlines(samples: Sequence[Sample], numbers: list[int]) -> NDArray[np.object_]:
    return np.array([footprint.outline for n in numbers if (footprint := samples[n].footprint) is not None], object)


def _overlaps(outlines: NDArray[np.object_], split: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    for part in np.unique(split)[1:]:
        mine, before = np.flatnonzero(split == part), np.flatnonzero(split < part)
        for one, other in overlapping(outlines[mine], outlines[before]).T:
            yield int(mine[one]), int(before[other])
