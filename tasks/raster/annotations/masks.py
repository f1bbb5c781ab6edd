"""Masks: a PNG a picture, in `masks`, whose colours are classes, and `labelmap.txt` that says which.

`labelmap.txt` has a line `name:red,green,blue::` a class, as CVAT and VOC tools write it. What geoloom writes has the
class ids as palette indexes, 255 for what is ignored, and world files; objects, where there are any, lie in `instances`
as numbers in red, green and blue, and which is which, and what pictures are windows of, stands in `geoloom.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.errors import UnusableInput
from tasks.raster.annotations.documents import Pictures, Sidecar, open_picture, read_sidecar, reading
from tasks.raster.annotations.panoptic import read_numbers, write_numbers
from tasks.raster.annotations.picture import CERTAIN, NONE, About, Annotation, AnnotationSet, Picture, about_classes
from tasks.raster.annotations.places import write_place
from tasks.raster.classes import IGNORE, class_map
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window
from tasks.raster.opening import open_raster
from tasks.raster.places import SUFFIXES

DOCUMENT, MASKS, INSTANCES = "labelmap.txt", "masks", "instances"
WHITE = (255, 255, 255)
"""The colour of what is ignored."""
Colour = tuple[int, int, int]


def open_masks(folder: Path) -> AnnotationSet:
    """Open a data set of masks.

    Raises:
        UnusableInput: no labelmap.txt, or no mask.
    """
    files = Pictures(folder, without=frozenset({MASKS, INSTANCES}))
    colours = _read_map(folder / DOCUMENT)
    ours, places = read_sidecar(folder)
    about = ours or about_classes([name for name, _ in colours])
    table = [(colour, about.id(name)) for name, colour in colours]
    masks: dict[str, Path] = {}
    pictures: list[Picture] = []
    left_out = list(files.left_out)
    for file in files.files:
        mask = next((p for s in SUFFIXES if (p := _mask_of(file, folder).with_suffix(s)).is_file()), None)
        if mask is None:
            left_out.append(f"The picture {file} has no mask {_mask_of(file, folder)}.")
            continue
        picture = open_picture(files.names[file], file, places.get(file.relative_to(folder).as_posix()))
        pictures.append(picture)
        masks[picture.name] = mask
    if not masks:
        raise UnusableInput(f"{folder} holds no masks: looked for {MASKS}/NAME.png for each picture.")

    def read(picture: Picture, window: Window) -> Annotation:
        mask = masks[picture.name]
        label = read_colours(mask, picture.shape, window, table)
        said = places.get(picture.file.relative_to(folder).as_posix()) or {}
        instance = np.zeros(label.shape, np.uint32)
        if said.get("objects"):
            with reading(folder / INSTANCES):
                numbers = read_numbers(folder / INSTANCES / mask.name, picture.shape, window)
                instance = np.array([0, *said["objects"]], np.uint32)[numbers]
        return Annotation(label, instance, np.where(label == IGNORE, np.uint8(NONE), np.uint8(CERTAIN)))

    def made_from(picture: Picture) -> tuple[Path, ...]:
        own = (folder / INSTANCES / masks[picture.name].name,)
        return (folder / DOCUMENT, masks[picture.name], *(p for p in own if p.is_file()))

    return AnnotationSet(about, tuple(pictures), read, made_from, tuple(left_out))


def read_colours(
    path: Path, shape: tuple[int, int], window: Window, table: list[tuple[Colour, int]], *, rest: int | None = None
) -> NDArray[np.uint8]:
    """Labels of a window of a mask that is painted in colours, by palette or not.

    Args:
        path: the mask.
        shape: rows and columns that are wanted of it; it may have more of either.
        window: within them.
        table: colours and their labels; of a mask in one band without a palette, a value is a place in it. Of two
            classes with one colour, a palette tells them apart where it is the table's, place by place.
        rest: the label of any other colour; None where there must be none.

    Raises:
        UnusableInput: too small, or with a colour that is not in the table.
    """
    with open_raster(path) as source:
        if source.height < shape[0] or source.width < shape[1]:
            raise UnusableInput(
                f"{path} has {source.width} x {source.height} pixels and its picture {shape[1]} x {shape[0]}; get the "
                "mask of that picture."
            )
        palette = source.colormap(1) if source.colorinterp[0] == rasterio.enums.ColorInterp.palette else None
        bands = (1, 2, 3) if source.count >= 3 else (1,)  # noqa: PLR2004 - red, green, blue
        values = source.read(bands, window=rasterio.windows.Window.from_slices(*window)).astype(np.int64)
    labels: dict[int, int] = {}
    if len(bands) == 1 and palette is None:
        codes, labels = values[0], {place: label for place, (_, label) in enumerate(table)}
    elif palette is not None:
        codes = values[0]
        own = {place: tuple(colour[:3]) for place, colour in palette.items()}
        if all(own.get(_place(n, label)) == colour for n, (colour, label) in enumerate(table)):
            labels = {_place(n, label): label for n, (_, label) in enumerate(table)}
        else:
            known = dict(reversed(table))
            labels = {place: known[colour] for place, colour in own.items() if colour in known}
    else:
        codes = values[0] << 16 | values[1] << 8 | values[2]
        labels = {red << 16 | green << 8 | blue: label for (red, green, blue), label in reversed(table)}
    found, place = np.unique(codes, return_inverse=True)
    strange = [int(code) for code in found if int(code) not in labels]
    if strange and rest is None:
        named = str(strange[0]) if len(bands) == 1 else ",".join(str(strange[0] >> s & 0xFF) for s in (16, 8, 0))
        raise UnusableInput(f"{path} has pixels of {named}, which is no class; name it in {DOCUMENT}, or 'ignore' it.")
    lookup = np.array([labels.get(int(code), IGNORE if rest is None else rest) for code in found], np.uint8)
    label: NDArray[np.uint8] = lookup[place.reshape(codes.shape)]
    return label


def _place(number: int, label: int) -> int:
    """The palette index of a line of the table: its number, and 255 for what is ignored."""
    return IGNORE if label == IGNORE else number


def _read_map(path: Path) -> list[tuple[str, Colour]]:
    if not path.is_file():
        raise UnusableInput(
            f"There is no {path}, which says what the masks' colours are: a line 'road:74,74,84::' each."
        )
    found: list[tuple[str, Colour]] = []
    with reading(path):
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, colour = line.split(":")[:2]
            red, green, blue = (int(n) for n in colour.split(","))
            found.append((name.strip(), (red, green, blue)))
    return found


def _mask_of(file: Path, folder: Path) -> Path:
    """Where a picture's mask is: in `masks`, below it as the picture is below the folder that is called images."""
    parts = list(file.relative_to(folder).parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 1 - parts[::-1].index("images")] = MASKS
    else:
        parts.insert(0, MASKS)
    return folder.joinpath(*parts).with_suffix(".png")


