"""Whether a confidence can be believed, as a picture in a page."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.raster.reliability import Bin

STYLE = """
svg.reliability rect { fill: #f7f7f7; stroke: #bbb } svg.reliability line { stroke: #999; stroke-dasharray: 4 }
svg.reliability circle { fill: #4885c4; fill-opacity: .6; stroke: #2c5f94 } svg.reliability text { font-size: 12px }
"""
_SIDE = 320


def reliability_chart(bins: Sequence[Bin]) -> str:
    """The diagram as SVG: accuracy over confidence, a disc's area the share of pixels."""
    total = max(sum(b.pixels for b in bins), 1)
    discs = "".join(
        f'<circle cx="{b.confidence * _SIDE:.1f}" cy="{(1 - b.accuracy) * _SIDE:.1f}" '
        f'r="{3 + 22 * (b.pixels / total) ** 0.5:.1f}"><title>{b.confidence:.2f}: {b.accuracy:.2f} right, '
        f"{b.pixels:,} pixels</title></circle>"
        for b in bins
    )
    ticks = "".join(
        f'<text x="{v * _SIDE:.0f}" y="{_SIDE + 18}" text-anchor="middle">{v:g}</text>'
        f'<text x="-8" y="{(1 - v) * _SIDE + 4:.0f}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    return (
        f'<svg class="reliability" viewBox="-60 -20 {_SIDE + 90} {_SIDE + 70}" width="{_SIDE + 90}" role="img" '
        f'aria-label="share of pixels that is right, by confidence">'
        f'<rect width="{_SIDE}" height="{_SIDE}"/><line x1="0" y1="{_SIDE}" x2="{_SIDE}" y2="0"/>{discs}{ticks}'
        f'<text x="{_SIDE / 2}" y="{_SIDE + 38}" text-anchor="middle">confidence</text>'
        f'<text transform="translate(-40 {_SIDE / 2}) rotate(-90)" text-anchor="middle">share that is right</text>'
        "</svg>"
    )
