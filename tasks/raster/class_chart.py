"""How often each class occurs in each split, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

INK = "#2b2b33"
SPLIT_COLOURS = ("#3b5bdb", "#e8590c", "#2b8a3e")
"""Of training, validation and test; told apart by those who do not tell red from green, too."""


def draw_class_chart(pixels: NDArray[np.int64], *, classes: Sequence[str], splits: Sequence[str]) -> bytes:
    """A PNG, 1500 pixels wide: bars of each class's share of each split's labelled pixels.

    Args:
        pixels: (split, class).
        classes: names in id order.
        splits: names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shares = pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    # No pyplot: its figures are global.
    figure = Figure(figsize=(10, 1.1 + 0.55 * len(classes)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    height, places = 0.8 / len(splits), np.arange(len(classes))
    for n, split in enumerate(splits):
        at = places + (n - (len(splits) - 1) / 2) * height
        axes.barh(at, shares[n], height * 0.9, color=SPLIT_COLOURS[n], label=split)
        for y, share, count in zip(at, shares[n], pixels[n], strict=True):
            text = f" {share:.1%}" if count else " none"
            axes.text(share, y, text, va="center", fontsize=8, color=INK)
    axes.set_yticks(places, classes)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * float(shares.max(initial=0.01)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the split's labelled pixels", color=INK)
    axes.tick_params(colors=INK, labelsize=10, length=0)
    axes.grid(visible=True, axis="x", color="#eceef2", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside upper right", ncols=len(splits), frameon=False, labelcolor=INK, fontsize=10)
    held = BytesIO()
    figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()
