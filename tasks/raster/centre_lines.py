"""The centre lines of a class in one block: just those that the whole scene has there.

Everything here looks no further than `REACH` pixels: an area is thinned in a fixed number of rounds, short spurs of its
outline go, and a line that ends goes on to another where the probability between says so. So blocks agree along their
edges to the pixel, and `network.py` joins their pieces into one graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.raster.grid import Window, grown, within
from tasks.raster.line_repair import (
    GAP,
    HOLE,
    PLACE,
    SPUR,
    LineGraph,
    bridges,
    gaps_closed,
    without_holes,
    without_spurs,
)
from tasks.raster.thin import ROUND, thin

HALF = 48
"""Pixels from the outline to the middle of the widest area that is one line; a wider one is a ring along it."""
ROUNDS = 72
"""Of thinning: half of that width, the longer way of a slanting one."""
MIRROR = 2 * HALF
"""Pixels behind the scene's edge that are taken to be as those before it."""
MEETING = 2 * PLACE
"""Pixels around a block over which a place where lines meet may spread."""
TOUCH = 4
"""Pixels more, so that no line that is cut at the edge of what is looked at is taken for a spur."""
TO_CLOSE = 4 * GAP + MEETING
"""Pixels around a block that its lines depend on once spurs are gone, ..."""
TO_PRUNE = SPUR + TOUCH + TO_CLOSE
"""... once its area is thinned, ..."""
REACH = HOLE + HALF + ROUND * ROUNDS + TO_PRUNE
"""... and from the beginning."""
TENTHS = 10
"""Half widths are summed in whole tenths of a pixel, so that order does not matter."""


@dataclass(frozen=True, slots=True)
class Walks:
    """The pieces of lines in one block: from where lines meet, end or leave the block to the next such place."""

    window: Window
    pixels: NDArray[np.int64]
    """Row * columns of the scene + column of each pixel, piece after piece."""
    starts: NDArray[np.int64]
    """Where each piece begins among them, and the last ends."""
    beyond: NDArray[np.int64]
    """(piece, 2): what its two ends lead to: the id of a node, or where `leaves`, the next pixel outside the block."""
    leaves: NDArray[np.bool_]
    """(piece, 2)."""
    likely: NDArray[np.int64]
    """Sum of the probability along each piece, 254ths."""
    half_widths: NDArray[np.int64]
    """Sum of its half widths, tenths of a pixel."""
    measured: NDArray[np.int64]
    """Its pixels that have a width: those of closed gaps have none."""
    nodes: NDArray[np.int64]
    """Ids of the nodes that pieces lead to: the first pixel of each."""
    places: NDArray[np.float64]
    """(node, 2): column and row of each in the scene, from the corner of the first pixel."""
    last_rows: NDArray[np.int64]
    """Of each node."""


