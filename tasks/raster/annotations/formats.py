"""The formats by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.raster.annotations.coco import CocoWriter, open_coco
from tasks.raster.annotations.cvat import CvatWriter, open_cvat
from tasks.raster.annotations.dota import DotaWriter, open_dota
from tasks.raster.annotations.labelme import LabelmeWriter, open_labelme
from tasks.raster.annotations.masks import MasksWriter, open_masks
from tasks.raster.annotations.panoptic import PanopticWriter, open_panoptic
from tasks.raster.annotations.picture import About, AnnotationSet, Writer
from tasks.raster.annotations.vector import GeoJsonWriter, GeoPackageWriter, open_geojson, open_geopackage
from tasks.raster.annotations.yolo import YoloWriter, open_yolo


@dataclass(frozen=True, slots=True)
class Format:
    """An annotation format."""

    open: Callable[[Path], AnnotationSet]
    """Opens the data set in a folder."""
    write: Callable[[Path, About], Writer]
    """Begins one in an empty folder."""
    images: str = "images"
    """Where in the folder pictures lie."""


FORMATS = {
    "coco": Format(open_coco, CocoWriter),
    "coco-panoptic": Format(open_panoptic, PanopticWriter),
    "labelme": Format(open_labelme, LabelmeWriter, images=""),
    "cvat": Format(open_cvat, CvatWriter),
    "yolo": Format(open_yolo, YoloWriter),
    "dota": Format(open_dota, DotaWriter),
    "geojson": Format(open_geojson, GeoJsonWriter),
    "geopackage": Format(open_geopackage, GeoPackageWriter),
    "masks": Format(open_masks, MasksWriter),
}
