"""CVAT for images 1.1 (https://docs.cvat.ai, XML): images with polygons, masks and boxes.

An area without holes is polygons, one with holes is a mask; those of one `group_id` are one object. Read are polygons,
boxes, ellipses and masks, the lowest `z_order` first. `<meta><geoloom>` says what classes are and where pictures lie.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from infra.errors import UnusableInput
from tasks.raster.annotations.documents import Pictures, open_picture, read_xml, reading
from tasks.raster.annotations.drawn import drawn_set, ignored_region, kept
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
from tasks.raster.annotations.regions import Region, box_ring, pixels_of, ring_of, trace
from tasks.raster.annotations.runs import counts_of, indexes_of

DOCUMENT = "annotations.xml"
CORNERS = 64
"""Of an ellipse."""
DRAWN = ("polygon", "mask", "box", "ellipse")
EMPTY = ("polyline", "points", "cuboid", "skeleton")
"""Elements that have no area, or none that is a picture's."""


def open_cvat(folder: Path) -> AnnotationSet:
    """Open an export of CVAT: its XML, and pictures.

    Raises:
        UnusableInput: there is no such XML, or a damaged one.
    """
    files = Pictures(folder)
    found = {path: root for path in sorted(folder.glob("*.xml")) if (root := read_xml(path)).tag == "annotations"}
    if len(found) != 1:
        raise UnusableInput(
            f"{folder} holds {len(found)} documents of CVAT; looked in it for one .xml of <annotations>."
        )
    ((path, root),) = found.items()
    pictures: list[Picture] = []
    left_out = list(files.left_out)
    entries: dict[str, ET.Element] = {}
    with reading(path):
        said: Mapping[str, Any] = json.loads(root.findtext(f"meta/{KEY}") or "{}")
        places = said.get("pictures", {})
        declared = [name.text or "" for name in root.findall("meta//labels/label/name")]
        used = [one.attrib["label"] for one in root.iterfind("image/*") if one.tag in DRAWN]
        about = about_from(said) or about_classes(
            [*declared, *sorted(set(used))], root.findtext("meta//owner/username") or ""
        )
        for image in root.iterfind("image"):
            name = image.attrib["name"]
            file = files.find(name, folder)
            if file is None:
                left_out.append(f"The picture {name} that {path} names is not in {folder}.")
                continue
            size = (int(image.attrib["height"]), int(image.attrib["width"]))
            pictures.append(open_picture(files.names[file], file, places.get(name), size=size))
            entries[pictures[-1].name] = image

    def regions(picture: Picture) -> list[Region]:
        image = entries[picture.name]
        with reading(path):
            drawn = [one for one in image if one.tag in (*DRAWN, *EMPTY)]
            drawn.sort(key=lambda one: int(one.attrib.get("z_order", 0)))
            free = max((int(one.attrib.get("group_id", 0)) for one in drawn), default=0)
            made = [_region(one, about, picture.shape, free + n, known=about.ours) for n, one in enumerate(drawn, 1)]
            return [*made, *ignored_region(places.get(image.attrib["name"]), picture.shape)]

    return drawn_set(about, pictures, regions, files=lambda _: (path,), left_out=left_out)


def _region(one: ET.Element, about: About, shape: tuple[int, int], free: int, *, known: bool) -> Region:
    """A region; one without a group is an object by itself, numbered `free`, unless it is `known` to be none."""
    said = one.attrib
    confidence = next((a.text for a in one.iterfind("attribute") if a.get("name") == "confidence"), None)
    head = (
        about.id(said["label"]),
        int(said.get("group_id") or (0 if known else free)),
        min(round(float(confidence) * CERTAIN), CERTAIN) if confidence else CERTAIN,
    )
    if one.tag == "mask":
        return Region(*head, pixels=_mask(said, shape))
    if one.tag == "polygon":
        corners = [float(n) for pair in said["points"].split(";") for n in pair.split(",")]
        return Region(*head, parts=((ring_of(corners),),))
    if one.tag == "box":
        return Region(*head, parts=((box_ring(*(float(said[k]) for k in ("xtl", "ytl", "xbr", "ybr"))),),))
    if one.tag == "ellipse":
        x, y, rx, ry = (float(said[k]) for k in ("cx", "cy", "rx", "ry"))
        turn, turns = math.radians(float(said.get("rotation", 0))), np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        along, across = rx * np.cos(turns), ry * np.sin(turns)
        ring = [x + along * np.cos(turn) - across * np.sin(turn), y + along * np.sin(turn) + across * np.cos(turn)]
        return Region(*head, parts=((ring_of(np.stack(ring, axis=1)),),))
    raise UnusableInput(
        f"There are {one.tag} of the class '{said['label']}', which have no area; draw polygons instead."
    )


