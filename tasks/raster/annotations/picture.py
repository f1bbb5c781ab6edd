"""What every annotation format is brought to: pictures that lie somewhere in a scene, and the labels of their pixels.

A picture is a whole scene or a window of one. Where it lies is kept in `geoloom` keys, which other readers pass over,
or beside the annotations in `geoloom.json`, so that windows are put together again as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster import grid as grids
from tasks.raster.classes import DEFAULT_CLASSES, IGNORE, IGNORED_NAMES
from tasks.raster.grid import Window

CERTAIN = 254
"""The confidence of what a person has drawn."""
NONE = 255
"""The confidence of a pixel without a label."""
KEY = "geoloom"
"""Under which formats in JSON and XML carry what is ours."""
BACKGROUND = frozenset({"background", "_background_", "__background__"})
"""Names of a class that mean `other`."""
Rest = Literal["other", "unknown", "unlabelled"]
"""What a pixel is that nobody has drawn: of none of the set's classes, and so 'other'; of none of the classes that the
set knows, and so perhaps of another one of the map's; or not looked at. Of the last two the label is 255."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """The labels of a window, as a workspace keeps them."""

    label: NDArray[np.uint8]
    """(y, x) class ids; 255 = ignore."""
    instance: NDArray[np.uint32]
    """(y, x) object ids; 0 = none."""
    confidence: NDArray[np.uint8]
    """(y, x) 0...254 = p·254; 255 = none."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a data set."""

    name: str
    file: Path
    shape: tuple[int, int]
    """Rows and columns that are annotated, from its first pixel."""
    scene: str
    """The scene that it is a window of; its own name where it is one by itself."""
    whole: GeoBox
    """That scene's grid."""
    at: tuple[int, int] = (0, 0)
    """Row and column, in the scene, of its first pixel."""

    @property
    def window(self) -> Window:
        """Where it lies in its scene."""
        row, col = self.at
        return slice(row, row + self.shape[0]), slice(col, col + self.shape[1])

    @property
    def grid(self) -> GeoBox:
        """Its own part of the scene's grid."""
        return grids.crop(self.whole, self.window)

    def to_json(self) -> dict[str, Any]:
        """Where it lies, as plain JSON."""
        return {"scene": self.scene, "grid": grids.to_json(self.whole), "at": list(self.at), "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class About:
    """What a data set says of all its pictures."""

    classes: tuple[str, ...]
    """Names in the order of its ids, 'other' first."""
    known: tuple[str, ...]
    """The classes that it can tell; a pixel of any other one is not told from a pixel of none."""
    attribution: str = ""
    rest: Rest = "other"
    ours: bool = False
    """Written by geoloom: the classes are those of a workspace, ids and all."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "version": 1,
            "classes": list(self.classes),
            "known": list(self.known),
            "rest": self.rest,
            "attribution": self.attribution,
        }

    def id(self, name: str) -> int:
        """The label that a name in a file stands for: 0 for the background, 255 for what is to be ignored.

        Raises:
            UnusableInput: there is no such class.
        """
        plain = name.strip().lower()
        if plain in IGNORED_NAMES:
            return IGNORE
        if plain in BACKGROUND:
            return 0
        if plain not in self.classes:
            raise UnusableInput(f"The class '{name}' is none of the data set's ({', '.join(self.classes)}).")
        return self.classes.index(plain)


def about_classes(names: Sequence[str], attribution: str = "") -> About:
    """What a data set of others says, by its class names: in geoloom's fixed order where they are all among those.

    Raises:
        UnusableInput: it names no class.
    """
    plain = dict.fromkeys(str(name).strip().lower() for name in names)
    found = tuple(name for name in plain if name and name not in IGNORED_NAMES | BACKGROUND | {"other"})
    if not found:
        raise UnusableInput("The data set names no class; expected at least one.")
    if set(found) <= set(DEFAULT_CLASSES.names):
        return About(DEFAULT_CLASSES.names, found, attribution)
    return About(("other", *found), found, attribution)


def about_from(document: Any) -> About | None:
    """What `About.to_json` wrote; None where it is nothing of the kind.

    Raises:
        UnusableInput: it is damaged.
    """
    if not isinstance(document, dict) or "classes" not in document:
        return None
    rest = document.get("rest", "other")
    if rest not in get_args(Rest) or not isinstance(document["classes"], list):
        raise UnusableInput(f"What '{KEY}' says of the data set is damaged; take it out, or export the set again.")
    return About(
        tuple(map(str, document["classes"])),
        tuple(map(str, document.get("known") or document["classes"])),
        str(document.get("attribution", "")),
        rest,
        ours=True,
    )


def picture_from(name: str, file: Path, document: Any) -> Picture:
    """The picture that `Picture.to_json` wrote about.

    Raises:
        UnusableInput: the document is damaged.
    """
    try:
        rows, cols = (int(n) for n in document["shape"])
        row, col = (int(n) for n in document["at"])
        return Picture(name, file, (rows, cols), str(document["scene"]), grids.from_json(document["grid"]), (row, col))
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableInput(
            f"What '{KEY}' says of the picture {name} is damaged ({type(error).__name__}: {error}); take it out, and "
            "the picture stands by itself."
        ) from error


@dataclass(frozen=True, slots=True)
class AnnotationSet:
    """An open data set."""

    about: About
    pictures: tuple[Picture, ...]
    read: Callable[[Picture, Window], Annotation]
    """The labels, in ids of `about.classes`, of a window of a picture."""
    files: Callable[[Picture], tuple[Path, ...]]
    """What the labels of a picture are made from."""
    left_out: tuple[str, ...] = ()
    """Pictures or annotations that lack the other, a sentence each."""
    nodata: float | None = None
    """What all bands of a pixel without data have, in pictures that do not say so."""
    fill: int | None = None
    """What areas at a picture's edge have in all bands, or nearly, where there is no data."""


class Writer(Protocol):
    """Writes a data set into a folder that is its own, picture by picture."""

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write the annotation of a picture, whose file is there."""

    def close(self) -> None:
        """Write what belongs to all pictures."""


def nothing(shape: tuple[int, int], *, label: int = 0) -> Annotation:
    """A window in which nothing is drawn: every pixel 'other' unless told otherwise."""
    confidence = NONE if label == IGNORE else CERTAIN
    return Annotation(np.full(shape, label, np.uint8), np.zeros(shape, np.uint32), np.full(shape, confidence, np.uint8))
