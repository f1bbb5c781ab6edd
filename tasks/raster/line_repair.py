"""Lines one pixel wide made right: holes of their area filled, spurs taken away, gaps closed, crossings united."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.raster.blend import TOP
from tasks.raster.grid import Window
from tasks.raster.thin import walk

HOLE = 24
"""Pixels a side of the largest hole that is none: cars and crowns of trees on a road."""
SPUR = 64
"""Pixels of the longest spur that is taken away."""
SPUR_WIDTHS = 1.3
"""A spur is no longer than so many half widths of the area that it comes out of."""
GAP = 48
"""Pixels of the longest gap that is closed."""
SAYS = 0.2
"""Mean probability between two lines from which they are one."""
AHEAD = 0.7
"""Cosine of the angle by which a closed gap may turn off the line's direction."""
STALK = 10
"""Pixels of a line's end that tell its direction; a shorter line has none."""
BRIDGE_WIDTHS = 1.0
"""Two places where lines meet are one where no more than so many half widths lie between: roads that cross aslant."""
PLACE = 72
"""Pixels a side of the largest place of which that makes one."""
_EIGHT = np.ones((3, 3), np.uint8)
_JUNCTION = 3


class LineGraph:
    """Lines one pixel wide, told apart into where they meet and what lies between.

    Args:
        lines: (y, x).
        one: (y, x), pixels of lines that belong to where they meet.
    """

    def __init__(self, lines: NDArray[np.bool_], one: NDArray[np.bool_] | None = None) -> None:
        padded = np.pad(lines, 1).astype(np.uint8)
        self.step = padded.shape[1]
        neighbours = cv2.filter2D(padded, -1, _EIGHT, borderType=cv2.BORDER_CONSTANT) - padded
        meet = (padded > 0) & (neighbours >= _JUNCTION)
        if one is not None:
            meet[1:-1, 1:-1] |= one
        count, self.clusters = cv2.connectedComponents(meet.view(np.uint8), connectivity=8)
        """(y, x) with a margin of one pixel: number of the place where lines meet, from 1."""
        places = np.flatnonzero(meet)
        numbers, index = np.unique(self.clusters.ravel()[places], return_index=True)
        assert len(numbers) == count - 1
        self.first = places[index]
        """Flat index of each such place's first pixel."""
        self.lines = padded + meet

    def walk(self, inner: Window | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """What `thin.walk` gives, within a window or everywhere."""
        inside = np.zeros_like(self.lines)
        rows, cols = inner or (slice(0, inside.shape[0] - 2), slice(0, inside.shape[1] - 2))
        inside[rows.start + 1 : rows.stop + 1, cols.start + 1 : cols.stop + 1] = 1
        places = np.flatnonzero((self.lines == 1) & (inside > 0))
        return walk(self.lines.ravel(), inside.ravel(), self.step, places)


def without_holes(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """An area with its small holes filled."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats((~area).astype(np.uint8), connectivity=4)
    left, top, width, height = boxes[:, :4].T
    inside = (left > 0) & (top > 0) & (left + width < area.shape[1]) & (top + height < area.shape[0])
    fills = inside & (width <= HOLE) & (height <= HOLE)
    filled: NDArray[np.bool_] = area | fills[labels]
    return filled


def without_spurs(lines: NDArray[np.bool_], depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Lines without the short branches that thinning leaves where an outline bulges."""
    graph = LineGraph(lines)
    pixels, starts, beyond = graph.walk()
    lengths = np.diff(starts)
    ends = beyond < 0
    root = beyond.max(axis=1, initial=-1)
    width = np.where(root >= 0, np.pad(depth, 1).ravel()[root], 0)
    spurs = (ends.sum(axis=1) == 1) & (lengths <= np.minimum(SPUR, SPUR_WIDTHS * width))
    left = graph.lines > 0
    left.ravel()[pixels[np.repeat(spurs, lengths)]] = False
    return left[1:-1, 1:-1]


def bridges(lines: NDArray[np.bool_], depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The short lines between places where lines meet that are one place."""
    graph = LineGraph(lines)
    pixels, starts, beyond = graph.walk()
    lengths = np.diff(starts)
    width = np.minimum.reduceat(np.pad(depth, 1).ravel()[pixels], starts[:-1]) if len(lengths) else np.empty(0)
    both = (np.where(beyond >= 0, graph.clusters.ravel()[beyond], 0) > 0).all(axis=1)
    found = np.zeros(graph.lines.shape, np.uint8)
    found.ravel()[pixels[np.repeat(both & (lengths <= BRIDGE_WIDTHS * width), lengths)]] = 1
    _, united, boxes, _ = cv2.connectedComponentsWithStats(found | (graph.clusters > 0).view(np.uint8), connectivity=8)
    small = (boxes[:, cv2.CC_STAT_WIDTH] <= PLACE) & (boxes[:, cv2.CC_STAT_HEIGHT] <= PLACE)
    one: NDArray[np.bool_] = (found > 0) & small[united]
    return one[1:-1, 1:-1]


def gaps_closed(
    lines: NDArray[np.bool_], area: NDArray[np.bool_], likely: NDArray[np.uint8], within: Window
) -> NDArray[np.bool_]:
    """Lines with those added on which one that ends within a window goes on to another."""
    graph = LineGraph(lines)
    pixels, starts, beyond = graph.walk()
    closed = lines.astype(np.uint8)
    tips = np.zeros_like(lines)
    ends = np.stack([pixels[starts[:-1]], pixels[starts[1:] - 1]], axis=1)[beyond < 0]
    rows, cols = ends // graph.step - 1, ends % graph.step - 1
    tips[rows, cols] = True
    near = [(p >= s.start) & (p < s.stop) for p, s in zip((rows, cols), within, strict=True)]
    for n, side in np.argwhere(beyond < 0)[near[0] & near[1]].tolist():
        path = pixels[starts[n] : starts[n + 1]]
        path = path if side == 0 else path[::-1]
        if len(path) > STALK:
            other = _goes_on(path, graph.step, lines, tips, area, likely)
            if other is not None:
                end = np.divmod(path[0], graph.step)
                one, two = sorted([(int(end[0]) - 1, int(end[1]) - 1), other])
                cv2.line(closed, one[::-1], two[::-1], 1)
    return closed > 0


def _goes_on(
    path: NDArray[np.int64],
    step: int,
    lines: NDArray[np.bool_],
    tips: NDArray[np.bool_],
    area: NDArray[np.bool_],
    likely: NDArray[np.uint8],
) -> tuple[int, int] | None:
    """Row and column of the pixel that a line's end should be joined with; None where nothing speaks for any.

    Args:
        path: the line's pixels from its end, flat with a margin of one pixel.
        step: pixels of a row, with that margin.
        lines: (y, x).
        tips: (y, x), where they end; such a pixel goes before all others.
        area: (y, x).
        likely: (y, x).
    """
    own = np.stack(np.divmod(path[: 2 * GAP], step), axis=1) - 1
    row, col = own[0]
    heading = own[0] - own[STALK]
    top, left = max(row - GAP, 0), max(col - GAP, 0)
    near = lines[top : row + GAP + 1, left : col + GAP + 1].copy()
    rows, cols = own[:, 0] - top, own[:, 1] - left
    inside = (rows >= 0) & (rows < near.shape[0]) & (cols >= 0) & (cols < near.shape[1])
    near[rows[inside], cols[inside]] = False
    others = np.argwhere(near) + np.array([top, left])
    way = others - own[0]
    length = np.hypot(*way.T)
    ahead = (length <= GAP) & (way @ heading >= AHEAD * length * np.hypot(*heading))
    others, length = others[ahead], length[ahead]
    if not len(others):
        return None
    places = np.linspace(0, 1, GAP + 1)[:, None, None]
    line = own[0] + np.floor(places * (others - own[0])[None] + 0.5).astype(np.intp)  # the same wherever it lies
    chance = likely[line[..., 0], line[..., 1]] / TOP
    between = ~area[line[..., 0], line[..., 1]]
    cost = (1 - chance).sum(axis=0) * length
    says = np.where(between, chance, 0).sum(axis=0) >= SAYS * between.sum(axis=0)
    if not says.any():
        return None
    ends = says & tips[others[:, 0], others[:, 1]]
    best = int(np.argmin(np.where(ends if ends.any() else says, cost, np.inf)))
    return int(others[best, 0]), int(others[best, 1])
