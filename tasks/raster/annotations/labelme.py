"""Labelme (https://github.com/wkentaro/labelme): a JSON beside each picture, with shapes.

Shapes of one label and one `group_id` are one object. A polygon with holes is one ring that goes there and back. Read
are polygons, rectangles, circles and masks; a point or a line has no area, and is refused. The key `geoloom` says where
the picture lies.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import UnusableInput
from tasks.raster.annotations.documents import Pictures, open_picture, read_json, reading
from tasks.raster.annotations.drawn import drawn_set, ignored_region, kept, object_key
from tasks.raster.annotations.picture import (
    CERTAIN,
    KEY,
    About,
    Annotation,
    AnnotationSet,
    Picture,
    about_classes,
    about_from,
)
from tasks.raster.annotations.regions import Region, Ring, box_ring, one_ring, ring_of, trace

CORNERS = 64
"""Of a circle."""


def open_labelme(folder: Path) -> AnnotationSet:
    """Open a folder of pictures with a JSON each.

    Raises:
        UnusableInput: there is none, or a damaged one.
    """
    files = Pictures(folder)
    documents: dict[str, Path] = {}
    pictures: list[Picture] = []
    left_out = list(files.left_out)
    names: dict[str, None] = {}
    ours: About | None = None
    annotated: set[Path] = set()
    for path in sorted(folder.rglob("*.json")):
        document = read_json(path)
        if not isinstance(document, dict) or "shapes" not in document or "imagePath" not in document:
            continue
        with reading(path):
            file = files.find(str(document["imagePath"]), path.parent)
            if file is None:
                left_out.append(f"The picture {document['imagePath']} that {path} names is not in {folder}.")
                continue
            said = document.get(KEY) or {}
            size = (int(document["imageHeight"]), int(document["imageWidth"])) if document.get("imageHeight") else None
            picture = open_picture(files.names[file], file, said.get("picture"), size=size)
            ours = ours or about_from(said)
            names |= dict.fromkeys(str(shape["label"]) for shape in document["shapes"])
        annotated.add(file)
        documents[picture.name] = path
        pictures.append(picture)
    if not documents and not left_out:
        raise UnusableInput(f"{folder} holds no Labelme document: looked for .json with 'shapes' and 'imagePath'.")
    left_out += [f"The picture {file} has no annotation." for file in files.files if file not in annotated]
    about = ours or about_classes(sorted(names))

    def regions(picture: Picture) -> list[Region]:
        path = documents[picture.name]
        document = read_json(path)
        with reading(path):
            said = (document.get(KEY) or {}).get("picture")
            return [*_regions(document["shapes"], about, picture.shape), *ignored_region(said, picture.shape)]

    return drawn_set(about, pictures, regions, files=lambda p: (documents[p.name],), left_out=left_out)


def _regions(shapes: Sequence[Mapping[str, Any]], about: About, shape: tuple[int, int]) -> list[Region]:
    found = []
    used = {int(s["group_id"]) for s in shapes if s.get("group_id") is not None}
    free = max(used, default=0)
    for one in shapes:
        said = one.get(KEY) or {}
        label = about.id(str(one["label"]))
        number = said.get("instance", one.get("group_id"))
        if number is None:  # drawn by itself, so an object by itself
            free += 1
            number = free
        region = Region(label, int(number), int(said.get("confidence", CERTAIN)))
        kind, points = one.get("shape_type", "polygon"), one["points"]
        if kind == "mask":
            found.append(Region(label, int(number), region.confidence, pixels=_mask(one["mask"], points, shape)))
        else:
            ring = _ring(kind, points, str(one["label"]))
            found.append(Region(label, int(number), region.confidence, parts=((ring,),)))
    return found


def _ring(kind: str, points: Sequence[Sequence[float]], name: str) -> Ring:
    if kind == "polygon":
        return ring_of(points)  # type: ignore[arg-type]
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        return box_ring(x0, y0, x1, y1)
    if kind == "circle":
        (x, y), rim = points
        turns = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        radius = math.dist((x, y), rim)
        return ring_of(np.stack([x + radius * np.cos(turns), y + radius * np.sin(turns)], axis=1))
    raise UnusableInput(f"There is a {kind} of the class '{name}', which has no area; draw a polygon in its place.")


def _mask(text: str, points: Sequence[Sequence[float]], shape: tuple[int, int]) -> Any:
    """Flat indexes of a mask's pixels: a PNG in base64 of the box between two points."""
    from PIL import Image

    try:
        inside = np.asarray(Image.open(io.BytesIO(base64.b64decode(text, validate=True)))) > 0
    except (binascii.Error, OSError, Image.DecompressionBombError) as error:
        raise UnusableInput(f"A mask is no PNG in base64 ({error}).") from error
    left, top = (round(float(n)) for n in points[0])
    y, x = np.nonzero(inside.reshape(inside.shape[:2]))
    y, x = y + top, x + left
    there = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    return (y[there] * shape[1] + x[there]).astype(np.int64)


class LabelmeWriter:
    """Writes a JSON beside each picture."""

    def __init__(self, _: Path, about: About) -> None:
        """Begin."""
        self.about = about

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write one picture's document."""
        shapes = [
            {
                "label": self.about.classes[region.label],
                "points": one_ring([part]).tolist(),
                "group_id": region.instance or None,
                "shape_type": "polygon",
                "flags": {},
                KEY: object_key(region),
            }
            for region in trace(annotation)
            for part in region.parts
        ]
        document = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": picture.file.name,
            "imageData": None,
            "imageHeight": picture.shape[0],
            "imageWidth": picture.shape[1],
            KEY: self.about.to_json() | {"picture": picture.to_json() | kept(annotation)},
        }
        text = json.dumps(document, ensure_ascii=False)
        picture.file.with_suffix(".json").write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Nothing belongs to all pictures."""
