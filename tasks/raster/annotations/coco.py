"""COCO instances (https://cocodataset.org/#format-data): one JSON of images, annotations and categories.

An area without holes is polygons, one with holes is runs. Read are polygons, runs in both spellings, and boxes where
there is no segmentation. `images[i]["geoloom"]` says where a picture lies, `annotations[i]["geoloom"]` which object an
area is of, `info["geoloom"]` what the classes are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import UnusableInput
from tasks.raster.annotations.documents import Pictures, open_picture, read_json, reading, require_folder
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
from tasks.raster.annotations.regions import Region, box_ring, large_first, pixels_of, ring_of, trace
from tasks.raster.annotations.runs import by_columns, by_rows, counts_of, indexes_of, unpack

DOCUMENT = "annotations.json"
LARGEST_ID = (1 << 32) - 1


def documents(folder: Path, entry: str) -> dict[Path, Mapping[str, Any]]:
    """The COCO documents of a folder, or of `annotations` in it, whose annotations have an entry of this name.

    Raises:
        UnusableInput: there is none.
    """
    require_folder(folder)
    found: dict[Path, Mapping[str, Any]] = {}
    for path in [*sorted(folder.glob("*.json")), *sorted(folder.glob("annotations/*.json"))]:
        document = read_json(path)
        if not isinstance(document, dict) or not {"images", "annotations", "categories"} <= set(document):
            continue
        if not document["annotations"] or any(entry in a for a in document["annotations"][:1]):
            found[path] = document
    if not found:
        raise UnusableInput(
            f"{folder} holds no COCO document: looked in it and in 'annotations' for a .json with images, categories, "
            f"and annotations that have '{entry}'."
        )
    return found


def category_names(document: Mapping[str, Any]) -> dict[int, str]:
    """Names of a document's categories by their ids."""
    return {int(c["id"]): str(c["name"]) for c in document["categories"]}


def about_documents(found: Mapping[Path, Mapping[str, Any]]) -> About:
    """What documents say of the data set: what geoloom wrote, or their categories in the order of their ids.

    Raises:
        UnusableInput: they name no class.
    """
    first = next(iter(found.values()))
    info = first.get("info")
    ours = about_from(info.get(KEY)) if isinstance(info, dict) else None
    if ours is not None:
        return ours
    names = [name for document in found.values() for _, name in sorted(category_names(document).items())]
    licences = [str(entry.get("name", "")) for entry in first.get("licenses") or []]
    said = [str(info.get(k) or "") for k in ("description", "contributor")] if isinstance(info, dict) else []
    return about_classes(names, "; ".join(filter(None, dict.fromkeys([*said, *licences]))))


def open_coco(folder: Path) -> AnnotationSet:
    """Open a data set of COCO instances.

    Raises:
        UnusableInput: no such document, or a damaged one.
    """
    files = Pictures(folder)
    found = documents(folder, "bbox")
    pictures: list[Picture] = []
    left_out = list(files.left_out)
    entries: dict[str, tuple[Path, Mapping[str, Any], list[Mapping[str, Any]]]] = {}
    ids: dict[str, dict[int, int]] = {}
    for path, document in found.items():
        with reading(path):
            about = about_documents(found)
            ids[str(path)] = {number: about.id(name) for number, name in category_names(document).items()}
            of_image: dict[Any, list[Mapping[str, Any]]] = {}
            for entry in document["annotations"]:
                of_image.setdefault(entry["image_id"], []).append(entry)
            for image in document["images"]:
                file = files.find(str(image["file_name"]), path.parent)
                if file is None:
                    left_out.append(f"The picture {image['file_name']} that {path} names is not in {folder}.")
                    continue
                name = files.names[file]
                size = (int(image["height"]), int(image["width"]))
                pictures.append(open_picture(name, file, image.get(KEY), size=size))
                entries[name] = path, image, of_image.get(image["id"], [])

    def regions(picture: Picture) -> list[Region]:
        path, image, some = entries[picture.name]
        with reading(path):
            areas = [_region(entry, ids[str(path)], picture.shape) for entry in some]
            return [*large_first(areas), *ignored_region(image.get(KEY), picture.shape)]

    return drawn_set(about, pictures, regions, files=lambda p: (entries[p.name][0],), left_out=left_out)


