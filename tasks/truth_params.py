"""How a truth is read, and what is scored against it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params import Names, Parameters


class TruthParams(Parameters):
    """A truth that exists, and how to read it."""

    truth: str | None = Field(default=None, description="A class raster or a vector file.")
    truth_classes: Names = Field(
        default=(),
        description="Names of a class raster's ids from 0, where the file does not say; 'ignore' is no class.",
    )
    vector_class: str | None = Field(
        default=None, description="The class of vectors that name none by a 'class' column or their layer."
    )
    road_width: float = Field(
        default=8.0,
        gt=0,
        le=200,
        description="Width of road lines that say nothing of theirs; metres, pixels without CRS.",
    )
    assume_crs: str | None = Field(default=None, description="What the coordinates of vectors are in that name no CRS.")


class EvaluateParams(TruthParams):
    """What to score, against what."""

    truth: str = Field(description="A class raster or a vector file.")
    what: Literal["map", "labels"] = Field(default="map", description="Score classes.tif, or the labels.")
    ablation: bool = Field(default=False, description="Score labels that were made from this very truth, on purpose.")
    also: Names = Field(
        default=("boundaries", "objects", "roads", "curves", "calibration"),
        description="Scores besides those by pixels; 'pixels' for none: it goes many times as fast.",
    )
    object_class: str = Field(default="building", description="The class whose objects are scored one by one.")
    road_class: str = Field(default="road", description="The class that is scored as a network of roads.")
    cell: int = Field(
        default=512, ge=64, le=8192, description="Pixels a side of the cells that intervals are drawn from."
    )
