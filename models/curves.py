"""A training's curves as a picture: the loss on the left, the intersection over union of each class on the right."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.checkpoint import write_durably
from models.history import History

_INK, _FAINT = "#2b2b33", "#b9bcc6"


def draw_curves(
    history: History, path: Path, *, classes: Sequence[str], colours: Sequence[tuple[int, int, int]]
) -> None:
    """Write the curves as a PNG of 1800 x 720 pixels.

    Args:
        history: with at least one step; without validations the right panel says so.
        path: of the PNG.
        classes: names in the order of ids.
        colours: red, green, blue of each class, 0 to 255, as on the map; light ones are darkened to be seen on white.
    """
    # No pyplot: its figures are global and would outlive a worker's task.
    figure = Figure(figsize=(12, 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_loss(left, history)
    _draw_iou(right, history, classes=classes, colours=colours)
    for axes in (left, right):
        axes.set_xlabel("step", color=_INK)
        axes.set_xlim(0, 1.02 * max(row.step for row in history.steps))
        axes.grid(visible=True, color="#eceef2", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_INK, labelsize=9, length=0)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
    picture = BytesIO()
    figure.savefig(picture, format="png")
    write_durably(path, picture.getvalue())


def _draw_loss(axes: Axes, history: History) -> None:
    steps = np.array([row.step for row in history.steps])
    loss = np.array([row.loss for row in history.steps])
    axes.plot(steps, loss, color=_FAINT, linewidth=0.8, label="each batch")
    axes.plot(steps, _smooth(loss, width=max(1, len(loss) // 25)), color="#3b5bdb", linewidth=2.2, label="running mean")
    if history.checks:
        checks = [(row.step, row.loss) for row in history.checks]
        axes.plot(
            *zip(*checks, strict=True), color="#e8590c", linewidth=1.6, marker="o", markersize=4, label="validation"
        )
    axes.set_title("loss", loc="left", color=_INK, fontsize=12, fontweight="bold")
    # One exploding batch must not flatten all others.
    axes.set_ylim(0, 1.15 * float(np.quantile(loss, 0.99)))
    axes.legend(frameon=False, labelcolor=_INK, fontsize=9)


def _draw_iou(axes: Axes, history: History, *, classes: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> None:
    axes.set_title("intersection over union, validation", loc="left", color=_INK, fontsize=12, fontweight="bold")
    axes.set_ylim(0, 1)
    if not history.checks:
        axes.text(0.5, 0.5, "no validation chips", transform=axes.transAxes, ha="center", color=_INK)
        return
    steps = [row.step for row in history.checks]

    def line(values: Sequence[float | None], name: str, colour: str | tuple[float, ...], width: float) -> None:
        shown = np.array([np.nan if v is None else v for v in values])
        if np.isfinite(shown).any():
            label = f"{name}  {shown[np.isfinite(shown)][-1]:.2f}"
            axes.plot(steps, shown, color=colour, linewidth=width, marker="o", markersize=width + 2, label=label)

    for index, (name, colour) in enumerate(zip(classes, colours, strict=True)):
        line([row.iou[index] for row in history.checks], name, _visible(colour), 1.6)
    line([row.mean_iou for row in history.checks], "mean", _INK, 2.6)
    axes.legend(frameon=False, labelcolor=_INK, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _smooth(values: NDArray[np.float64], *, width: int) -> NDArray[np.float64]:
    """Mean of each value and up to width - 1 before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def _visible(colour: tuple[int, int, int]) -> tuple[float, ...]:
    """A map colour, darkened until its luminance (ITU-R BT.709) is at most 0.6 on a white page."""
    luminance = float(np.dot(colour, (0.2126, 0.7152, 0.0722))) / 255
    return tuple(channel / 255 * min(1.0, 0.6 / max(luminance, 1e-6)) for channel in colour)
