"""What the ground of towns and fields is made of: colours to pick from, and outlines made simple."""

# ruff: noqa: PLR2004 - proportions of a drawing, each used once where it is named

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.raster.world.geometry import Outline
    from tasks.raster.world.shapes import Colour

GRASS: tuple[Colour, ...] = ((98, 112, 70), (86, 104, 62), (112, 120, 78), (124, 124, 86), (92, 108, 74))
STONE: tuple[Colour, ...] = ((172, 166, 156), (158, 154, 148), (184, 176, 162), (146, 142, 138))
EARTH: tuple[Colour, ...] = ((166, 146, 116), (150, 128, 100), (178, 160, 130), (140, 120, 98))


def straight(outline: Outline) -> Outline:
    """The outline without vertices less than 1.5 off the line between their neighbours, or within 2 of the last."""
    out: Outline = []
    for k, (x, y, reach) in enumerate(outline):
        px, py = out[-1][:2] if out else outline[-1][:2]
        nx, ny = outline[k + 1 - len(outline)][:2]
        dx, dy = nx - px, ny - py
        off = abs(dx * (y - py) - dy * (x - px))
        if off * off < 2.25 * (dx * dx + dy * dy) or (x - px) ** 2 + (y - py) ** 2 < 4:
            continue
        out.append((x, y, reach))
    return out
