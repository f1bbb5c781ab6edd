"""Diagrams of an evaluation's or a review's page, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from tasks.raster.reliability import Bin
from tasks.raster.scores.precision_recall import Curve

STYLE = """
svg.chart rect { fill: #f7f7f7; stroke: #bbb } svg.chart text { font-size: 12px }
svg.reliability line { stroke: #999; stroke-dasharray: 4 }
svg.reliability circle { fill: #4885c4; fill-opacity: .6; stroke: #2c5f94 }
svg.curves polyline { fill: none; stroke-width: 2 } svg.curves circle { stroke: #333 }
"""
_SIDE = 320


def reliability_chart(bins: Sequence[Bin]) -> str:
    """Accuracy over confidence, a disc's area the share of pixels."""
    total = max(sum(b.pixels for b in bins), 1)
    discs = "".join(
        f'<circle cx="{b.confidence * _SIDE:.1f}" cy="{(1 - b.accuracy) * _SIDE:.1f}" '
        f'r="{3 + 22 * (b.pixels / total) ** 0.5:.1f}"><title>{b.confidence:.2f}: {b.accuracy:.2f} right, '
        f"{b.pixels:,} pixels</title></circle>"
        for b in bins
    )
    diagonal = f'<line x1="0" y1="{_SIDE}" x2="{_SIDE}" y2="0"/>'
    return _chart("reliability", diagonal + discs, across="confidence", up="share that is right")


def precision_recall_chart(curves: Mapping[str, tuple[Curve, str]]) -> str:
    """Precision over recall, a line a class, a disc at its best F1; beside it each class's average precision.

    Args:
        curves: of each class by its name, and the line's CSS colour.
    """
    parts = []
    for row, (name, (curve, colour)) in enumerate(curves.items()):
        recall, precision = np.array(curve.recall), np.array(curve.precision)
        there = np.isfinite(precision) & np.isfinite(recall)
        points = " ".join(
            f"{x * _SIDE:.1f},{(1 - y) * _SIDE:.1f}" for x, y in zip(recall[there], precision[there], strict=True)
        )
        best = round((1 - curve.best_threshold) * (len(recall) - 1))
        parts.append(
            f'<polyline points="{points}" stroke="{colour}"/>'
            f'<circle cx="{recall[best] * _SIDE:.1f}" cy="{(1 - precision[best]) * _SIDE:.1f}" r="5" fill="{colour}">'
            f"<title>{escape(name)}: F1 {curve.best_f1:.3f} from {curve.best_threshold:.2f} on</title></circle>"
            f'<circle cx="{_SIDE + 24}" cy="{16 + 22 * row}" r="5" fill="{colour}"/>'
            f'<text x="{_SIDE + 36}" y="{20 + 22 * row}">{escape(name)} {curve.average_precision:.3f}</text>'
        )
    return _chart("curves", "".join(parts), across="recall", up="precision", beside=150, rows=len(curves))


def _chart(kind: str, content: str, *, across: str, up: str, beside: int = 0, rows: int = 0) -> str:
    """Content in a square from 0 to 1, with room beside it, for so many rows at least."""
    ticks = "".join(
        f'<text x="{v * _SIDE:.0f}" y="{_SIDE + 18}" text-anchor="middle">{v:g}</text>'
        f'<text x="-8" y="{(1 - v) * _SIDE + 4:.0f}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    width, height = _SIDE + 90 + beside, max(_SIDE + 70, 40 + 22 * rows)
    return (
        f'<svg class="chart {kind}" viewBox="-60 -20 {width} {height}" width="{width}" role="img" '
        f'aria-label="{up} by {across}"><rect width="{_SIDE}" height="{_SIDE}"/>{content}{ticks}'
        f'<text x="{_SIDE / 2}" y="{_SIDE + 38}" text-anchor="middle">{across}</text>'
        f'<text transform="translate(-40 {_SIDE / 2}) rotate(-90)" text-anchor="middle">{up}</text></svg>'
    )
