"""YOLO segmentation (https://docs.ultralytics.com/datasets/segment): a .txt a picture, an object a line, and data.yaml.

A line is the class's number, from 0, and corners in shares of the picture's width and height. An object in parts or
with holes is one ring that goes there and back. Which object it is, what is ignored, and where pictures lie has no
place there, and stands in `geoloom.json`. A picture without a .txt, or with an empty one, shows nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import UnusableInput
from tasks.raster.annotations.documents import Pictures, Sidecar, open_picture, read_sidecar, reading
from tasks.raster.annotations.drawn import drawn_set, ignored_region, kept
from tasks.raster.annotations.picture import (
    CERTAIN,
    About,
    Annotation,
    AnnotationSet,
    Picture,
    about_classes,
)
from tasks.raster.annotations.regions import Region, box_ring, large_first, one_ring, ring_of, trace

DOCUMENT = "data.yaml"
BOX = 4
"""Numbers of a line that is a box: its centre, width and height."""


def open_yolo(folder: Path) -> AnnotationSet:
    """Open a data set of YOLO's: `data.yaml`, pictures in `images`, and texts in `labels` of the same names.

    Raises:
        UnusableInput: there is no data.yaml, it names no class, or it is damaged.
    """
    files = Pictures(folder)
    names, attribution = _names(folder)
    ours, places = read_sidecar(folder)
    about = ours or about_classes([names[n] for n in sorted(names)], attribution)
    ids = {number: about.id(name) for number, name in names.items()}
    texts: dict[str, Path] = {}
    pictures: list[Picture] = []
    for file in files.files:
        name = files.names[file]
        key = file.relative_to(folder).as_posix()
        texts[name] = _text_of(file, folder)
        pictures.append(open_picture(name, file, places.get(key)))
    if not any(path.is_file() for path in texts.values()):
        raise UnusableInput(f"{folder} holds no labels: looked for labels/.../NAME.txt for each images/.../NAME.")

    def regions(picture: Picture) -> list[Region]:
        path = texts[picture.name]
        said = places.get(picture.file.relative_to(folder).as_posix()) or {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        with reading(path):
            rows = [line.split() for line in lines if line.strip()]
            objects = said.get("objects") or [(n, CERTAIN) for n in range(1, len(rows) + 1)]
            if len(objects) != len(rows):
                raise UnusableInput(f"{path} has {len(rows)} objects, and geoloom.json knows {len(objects)} of it.")
            drawn = [_region(row, ids, picture.shape, *one) for row, one in zip(rows, objects, strict=True)]
            return [*large_first(drawn), *ignored_region(said, picture.shape)]

    def made_from(picture: Picture) -> tuple[Path, ...]:
        return tuple(p for p in (folder / DOCUMENT, texts[picture.name]) if p.is_file())

    return drawn_set(about, pictures, regions, files=made_from, left_out=files.left_out)


def _names(folder: Path) -> tuple[Mapping[int, str], str]:
    """Class names by number, and the licence, of data.yaml."""
    import yaml

    found = [path for path in (folder / DOCUMENT, *sorted(folder.glob("*.y*ml"))) if path.is_file()]
    if not found:
        raise UnusableInput(f"{folder} holds no {DOCUMENT}, which names the classes of a YOLO data set.")
    path = found[0]
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnusableInput(f"{path} is no YAML document ({' '.join(str(error).split())}).") from error
    with reading(path):
        names: Any = document["names"]
        numbered = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(n): str(name) for n, name in numbered}, str(document.get("license") or "")


def _text_of(file: Path, folder: Path) -> Path:
    """Where a picture's text is: the last folder that is called images becomes labels; else beside it."""
    parts = list(file.relative_to(folder).with_suffix(".txt").parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return folder.joinpath(*parts)


def _region(row: list[str], ids: Mapping[int, int], shape: tuple[int, int], instance: int, confidence: int) -> Region:
    number, numbers = int(row[0]), np.array(row[1:], np.float64)
    if number not in ids:
        raise UnusableInput(f"There is an object of the class {number}, which {DOCUMENT} does not name.")
    scale = np.array([shape[1], shape[0]], np.float64)
    if numbers.size == BOX:
        centre, half = numbers[:2] * scale, numbers[2:] * scale / 2
        ring = box_ring(*(centre - half), *(centre + half))
    else:
        if numbers.size % 2:
            raise UnusableInput(f"A line has {numbers.size} numbers after the class; corners take two each.")
        ring = ring_of(numbers.reshape(-1, 2) * scale)
    return Region(ids[number], int(instance), int(confidence), parts=((ring,),))


class YoloWriter:
    """Writes a text a picture; data.yaml at the end."""

    def __init__(self, folder: Path, about: About) -> None:
        """Begin."""
        self.folder, self.about = folder, about
        self.sidecar = Sidecar(folder, about)
        self.others = False

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write one picture's objects."""
        regions = trace(annotation)
        self.others |= any(region.label == 0 for region in regions)
        scale = np.array([picture.shape[1], picture.shape[0]], np.float64)
        lines = []
        for region in regions:
            number = (region.label or len(self.about.classes)) - 1
            corners = (one_ring(region.parts) / scale).ravel()
            lines.append(" ".join([str(number), *(f"{n:.8g}" for n in corners)]) + "\n")
        path = _text_of(picture.file, self.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
        said = picture.to_json() | kept(annotation) | {"objects": [(r.instance, r.confidence) for r in regions]}
        self.sidecar.add(picture.file.relative_to(self.folder).as_posix(), said)

    def close(self) -> None:
        """Write data.yaml."""
        self.sidecar.close()
        named = [*self.about.classes[1:], *([self.about.classes[0]] if self.others else [])]
        lines = ["path: .", "train: images", "val: images", f"license: {json.dumps(self.about.attribution)}", "names:"]
        lines += [f"  {number}: {json.dumps(name)}" for number, name in enumerate(named)]
        (self.folder / DOCUMENT).write_text("\n".join(lines) + "\n", encoding="utf-8")
