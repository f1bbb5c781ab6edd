"""What an evaluation found out, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from models.metrics import Confusion, Scores
from tasks.raster.scores.apls import Apls
from tasks.raster.scores.boundary import BoundaryScores
from tasks.raster.scores.calibration import CalibrationScores
from tasks.raster.scores.cells import Cells, Interval, Intervals
from tasks.raster.scores.instance_scores import InstanceScores
from tasks.raster.scores.precision_recall import Curve
from tasks.raster.scores.relaxed import Relaxed
from tasks.raster.scores.topo import Topo

SLACK = 3
"""Pixels that a road may be off and still be found."""


@dataclass(frozen=True, slots=True)
class RoadScores:
    """How well roads were found."""

    relaxed: Relaxed
    """By pixels that may be a little off."""
    apls: Apls
    topo: Topo
    unit: str
    """m, or px where the scene has no CRS: of the networks' coordinates."""

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, None for NaN."""
        parts: dict[str, JsonValue] = {n: getattr(self, n).to_json() for n in ("relaxed", "apls", "topo")}
        return parts | {"slack_px": SLACK, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that an evaluation found out."""

    classes: tuple[str, ...]
    scores: Scores
    matrix: NDArray[np.int64]
    """(class, class) pixels, true class before predicted class."""
    cells: Cells
    intervals: Intervals
    scenes: dict[str, tuple[Scores, Intervals]]
    """Of each scene that went into the map, where there are several."""
    boundaries: BoundaryScores | None = None
    objects: InstanceScores | None = None
    roads: RoadScores | None = None
    curves: dict[str, Curve] | None = None
    """Of the classes that occur in the truth."""
    calibration: CalibrationScores | None = None
    named: Mapping[str, str] = field(default_factory=dict)
    """The class that `objects` and `roads` are of."""

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, None for NaN."""
        document: dict[str, Any] = {
            "classes": list(self.classes),
            **self.scores.to_json(),
            "confusion": self.matrix.tolist(),
            "confusion_by_truth": _shares(self.matrix),
            "intervals": _intervals_json(self.intervals),
            "cells": {"side": self.cells.side, "scores": _cells_json(self.cells)},
        }
        for name in ("boundaries", "objects", "roads", "calibration"):
            part = getattr(self, name)
            if part is not None:
                document[name] = part.to_json() | ({"class": self.named[name]} if name in self.named else {})
        if self.curves is not None:
            document["curves"] = {name: curve.to_json() for name, curve in self.curves.items()}
        if self.scenes:
            document["scenes"] = {
                name: scores.to_json() | {"intervals": _intervals_json(intervals)}
                for name, (scores, intervals) in self.scenes.items()
            }
        return document


def scores_of(matrix: NDArray[np.int64]) -> Scores:
    """The scores of a confusion matrix."""
    counted = Confusion(len(matrix))
    counted.matrix += matrix
    return counted.scores()


def _shares(matrix: NDArray[np.int64]) -> list[list[float | None]]:
    """Each row of a confusion matrix as shares of its truth; None in rows without any."""
    totals = matrix.sum(axis=1, keepdims=True)
    return [
        [None] * len(row) if total == 0 else [float(n / total) for n in row]
        for row, (total,) in zip(matrix.tolist(), totals.tolist(), strict=True)
    ]


def _intervals_json(intervals: Intervals) -> dict[str, JsonValue]:
    def plain(interval: Interval | None) -> JsonValue:
        return None if interval is None else [interval.low, interval.high]

    return {
        "level": 0.95,
        "cells": intervals.cells,
        **{name: [plain(one) for one in getattr(intervals, name)] for name in ("iou", "f1", "precision", "recall")},
        "mean_iou": plain(intervals.mean_iou),
        "pixel_accuracy": plain(intervals.pixel_accuracy),
    }


def _cells_json(cells: Cells) -> list[dict[str, JsonValue]]:
    """Of every cell with labelled pixels: where it begins, and its scores."""
    labelled, wrong = cells.labelled_and_wrong()
    found: list[dict[str, JsonValue]] = []
    for row, col in zip(*np.nonzero(labelled), strict=True):
        scores = scores_of(cells.counts[row, col]).to_json()
        begin = (axis.start for axis in cells.window((int(row), int(col))))
        place: dict[str, JsonValue] = dict(zip(("row", "column"), begin, strict=True))
        counted: dict[str, JsonValue] = {"pixels": int(labelled[row, col]), "wrong": int(wrong[row, col])}
        found.append(place | counted | {name: scores[name] for name in ("iou", "mean_iou")})
    return found