class MasksWriter:
    """Writes a mask a picture, and one of objects where there are any."""

    def __init__(self, folder: Path, about: About) -> None:
        """Begin."""
        self.folder, self.about = folder, about
        self.sidecar = Sidecar(folder, about)
        self.colours = class_map(about.classes).palette()
        self.colours[IGNORE] = WHITE
        lines = ["# label:color_rgb:parts:actions"]
        numbered = [*enumerate(about.classes), (IGNORE, "ignore")]
        lines += [f"{name}:{','.join(map(str, self.colours[number]))}::" for number, name in numbered]
        (folder / DOCUMENT).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def add(self, picture: Picture, annotation: Annotation) -> None:
        """Write one picture's masks."""
        path = _mask_of(picture.file, self.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = Image.fromarray(annotation.label)
        mask.putpalette(self.colours.tobytes())
        mask.save(path)
        write_place(path, picture.grid)
        said: Mapping[str, Any] = picture.to_json()
        objects, place = np.unique(annotation.instance, return_inverse=True)
        if objects.any():
            ids = objects[objects > 0]
            numbers = place.reshape(annotation.instance.shape) + (1 if objects[0] else 0)
            write_numbers(self.folder / INSTANCES / path.name, numbers)
            said = {**said, "objects": ids.tolist()}
        self.sidecar.add(picture.file.relative_to(self.folder).as_posix(), said)

    def close(self) -> None:
        """End the sidecar."""
        self.sidecar.close()
