"""Scenes that show the same ground: what one of them holds back for validation, no other may be learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.raster.chips import Regions
from tasks.raster.cube import Cube
from tasks.raster.footprints import EDGE, Plane, overlapping
from tasks.workspace import Workspace


def seen_elsewhere(
    scenes: Sequence[tuple[Workspace, Cube]],
    lattices: Sequence[tuple[int, int]],
    regions: Mapping[str, Regions],
    *,
    cell: int,
) -> list[NDArray[np.bool_] | None]:
    """Which cells of each scene show ground that another scene, of other pixels, keeps for validation.

    Args:
        scenes: with their cubes; those of no place on Earth show no common ground.
        lattices: rows and columns of each one's cells.
        regions: by cubes' fingerprints.
        cell: pixels a side.

    Returns:
        (row, column) of each scene; None where it shares no such ground.
    """
    plane = Plane.of([(workspace.grid, workspace.control) for workspace, _ in scenes])
    sizes = [np.array([[0.0, 0.0, cube.grid.shape[1], cube.grid.shape[0]]]) for _, cube in scenes]
    outlines = np.concatenate([plane.outlines(n, size, edge=EDGE) for n, size in enumerate(sizes)])
    found: list[NDArray[np.bool_] | None] = [None] * len(scenes)
    for one, other in overlapping(outlines, outlines).T.tolist():
        mark = scenes[other][1].fingerprint
        if mark == scenes[one][1].fingerprint or not regions[mark].held:
            continue
        corners = np.array(regions[mark].held, float)[:, ::-1]  # column, row
        held = plane.outlines(other, np.concatenate([corners, corners + regions[mark].side], axis=1))
        rows, cols = lattices[one]
        first = np.stack(np.meshgrid(np.arange(cols), np.arange(rows)), axis=-1).reshape(-1, 2) * float(cell)
        cells = plane.outlines(one, np.concatenate([first, first + cell], axis=1))
        shown = np.zeros(rows * cols, bool)
        shown[overlapping(cells, held)[0]] = True
        already = found[one]
        found[one] = shown.reshape(rows, cols) if already is None else already | shown.reshape(rows, cols)
    return found
