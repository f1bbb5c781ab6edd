"""COCO panoptic (https://cocodataset.org/#format-data): a PNG of segment ids a picture, R + 256 G + 256² B, and a JSON.

Segment 0 is no segment, and is ignored; 'other' is a category of its own, since every pixel has a segment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.errors import UnusableInput
from tasks.raster.annotations.coco import (
    about_documents,
    categories,
    category_names,
    category_of,
    documents,
    image_entry,
)
from tasks.raster.annotations.documents import Pictures, open_picture, reading
from tasks.raster.annotations.picture import CERTAIN, KEY, NONE, About, Annotation, AnnotationSet, Picture
from tasks.raster.classes import IGNORE
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window
from tasks.raster.opening import open_raster

DOCUMENT, FOLDER = "panoptic.json", "panoptic"
LARGEST = 1 << 24


def write_numbers(path: Path, numbers: NDArray[np.integer[Any]]) -> None:
    """Write (y, x) numbers below 2^24 as the red, green and blue of a PNG.

    Raises:
        UnusableInput: one is larger.
    """
    if numbers.size and numbers.max() >= LARGEST:
        raise UnusableInput(f"A picture has more than {LARGEST} objects; export smaller ones with --size.")
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = [(numbers >> shift & 0xFF).astype(np.uint8) for shift in (0, 8, 16)]
    Image.fromarray(np.stack(planes, axis=-1)).save(path)


def read_numbers(path: Path, shape: tuple[int, int], window: Window) -> NDArray[np.int64]:
    """What `write_numbers` wrote, (y, x) in a window of a picture of a shape.

    Raises:
        UnusableInput: missing, of another size, or without three bands.
    """
    with open_raster(path) as source:
        if (source.height, source.width) != shape or source.count < 3:  # noqa: PLR2004 - red, green, blue
            raise UnusableInput(
                f"{path} has {source.width} x {source.height} pixels and {source.count} bands; expected "
                f"{shape[1]} x {shape[0]} pixels of red, green and blue."
            )
        red, green, blue = source.read((1, 2, 3), window=rasterio.windows.Window.from_slices(*window)).astype(np.int64)
    numbers: NDArray[np.int64] = red | green << 8 | blue << 16
    return numbers


def open_panoptic(folder: Path) -> AnnotationSet:
    """Open a panoptic data set.

    Raises:
        UnusableInput: no such document, or a damaged one.
    """
    found = documents(folder, "segments_info")
    images = Pictures(folder, without=frozenset({FOLDER, *(path.stem.lower() for path in found)}))
    pictures: list[Picture] = []
    left_out = list(images.left_out)
    entries: dict[str, tuple[Path, Path, Mapping[int, tuple[int, int, int]]]] = {}
    for path, document in found.items():
        with reading(path):
            about = about_documents(found)
            names = category_names(document)
            of_image = {entry["image_id"]: entry for entry in document["annotations"]}
            for image in document["images"]:
                file = images.find(str(image["file_name"]), path.parent)
                entry = of_image.get(image["id"])
                mask = entry and _mask(path, str(entry["file_name"]))
                if file is None or entry is None or mask is None:
                    lacking = "is not there" if file is None else "has no segments"
                    left_out.append(f"The picture {image['file_name']} of {path} {lacking}.")
                    continue
                name = images.names[file]
                size = (int(image["height"]), int(image["width"]))
                pictures.append(open_picture(name, file, image.get(KEY), size=size))
                entries[name] = path, mask, _segments(entry, names, document["categories"], about)

    def read(picture: Picture, window: Window) -> Annotation:
        path, mask, segments = entries[picture.name]
        numbers = read_numbers(mask, picture.shape, window)
        ids = np.array([0, *segments])
        columns = np.array([(IGNORE, 0, NONE), *segments.values()])
        order = np.argsort(ids)
        place = np.searchsorted(ids[order], numbers).clip(0, len(ids) - 1)
        known = ids[order][place] == numbers
        if not known.all():
            raise UnusableInput(f"{mask} has the segment {numbers[~known][0]}, of which {path} says nothing.")
        label, instance, confidence = columns[order[place]].transpose(2, 0, 1)
        return Annotation(label.astype(np.uint8), instance.astype(np.uint32), confidence.astype(np.uint8))

    return AnnotationSet(about, tuple(pictures), read, lambda p: entries[p.name][:2], tuple(left_out))


def _mask(document: Path, said: str) -> Path | None:
    """The segments' PNG: in a folder that is called as the document is, or in ours."""
    places = (folder / Path(said).name for folder in (document.with_suffix(""), document.parent / FOLDER))
    return next((path for path in places if path.is_file()), None)