def _mask(said: Mapping[str, str], shape: tuple[int, int]) -> Any:
    """Flat indexes of a mask's pixels: runs along the rows of its box, of 0s first."""
    left, top, width, height = (int(float(said[k])) for k in ("left", "top", "width", "height"))
    counts = [int(n) for n in said["rle"].split(",")]
    missing = width * height - sum(counts)
    y, x = np.divmod(
        indexes_of([*counts, *([missing] if missing > 0 and len(counts) % 2 == 0 else [])], width * height), width
    )
    y, x = y + top, x + left
    there = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    return y[there] * shape[1] + x[there]


class CvatWriter:
    """Writes images as they come; the head, which says where they lie, is put before them at the end."""

    def __init__(self, folder: Path, about: About) -> None:
        """Begin."""
        self.folder, self.about = folder, about
        self.images = (folder / f"{DOCUMENT}.images").open("w+", encoding="utf-8")
        self.places: dict[str, Any] = {}

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write one picture's shapes."""
        name = picture.file.relative_to(self.folder).as_posix()
        height, width = picture.shape
        said = f'id="{len(self.places)}" name={quoteattr(name)} width="{width}" height="{height}"'
        self.places[name] = picture.to_json() | kept(annotation)
        self.images.write(f"  <image {said}>\n")
        for region in trace(annotation):
            for tag, drawn in _drawn(region, picture.shape):
                group = f' group_id="{region.instance}"' if region.instance else ""
                self.images.write(
                    f'    <{tag} label={quoteattr(self.about.classes[region.label])} source="manual" occluded="0" '
                    f'{drawn} z_order="0"{group}>\n'
                    f'      <attribute name="confidence">{region.confidence / CERTAIN:.4f}</attribute>\n    </{tag}>\n'
                )
        self.images.write("  </image>\n")

    def close(self) -> None:
        """Write the document."""
        attribute = (
            "<attributes><attribute><name>confidence</name><mutable>False</mutable><input_type>text</input_type>"
            "<default_value>1</default_value><values></values></attribute></attributes>"
        )
        labels = "".join(
            f"      <label><name>{escape(name)}</name>{attribute}</label>\n" for name in self.about.classes
        )
        ours = json.dumps(self.about.to_json() | {"pictures": self.places})
        with (self.folder / DOCUMENT).open("w", encoding="utf-8") as file:
            file.write(
                '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n'
                f"    <task><name>geoloom</name><size>{len(self.places)}</size><mode>annotation</mode><labels>\n"
                f"{labels}    </labels></task>\n    <{KEY}>{escape(ours)}</{KEY}>\n  </meta>\n"
            )
            self.images.seek(0)
            for line in self.images:
                file.write(line)
            file.write("</annotations>\n")
        self.images.close()
        Path(self.images.name).unlink()


def _drawn(region: Region, shape: tuple[int, int]) -> list[tuple[str, str]]:
    """The elements of a region: a tag, and what says where it is."""
    if not region.has_holes:
        rings = [";".join(f"{x:g},{y:g}" for x, y in part[0].tolist()) for part in region.parts]
        return [("polygon", f'points="{ring}"') for ring in rings]
    y, x = np.divmod(pixels_of(region, shape), shape[1])
    top, left, height, width = int(y.min()), int(x.min()), int(np.ptp(y)) + 1, int(np.ptp(x)) + 1
    counts = counts_of((y - top) * width + x - left, width * height)
    rle = ", ".join(map(str, counts))
    return [("mask", f'rle="{rle}" left="{left}" top="{top}" width="{width}" height="{height}"')]
