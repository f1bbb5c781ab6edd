"""What the steps that bring data sets in and out take."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params import Names, Parameters

Format = Literal["coco", "coco-panoptic", "labelme", "cvat", "yolo", "dota", "geojson", "geopackage", "masks"]
Dataset = Literal["dubai", "inria", "isaid", "massachusetts-roads", "spacenet-buildings", "spacenet-roads"]
"""Published data sets; 'dota' is one, too."""


class DatasetExportParams(Parameters):
    """How labels are written as a data set."""

    format: Format = Field(description="How annotations are written.")
    size: int = Field(default=1024, ge=64, le=16384, description="Pixels a side of a picture.")
    pictures: Literal["png", "jpg"] = Field(
        default="png", description="How pictures are written; png keeps 8-bit pixels and what is no data."
    )


class DatasetImportParams(Parameters):
    """How a data set becomes workspaces."""

    classes: Names = Field(
        default=(), description="The workspaces' class names in id order, 'other' first; the data set's own by default."
    )
    rest: Literal["ignore", "other"] = Field(
        default="ignore",
        description="What becomes of pixels of which a data set knows only that they are none of its classes: ignore "
        "(255; another class may be there), or other (to train on that data set alone).",
    )
