"""How a format whose annotations are regions is opened: those of a picture are painted when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.raster.annotations.picture import About, Annotation, AnnotationSet, Picture
from tasks.raster.annotations.regions import Drawing, Region, ignored
from tasks.raster.annotations.runs import counts_of, indexes_of
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window

Regions = Callable[[Picture], Iterable[Region]]
"""The regions of a picture, the lowest first."""


def drawn_set(
    about: About,
    pictures: Sequence[Picture],
    regions: Regions,
    *,
    files: Callable[[Picture], tuple[Path, ...]],
    left_out: Sequence[str] = (),
    rest: int = 0,
) -> AnnotationSet:
    """A data set of regions; what none of them covers gets the label `rest`."""
    last: list[tuple[Picture, Drawing]] = []

    def read(picture: Picture, window: Window) -> Annotation:
        if not last or last[0][0] is not picture:
            last[:] = [(picture, Drawing(regions(picture), picture.shape, rest=rest))]
        return last[0][1].read(window)

    return AnnotationSet(about, tuple(pictures), read, files, tuple(left_out))


def kept(annotation: Annotation) -> dict[str, Any]:
    """What formats of regions do not say: the runs, along the rows, of what is ignored."""
    pixels = ignored(annotation)
    return {"ignore": counts_of(pixels, annotation.label.size)} if pixels.size else {}


def ignored_region(said: Mapping[str, Any] | None, shape: tuple[int, int]) -> list[Region]:
    """The region that `kept` wrote of."""
    if not said or "ignore" not in said:
        return []
    return [Region(IGNORE, pixels=indexes_of(said["ignore"], shape[0] * shape[1]))]


def object_key(region: Region) -> dict[str, int]:
    """What formats do not say of a region: which object it is, and how certain that is."""
    return {"instance": region.instance, "confidence": region.confidence}