def _segments(
    entry: Mapping[str, Any], names: Mapping[int, str], declared: list[Mapping[str, Any]], about: About
) -> dict[int, tuple[int, int, int]]:
    """Label, instance and confidence of each segment of a picture."""
    things = {int(c["id"]) for c in declared if c.get("isthing", 1)}
    found = {}
    for segment in entry["segments_info"]:
        said, number, category = segment.get(KEY) or {}, int(segment["id"]), int(segment["category_id"])
        own = number if category in things and not segment.get("iscrowd") else 0
        label = about.id(names[category])
        found[number] = label, int(said.get("instance", own)), int(said.get("confidence", CERTAIN))
    return found


class PanopticWriter:
    """Writes a PNG a picture; the JSON at the end."""

    def __init__(self, folder: Path, about: About) -> None:
        """Begin."""
        self.folder, self.about = folder, about
        self.images: list[dict[str, Any]] = []
        self.annotations = (folder / f"{DOCUMENT}.annotations").open("w+", encoding="utf-8")
        self.things: set[int] = set()

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write one picture's segments."""
        key = annotation.label.astype(np.int64) << 32 | annotation.instance
        key[annotation.label == IGNORE] = -1
        values, place = np.unique(key, return_inverse=True)
        place = place.reshape(key.shape) + (0 if values[0] == -1 else 1)
        values = values[values >= 0]
        file = picture.file.with_suffix(".png").name
        write_numbers(self.folder / FOLDER / file, place)
        counts = np.bincount(place.ravel(), minlength=len(values) + 1)[1:]
        total = np.bincount(place.ravel(), annotation.confidence.ravel(), len(values) + 1)[1:]
        segments = []
        for number, (value, count, sure) in enumerate(zip(values.tolist(), counts, total, strict=True), 1):
            label, instance = value >> 32, value & 0xFFFFFFFF
            category = category_of(label, self.about)
            if instance:
                self.things.add(category)
            ours = {"instance": instance, "confidence": min(round(sure / count), CERTAIN)}
            segments.append({"id": number, "category_id": category, "area": int(count), "iscrowd": 0, KEY: ours})
        boxes = _boxes(place, len(values))
        for segment, box in zip(segments, boxes, strict=True):
            segment["bbox"] = box
        self.images.append(image_entry(self.folder, picture, len(self.images) + 1, {}))
        entry = {"image_id": len(self.images), "file_name": file, "segments_info": segments}
        self.annotations.write(f"{',' if len(self.images) > 1 else ''}\n{json.dumps(entry)}")

    def close(self) -> None:
        """Write the document."""
        info = {"description": "made by geoloom", "contributor": self.about.attribution, KEY: self.about.to_json()}
        made = [c | {"isthing": int(c["id"] in self.things)} for c in categories(self.about, others=True)]
        head = {"info": info, "licenses": [], "images": self.images, "categories": made}
        with (self.folder / DOCUMENT).open("w", encoding="utf-8") as file:
            file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "annotations": [')
            self.annotations.seek(0)
            for line in self.annotations:
                file.write(line)
            file.write("\n]}\n")
        self.annotations.close()
        Path(self.annotations.name).unlink()


def _boxes(place: NDArray[np.integer[Any]], count: int) -> list[list[int]]:
    """x, y, width and height of the box around each number from 1 on."""
    from scipy import ndimage

    found = ndimage.find_objects(place.astype(np.int32), max_label=count)
    return [[c.start, r.start, c.stop - c.start, r.stop - r.start] for r, c in found]
