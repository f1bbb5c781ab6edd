"""Scores as the rows of a table, for the terminal and for Prefect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.evaluate import Evaluated

Row = tuple[str, str, str]


def score_rows(evaluated: Evaluated) -> list[Row]:
    """Name, IoU and recall of each class that occurs, their means, and the share of right pixels; heads first."""
    scores = evaluated.scores
    rows = [("class", "IoU", "recall")]
    rows += [
        (name, _number(iou), _number(recall))
        for name, iou, recall in zip(evaluated.classes, scores.iou, scores.recall, strict=True)
        if not math.isnan(iou)
    ]
    rows.append(("mean", _number(scores.mean_iou), _number(scores.mean_recall)))
    rows.append(("all pixels", "", _number(scores.pixel_accuracy)))
    return rows


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