def walk_block(
    area: NDArray[np.bool_], likely: NDArray[np.uint8], around: Window, window: Window, *, shape: tuple[int, int]
) -> Walks:
    """The pieces of lines in a block.

    Args:
        area: (y, x), the class within a window around the block, `REACH` pixels at each side where the scene has them.
        likely: (y, x), its probability there, 254ths.
        around: that window.
        window: the block.
        shape: rows and columns of the scene.
    """
    area, here = _mirrored(without_holes(area), around, shape)
    distance = cv2.distanceTransform(np.pad(area, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth = np.minimum(distance[1:-1, 1:-1], HALF)
    lines = thin(area & (depth < HALF), rounds=ROUNDS)
    near = _at_most(here, window, TO_PRUNE)
    part = within(near, here)
    lines, depth, area = lines[part], depth[part], area[part]
    lines = without_spurs(lines, depth)
    close = _at_most(around, window, TO_CLOSE)  # and no longer behind the scene's edges
    part = within(close, near)
    lines, depth, area, likely = lines[part], depth[part], area[part], likely[within(close, around)]
    inner = within(window, close)
    lines = gaps_closed(lines, area, likely, grown(inner, GAP + MEETING))
    return _walks(lines, depth, likely, close, inner, window, shape[1])


def _at_most(window: Window, inner: Window, reach: int) -> Window:
    """A window without what lies further than so many pixels from an inner one."""
    rows, cols = (
        slice(max(w.start, i.start - reach), min(w.stop, i.stop + reach)) for w, i in zip(window, inner, strict=True)
    )
    return rows, cols


def _mirrored(area: NDArray[np.bool_], around: Window, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], Window]:
    """An area and what lies behind the scene's edges, as if they were mirrors: so lines run up to them.

    Returns:
        The larger area, and its window, which begins before row or column 0.
    """
    more = [(MIRROR * (a.start == 0), MIRROR * (a.stop == end)) for a, end in zip(around, shape, strict=True)]
    rows, cols = (slice(a.start - before, a.stop + behind) for a, (before, behind) in zip(around, more, strict=True))
    mirrored: NDArray[np.bool_] = np.pad(area, more, mode="reflect")
    return mirrored, (rows, cols)


def _walks(
    lines: NDArray[np.bool_],
    depth: NDArray[np.float32],
    likely: NDArray[np.uint8],
    around: Window,
    inner: Window,
    window: Window,
    columns: int,
) -> Walks:
    graph = LineGraph(lines, bridges(lines, depth))
    step = graph.step
    pixels, starts, beyond = graph.walk(inner)
    alone = (np.diff(starts) == 1) & (beyond < 0).all(axis=1)
    pixels, starts, beyond = _chosen(pixels, starts, beyond, ~alone)

    def everywhere(flat: NDArray[np.int64]) -> NDArray[np.int64]:
        rows, cols = np.divmod(flat, step)
        scene: NDArray[np.int64] = (rows - 1 + around[0].start) * columns + cols - 1 + around[1].start
        return scene

    ends = np.stack([pixels[starts[:-1]], pixels[starts[1:] - 1]], axis=1)
    cluster = np.where(beyond >= 0, graph.clusters.ravel()[beyond], 0)
    leaves = (beyond >= 0) & (cluster == 0)
    # A line that just ends has its last pixel for a node; where lines meet, the node is the first pixel there.
    first = np.concatenate([[0], graph.first])
    node = np.where(cluster > 0, first[cluster], np.where(beyond < 0, ends, 0))
    numbers = np.unique(cluster[cluster > 0])
    tips = np.unique(ends[beyond < 0])
    nodes = np.concatenate([graph.first[numbers - 1], tips])
    rows, cols = np.divmod(nodes, step)
    places = np.stack([cols - 1 + around[1].start, rows - 1 + around[0].start], axis=1).astype(np.float64)
    last_rows = rows - 1 + around[0].start
    found = ndimage.find_objects(graph.clusters)
    for n, number in enumerate(numbers):
        slices = found[number - 1]
        corner = (slices[0].start - 1 + around[0].start, slices[1].start - 1 + around[1].start)
        pixels_there = np.argwhere(graph.clusters[slices] == number) + corner
        places[n] = (pixels_there.sum(axis=0) / len(pixels_there))[::-1]  # of whole numbers: the same for any block
        last_rows[n] = pixels_there[:, 0].max()
    depths = np.rint(np.pad(depth, 1).ravel()[pixels] * TENTHS).astype(np.int64)
    chances = np.pad(likely, 1).ravel()[pixels].astype(np.int64)
    return Walks(
        window,
        everywhere(pixels),
        starts,
        np.where(leaves, everywhere(np.maximum(beyond, 0)), everywhere(node)),
        leaves,
        _summed(chances, starts),
        _summed(depths, starts),
        _summed((depths > 0).astype(np.int64), starts),
        everywhere(nodes),
        places + 0.5,
        last_rows,
    )


def _chosen(
    pixels: NDArray[np.int64], starts: NDArray[np.int64], beyond: NDArray[np.int64], which: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    lengths = np.diff(starts)
    return (
        pixels[np.repeat(which, lengths)],
        np.concatenate([[0], np.cumsum(lengths[which])]).astype(np.int64),
        beyond[which],
    )


def _summed(values: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of each piece."""
    sums: NDArray[np.int64] = np.diff(np.concatenate([[0], np.cumsum(values)])[starts])
    return sums
