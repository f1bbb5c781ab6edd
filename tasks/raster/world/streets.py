"""A district becomes blocks: it is cut across its longer side, again and again, and each cut is a street.

Outlines run along the middle of the streets, so a street ends exactly on the middle of the one it meets.
"""

# ruff: noqa: PLR2004 - a ring has three points, a cut two ends

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.raster.world.geometry import Outline, Ring, area, box, halves, unit

if TYPE_CHECKING:
    from tasks.raster.world.noise import Dice


@dataclass(frozen=True, slots=True)
class Street:
    """A carriageway's middle line and width, in layout units (half metres)."""

    line: Ring
    width: float
    avenue: bool = False


def subdivide(
    outline: Outline, dice: Dice, *, target: float, shortest: float, widths: tuple[float, ...], sway: float = 0.1
) -> tuple[list[Outline], list[Street]]:
    """Cuts an outline until each part is smaller than the target area.

    Args:
        outline: what to cut.
        dice: the stream of choices.
        target: a part below this area is left whole.
        shortest: no cut leaves a side shorter than this.
        widths: the streets' widths by depth of the cut, the last one for all deeper; 0 is a boundary, no street.
        sway: how far cuts stray from the middle and from the right angle.
    """
    parts: list[Outline] = []
    streets: list[Street] = []
    stack = [(outline, 0)]
    while stack:
        part, depth = stack.pop()
        size = area(part) if len(part) > 2 else 0.0
        if size < 30:
            continue
        u, low, high, near, far = box(part)
        if size < target or high - low < 2 * shortest:
            parts.append(part)
            continue
        spread = min(sway, 0.5 - shortest / (high - low))
        place = low + (high - low) * (0.5 + dice.between(-spread, spread))
        tilt = dice.between(-sway, sway) * 1.2
        normal = unit(u[0] - tilt * u[1], u[1] + tilt * u[0])
        middle = (near + far) / 2
        through = (u[0] * place - u[1] * middle, u[1] * place + u[0] * middle)
        width = widths[min(depth, len(widths) - 1)]
        one, other, ends = halves(part, through, normal=normal, reach=width / 2)
        if len(ends) == 2 and width:
            streets.append(Street(ends, width))
        stack += [(one, depth + 1), (other, depth + 1)]
    return parts, streets