def _region(entry: Mapping[str, Any], ids: Mapping[int, int], shape: tuple[int, int]) -> Region:
    said = entry.get(KEY) or {}
    number = int(entry.get("id", 0))
    if int(entry["category_id"]) not in ids:
        raise UnusableInput(
            f"The annotation {number} is of the category {entry['category_id']}, which is not declared."
        )
    crowd = bool(entry.get("iscrowd"))
    instance = int(said.get("instance", number if not crowd and 0 < number <= LARGEST_ID else 0))
    about = ids[int(entry["category_id"])], instance, int(said.get("confidence", CERTAIN))
    drawn = entry.get("segmentation")
    if isinstance(drawn, dict):
        if [int(n) for n in drawn["size"]] != list(shape):
            raise UnusableInput(
                f"The mask of annotation {number} is of {drawn['size']} and its picture of {list(shape)}."
            )
        counts = unpack(drawn["counts"]) if isinstance(drawn["counts"], str) else drawn["counts"]
        return Region(*about, pixels=by_rows(indexes_of(counts, shape[0] * shape[1]), shape))
    if drawn:
        return Region(*about, parts=tuple((ring_of(corners),) for corners in drawn))
    left, top, width, height = (float(n) for n in entry["bbox"])
    return Region(*about, parts=((box_ring(left, top, left + width, top + height),),))


class CocoWriter:
    """Writes the annotations of a picture as it comes; images and categories, which are few, at the end."""

    def __init__(self, folder: Path, about: About) -> None:
        """Begin the document."""
        self.about, self.folder = about, folder
        self.images: list[dict[str, Any]] = []
        self.others = False
        self.count = 0
        self.file = (folder / DOCUMENT).open("w", encoding="utf-8")
        info = {"description": "made by geoloom", "contributor": about.attribution, KEY: about.to_json()}
        self.file.write(f'{{"info": {json.dumps(info, ensure_ascii=False)}, "licenses": [], "annotations": [')

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write one picture's annotations."""
        number = len(self.images) + 1
        self.images.append(image_entry(self.folder, picture, number, kept(annotation)))
        for region in trace(annotation):
            self.file.write(",\n" if self.count else "\n")
            self.count += 1
            self.others |= region.label == 0
            entry = {"id": self.count, "image_id": number} | _entry(region, picture.shape, self.about)
            self.file.write(json.dumps(entry))

    def close(self) -> None:
        """Write images and categories."""
        images = json.dumps(self.images, ensure_ascii=False)
        made = json.dumps(categories(self.about, others=self.others), ensure_ascii=False)
        self.file.write(f'\n],\n"images": {images},\n"categories": {made}}}\n')
        self.file.close()


def category_of(label: int, about: About) -> int:
    """The id of a class's category: its own, and one after all others for 'other', as COCO counts from 1."""
    return label or len(about.classes)


def categories(about: About, *, others: bool) -> list[dict[str, Any]]:
    """The categories of a document, 'other' where it is used."""
    named = [*about.classes[1:], *([about.classes[0]] if others else [])]
    return [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(named, 1)]


def image_entry(folder: Path, picture: Picture, number: int, more: Mapping[str, Any]) -> dict[str, Any]:
    """What a document says of a picture."""
    return {
        "id": number,
        "file_name": picture.file.relative_to(folder).as_posix(),
        "width": picture.shape[1],
        "height": picture.shape[0],
        KEY: picture.to_json() | dict(more),
    }


def _entry(region: Region, shape: tuple[int, int], about: About) -> dict[str, Any]:
    left, top, right, bottom = (int(n) for n in region.box)
    if region.has_holes:
        pixels = pixels_of(region, shape)
        covered = len(pixels)
        counts = counts_of(by_columns(pixels, shape), shape[0] * shape[1])
        drawn: Any = {"size": list(shape), "counts": counts}
    else:
        drawn = [part[0].astype(np.int64).ravel().tolist() for part in region.parts]
        covered = round(region.size)
    return {
        "category_id": category_of(region.label, about),
        "segmentation": drawn,
        "area": covered,
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        KEY: object_key(region),
    }
