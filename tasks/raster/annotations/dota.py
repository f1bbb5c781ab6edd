"""DOTA's oriented boxes (https://captain-whu.github.io/DOTA): a .txt a picture.

A line is `x1 y1 x2 y2 x3 y3 x4 y4 class difficulty`; heads `imagesource:` and `gsd:` (metres a pixel) come first. Boxes
carry neither outlines nor objects' ids: what is exported becomes the smallest box around each area, and areas of boxes
are what comes back. What is ignored and where pictures lie stands in `geoloom.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.annotations.documents import Pictures, Sidecar, open_picture, read_sidecar, reading
from tasks.raster.annotations.drawn import drawn_set, ignored_region, kept
from tasks.raster.annotations.picture import About, Annotation, AnnotationSet, Picture, about_classes
from tasks.raster.annotations.regions import Region, large_first, ring_of, trace
from tasks.raster.grid import ground_resolution
from tasks.raster.local import on_ground

FOLDER = "labelTxt"
NUMBERS = 8
"""Of a box."""
HEADS = ("imagesource:", "gsd:")


def open_dota(folder: Path, *, about: About | None = None) -> AnnotationSet:
    """Open a data set of oriented boxes.

    Args:
        folder: of pictures, and texts of the same names.
        about: what it says where all classes that are found are among these; else those that are found count.

    Raises:
        UnusableInput: no text, or a damaged one.
    """
    files = Pictures(folder)
    ours, places = read_sidecar(folder)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.txt")):
        if "hbb" not in path.parent.name.lower():  # the same objects again, in upright boxes
            found.setdefault(path.stem, path)
    texts: dict[str, Path] = {}
    pictures: list[Picture] = []
    left_out = list(files.left_out)
    names: set[str] = set()
    for file in files.files:
        if file.stem not in found:
            left_out.append(f"The picture {file} has no text {file.stem}.txt.")
            continue
        path = found[file.stem]
        key = file.relative_to(folder).as_posix()
        metres, rows = _read(path)
        names |= {row[NUMBERS] for row in rows}
        picture = open_picture(files.names[file], file, places.get(key))
        if metres and picture.whole.crs is None and key not in places:
            picture = replace(picture, whole=on_ground(picture.whole, metres))
        pictures.append(picture)
        texts[picture.name] = path
    if not texts:
        raise UnusableInput(f"{folder} holds no picture with a text: looked for NAME.txt, in {FOLDER} or beside it.")
    if ours is None and about is not None and {name.lower() for name in names} <= set(about.classes):
        ours = about
    known = ours or about_classes(sorted(names))
    ids = {_word(name): number for number, name in enumerate(known.classes)}

    def regions(picture: Picture) -> list[Region]:
        path = texts[picture.name]
        with reading(path):
            said = places.get(picture.file.relative_to(folder).as_posix())
            drawn = [
                Region(_label(row[NUMBERS], ids, known), 0 if known.ours else n, parts=((ring_of(_box(row)),),))
                for n, row in enumerate(_read(path)[1], 1)
            ]
            return [*large_first(drawn), *ignored_region(said, picture.shape)]

    return drawn_set(known, pictures, regions, files=lambda p: (texts[p.name],), left_out=left_out)


def _word(name: str) -> str:
    """A class's name as one word."""
    return name.replace(" ", "-")


def _label(word: str, ids: Mapping[str, int], about: About) -> int:
    plain = word.strip().lower()
    return ids[plain] if plain in ids else about.id(word)


def _box(row: list[str]) -> list[float]:
    return [float(n) for n in row[:NUMBERS]]


def _read(path: Path) -> tuple[float | None, list[list[str]]]:
    """Metres a pixel, if it says so, and the words of each line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableInput(f"{path} is no text in UTF-8 ({error}); get it again.") from error
    metres: float | None = None
    rows = []
    for number, line in enumerate(lines, 1):
        if line.lower().startswith(HEADS):
            if line.lower().startswith("gsd:"):
                metres = _metres(line.partition(":")[2])
            continue
        words = line.split()
        if words and len(words) not in {NUMBERS + 1, NUMBERS + 2}:
            raise UnusableInput(f"{path}, line {number}: expected x1 y1 x2 y2 x3 y3 x4 y4 class difficulty.")
        if words:
            rows.append(words)
    return metres, rows


def _metres(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:  # null, None: not every picture's is known
        return None
    return found if math.isfinite(found) and found > 0 else None


class DotaWriter:
    """Writes a text a picture."""

    def __init__(self, folder: Path, about: About) -> None:
        """Begin."""
        self.folder, self.about = folder, about
        (folder / FOLDER).mkdir()
        self.sidecar = Sidecar(folder, about)

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write the box of each area of one picture."""
        metres = ground_resolution(picture.whole)
        lines = ["imagesource:geoloom", f"gsd:{metres or 'null'}"]
        for region in trace(annotation):
            corners = " ".join(f"{n:.2f}" for n in _smallest_box(region).ravel())
            lines.append(f"{corners} {_word(self.about.classes[region.label])} 0")
        path = self.folder / FOLDER / f"{picture.file.stem}.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        said: Mapping[str, Any] = picture.to_json() | kept(annotation)
        self.sidecar.add(picture.file.relative_to(self.folder).as_posix(), said)

    def close(self) -> None:
        """End the sidecar."""
        self.sidecar.close()


def _smallest_box(region: Region) -> NDArray[np.float64]:
    """The four corners of the smallest rectangle around a region, (4, 2)."""
    corners = shapely.multipoints(np.concatenate([part[0] for part in region.parts]))
    box = shapely.minimum_rotated_rectangle(corners)
    found: NDArray[np.float64] = shapely.get_coordinates(shapely.get_exterior_ring(box))[:4]
    return found
