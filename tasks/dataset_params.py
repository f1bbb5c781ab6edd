"""What the steps that bring data sets in and out take."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator

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


SPLITS = ("train", "val", "test")
"""Their names, in the order of the shares."""


class ChipSetParams(Parameters):
    """How labelled workspaces become chips in splits that share no place."""

    chip: int = Field(default=256, ge=32, le=4096, description="Pixels a side of a chip.")
    splits: Names = Field(
        default=("0.8", "0.1", "0.1"),
        description="Shares of training, validation and test, which sum to 1; two numbers make no test split.",
    )
    by: Literal["blocks", "scenes"] = Field(
        default="blocks",
        description="What goes to a split as a whole: square blocks of a scene, a chip apart; or scenes.",
    )
    seed: int = Field(default=0, ge=0, description="Chooses which blocks or scenes go to which split.")
    least_labelled: float = Field(
        default=0.5, ge=0, le=1, description="Share of a chip's pixels that must be labelled for it to be kept."
    )

    @field_validator("splits")
    @classmethod
    def _sum_to_one(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        shares = [_number(text) for text in given]
        fits = 1 <= len(shares) <= len(SPLITS) and all(0 <= share <= 1 for share in shares)
        if not fits or not shares[0] or abs(sum(shares) - 1) > 1e-6:  # noqa: PLR2004 - as written in decimal
            raise ValueError(
                f"the splits {','.join(given)} are not shares of training, validation and test that sum to 1, "
                "the first above 0; give them as 0.8,0.1,0.1"
            )
        return given

    @property
    def shares(self) -> dict[str, float]:
        """Share by split, of those that are asked for."""
        pairs = zip(SPLITS, map(float, self.splits), strict=False)
        return {name: share for name, share in pairs if share}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
