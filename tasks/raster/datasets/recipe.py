"""A recipe: how a published data set lies in its folders, how its masks are read, what they know, and whose it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from infra.errors import UnusableInput, UnusableScene
from tasks.raster.annotations.documents import open_picture, require_folder
from tasks.raster.annotations.picture import About, Annotation, AnnotationSet, Picture, Rest
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.grid import Window
from tasks.raster.local import on_ground


class Mask(Protocol):
    """How the mask of a picture is read."""

    def read(self, path: Path, picture: Picture, window: Window, *, about: About) -> Annotation:
        """The labels of a window of a picture, in ids of `about.classes`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How pictures and masks lie beside each other."""

    pictures: str
    """A glob below the data set's folder."""
    masks: tuple[str, ...]
    """Where a picture's mask may be, as seen from the picture's folder; what `stem` names stands in braces, and
    `folder` is that of the picture."""
    stem: str = "(?P<name>.+)"
    """A pattern of the picture's whole stem."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A published data set."""

    layouts: tuple[Layout, ...]
    mask: Mask
    known: tuple[str, ...]
    """The classes that its masks know."""
    rest: Rest
    """What its masks say of all other pixels."""
    attribution: str
    """Whose it is and under which licence, as far as is known."""
    classes: tuple[str, ...] = DEFAULT_CLASSES.names
    metres: float | None = None
    """Metres a pixel, for pictures that do not say so."""
    nodata: float | None = None
    """What all bands of a pixel without data have, in pictures that do not say so."""
    fill: int | None = None
    """What areas at a picture's edge have in all bands where there is no data."""

    @property
    def about(self) -> About:
        """What it says of all its pictures."""
        return About(self.classes, self.known, self.attribution, self.rest)


def open_recipe(recipe: Recipe, folder: Path) -> AnnotationSet:
    """Open a published data set as it was unpacked.

    Raises:
        UnusableInput: nothing of it is there.
    """
    require_folder(folder)
    masks: dict[Path, Path] = {}
    lonely: dict[Path, Path] = {}
    for layout in recipe.layouts:
        found = list(_pairs(layout, folder))
        masks |= {picture: mask for picture, mask in found if mask.is_file() and picture not in masks}
        if any(mask.is_file() for _, mask in found):
            lonely |= {picture: mask for picture, mask in found if not mask.is_file()}
    if not masks:
        looked = "; ".join(f"{layout.pictures} with {' or '.join(layout.masks)}" for layout in recipe.layouts)
        raise UnusableInput(f"{folder} holds nothing of this data set: looked for {looked}.")
    lonely = {p: m for p, m in lonely.items() if p not in masks and p not in set(masks.values())}
    left_out = [f"The picture {picture} has no mask {mask}." for picture, mask in sorted(lonely.items())]
    pictures: list[Picture] = []
    of_picture: dict[str, Path] = {}
    for file, mask in sorted(masks.items()):
        name = file.stem if file.stem not in of_picture else "_".join(file.relative_to(folder).with_suffix("").parts)
        try:
            picture = open_picture(name, file, None)
        except UnusableScene as error:
            left_out.append(str(error))
            continue
        if recipe.metres and picture.whole.crs is None:
            picture = replace(picture, whole=on_ground(picture.whole, recipe.metres))
        pictures.append(picture)
        of_picture[name] = mask
    about = recipe.about

    def read(picture: Picture, window: Window) -> Annotation:
        return recipe.mask.read(of_picture[picture.name], picture, window, about=about)

    return AnnotationSet(
        about,
        tuple(pictures),
        read,
        lambda picture: (of_picture[picture.name],),
        tuple(left_out),
        recipe.nodata,
        recipe.fill,
    )


def _pairs(layout: Layout, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Pictures and the mask of each: the first place that has it, else the first in a folder that is there.

    Where no such folder is there, as in the part of a data set that is kept for tests, there are no masks to miss.
    """
    pattern = re.compile(layout.stem)
    for picture in folder.glob(layout.pictures):
        named = pattern.fullmatch(picture.stem)
        if named is None or not picture.is_file():
            continue
        words: Mapping[str, str] = named.groupdict() | {"folder": picture.parent.name}
        places = [Path(picture.parent, *Path(place.format(**words)).parts) for place in layout.masks]
        places = [Path(_plain(place)) for place in places if place.parent.is_dir()]
        if places:
            yield picture, next((place for place in places if place.is_file()), places[0])


def _plain(path: Path) -> str:
    """A path without `..`, taken as names, so that links stay what they are."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] not in ("..", path.anchor):
            parts.pop()
        else:
            parts.append(part)
    return str(Path(*parts))
