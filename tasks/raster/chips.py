"""Training chips: where they are cut, so that rare classes are seen and validation is never trained on.

The scene is counted on a lattice of a quarter of a chip. What training draws are windows of a chip's side, or of more,
so that there is something around it to be zoomed out to. One may begin at any lattice point from which it lies inside
the scene; its class counts are the sum over its lattice cells. To draw one, a class is drawn first, each class that
occurs with the same chance, then a window in proportion to its pixels of that class: a class of 1 % of the pixels is as
often the reason for a window as one of 60 %. Or all windows have the same chance.

Validation takes whole square regions (four chips a side where the scene allows). A training window that would touch one
is never drawn, so no pixel is on both sides; and what an earlier training has learnt from is never held back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.raster.classes import IGNORE
from tasks.raster.grid import windows

Corner = tuple[int, int]
CELLS = 4
"""Lattice cells a side of a chip."""

ReadLabel = Callable[[tuple[slice, slice]], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Regions:
    """Squares of a scene, told by their corners in pixels."""

    side: int
    """Pixels."""
    held: tuple[Corner, ...]
    """Those kept for validation."""
    learnt: tuple[Corner, ...]
    """Those whose labels were learnt from."""


@dataclass(frozen=True)
class ChipPlan:
    """The chips of one labelled scene."""

    side: int
    """Pixels a side of a training window."""
    training: NDArray[np.int64]
    """(n, 2) row and column of each training window's corner."""
    counts: NDArray[np.int64]
    """(n, class) labelled pixels of each training window."""
    validation: tuple[Corner, ...]
    """Corners of chips that do not overlap, all inside validation regions."""
    regions: Regions

    def reached(self, counted: NDArray[np.int64], cell: int) -> NDArray[np.int64]:
        """(class,) labelled pixels that lie in any training window; of the counts (row, column, class) of its cells."""
        edges = np.zeros((counted.shape[0] + 1, counted.shape[1] + 1), np.int64)
        first, last = self.training // cell, (self.training + self.side) // cell
        for rows, cols, change in ((first, first, 1), (first, last, -1), (last, first, -1), (last, last, 1)):
            np.add.at(edges, (rows[:, 0], cols[:, 1]), change)
        inside = edges.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
        found: NDArray[np.int64] = counted[inside].sum(axis=0)
        return found

    @cached_property
    def totals(self) -> NDArray[np.int64]:
        """(class,) pixels over all training windows, as drawn evenly."""
        totals: NDArray[np.int64] = self.counts.sum(axis=0)
        return totals

    @property
    def around(self) -> NDArray[np.int64]:
        """(class,) pixels of all classes over those training windows in which each class occurs."""
        found: NDArray[np.int64] = (self.counts.sum(axis=1)[:, None] * (self.counts > 0)).sum(axis=0)
        return found


def count_labels(read: ReadLabel, shape: tuple[int, int], *, chip: int, classes: int) -> NDArray[np.int64]:
    """Count the labels of a scene on the lattice: (row, column, class) pixels of each whole cell.

    Args:
        read: labels (y, x) uint8 of a window.
        shape: rows and columns of the scene.
        chip: pixels a side, a multiple of 4.
        classes: how many there are.

    Raises:
        UnusableInput: the scene is smaller than a chip, or holds an id that is no class.
    """
    if min(shape) < chip:
        raise UnusableInput(
            f"The scene has {shape[0]} x {shape[1]} pixels and a chip {chip} x {chip}; "
            "use a smaller --chip or a larger scene."
        )
    cell = chip // CELLS
    counts = np.zeros((shape[0] // cell, shape[1] // cell, classes), np.int64)
    step = max(1, 2048 // cell) * cell
    for rows, cols in windows((counts.shape[0] * cell, counts.shape[1] * cell), step):
        label = read((rows, cols))
        known = label[label != IGNORE]
        if known.size and known.max() >= classes:
            raise UnusableInput(
                f"The labels hold the id {known.max()} and the class map ends at {classes - 1}; label again."
            )
        place = np.s_[rows.start // cell : rows.stop // cell, cols.start // cell : cols.stop // cell]
        squares = label.reshape(label.shape[0] // cell, cell, label.shape[1] // cell, cell)
        for klass in range(classes):
            counts[(*place, klass)] = (squares == klass).sum(axis=(1, 3))
    return counts


def plan_regions(
    counted: NDArray[np.int64], *, chip: int, share: float, seed: int, before: Regions | None = None
) -> Regions:
    """Part a scene into the squares that are kept for validation, chosen by the seed, and those that are learnt from.

    What was held back before stays so first, and what was learnt from is never held back. Squares that the scene's
    lower and right edges cut are learnt from, too.

    Args:
        counted: its labels, as `count_labels` counts them.
        chip: pixels a side, as they were counted for.
        share: of the labelled regions, for validation; 0 for none.
        seed: chooses the regions.
        before: of an earlier training that this one goes on from.
    """
    cell, (rows, cols) = chip // CELLS, counted.shape[:2]
    for chips in (4, 2, 1):  # the largest region of which the scene has enough
        side = CELLS * chips
        whole = rows // side * (cols // side)
        if whole * (share or 1.0) >= 1 or chips == 1:
            break
    places = [(r, c) for r in range(0, rows, side) for c in range(0, cols, side)]
    places.sort(key=lambda place: place[0] + side > rows or place[1] + side > cols)  # the whole ones first
    labelled = [bool(counted[r : r + side, c : c + side].any()) for r, c in places]
    corners = [(r * cell, c * cell) for r, c in places]
    before = before or Regions(side * cell, (), ())
    learnt, kept = (_touched(corners, side * cell, others, before.side) for others in (before.learnt, before.held))
    # At least one region, and never the last that there is to train on.
    usable = sum(labelled[:whole])
    wanted = min(max(round(usable * share), 1), usable - 1) if share and usable else 0
    order = np.random.default_rng(seed).permutation(whole).tolist()
    free = sorted((n for n in order if labelled[n] and not learnt[n]), key=lambda n: not kept[n])
    held = set(free[:wanted])
    return Regions(
        side * cell,
        tuple(corners[n] for n in sorted(held)),
        tuple(sorted(corners[n] for n in range(len(corners)) if learnt[n] or (labelled[n] and n not in held))),
    )


def plan_chips(
    counted: NDArray[np.int64],
    regions: Regions,
    *,
    chip: int,
    cells: int = CELLS,
    apart: NDArray[np.bool_] | None = None,
) -> ChipPlan:
    """Plan the chips of a scene.

    Args:
        counted: its labels, as `count_labels` counts them.
        regions: what is kept for validation.
        chip: pixels a side, as they were counted for.
        cells: lattice cells a side of a training window; `CELLS` is a chip.
        apart: (row, column) cells that are not learnt from, either, as another scene's validation shows them.

    Raises:
        UnusableInput: there is nothing labelled to learn from in any window.
    """
    cell = chip // CELLS
    held = np.zeros((*counted.shape[:2], 1), np.int64)
    for row, col in regions.held:
        held[row // cell : (row + regions.side) // cell, col // cell : (col + regions.side) // cell] = 1
    away = held if apart is None else np.maximum(held, apart[..., None])
    there = _sums(counted, cells)  # (row, column, class) of the windows that begin there
    usable = (_sums(away, cells)[..., 0] == 0) & (there.sum(axis=-1) > 0)
    if not usable.any():
        raise UnusableInput(
            "No training chip holds a labelled pixel that is not kept for validation; label more of the scene, use a "
            "smaller --chip, or another --seed."
        )
    inside = _sums(held, CELLS)[..., 0] == CELLS**2
    validation = _disjoint(inside & (_sums(counted, CELLS).sum(axis=-1) > 0), cell)
    return ChipPlan(cells * cell, np.argwhere(usable) * cell, there[usable], validation, regions)


def draw_chips(
    plans: Sequence[ChipPlan], count: int, rng: np.random.Generator, *, balanced: bool = True
) -> list[tuple[int, Corner]]:
    """Draw training windows: balanced over the classes that occur in any scene, or each with the same chance.

    Returns:
        The number of each window's scene, and its corner; in the order of the scenes.
    """
    drawn: list[tuple[int, Corner]] = []
    if not balanced:
        sizes = np.array([len(plan.training) for plan in plans], float)
        scenes = np.sort(rng.choice(len(plans), size=count, p=sizes / sizes.sum()))
        for scene in np.unique(scenes).tolist():
            corners = plans[scene].training
            drawn += [(scene, _corner(corners[n])) for n in rng.integers(len(corners), size=(scenes == scene).sum())]
        return drawn
    totals = np.array([plan.totals for plan in plans])
    for klass in rng.choice(np.flatnonzero(totals.sum(axis=0)), size=count):
        scene = _weighed(totals[:, klass], rng)
        drawn.append((scene, _corner(plans[scene].training[_weighed(plans[scene].counts[:, klass], rng)])))
    return sorted(drawn, key=lambda one: one[0])


def _weighed(weights: NDArray[np.int64], rng: np.random.Generator) -> int:
    """A number, in proportion to its weight."""
    up_to = np.cumsum(weights)
    return int(np.searchsorted(up_to, rng.integers(up_to[-1]), side="right"))


def _corner(row_and_column: NDArray[np.int64]) -> Corner:
    return int(row_and_column[0]), int(row_and_column[1])


def _touched(corners: Sequence[Corner], side: int, others: Sequence[Corner], their_side: int) -> list[bool]:
    """Which squares share a pixel with one of the others."""
    firsts = np.array(others, np.int64).reshape(-1, 2)
    return [
        bool(((firsts < (r + side, c + side)) & (firsts + their_side > (r, c))).all(axis=1).any()) for r, c in corners
    ]


def _sums(counted: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Sums over squares of so many cells a side, by the first of them."""
    total = np.pad(counted.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0), (0, 0)))
    return (  # type: ignore[no-any-return]
        total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    )


def _disjoint(usable: NDArray[np.bool_], cell: int) -> tuple[Corner, ...]:
    """Corners, row by row, of chips that share no pixel."""
    taken = np.zeros((usable.shape[0] + 3, usable.shape[1] + 3), bool)
    corners = []
    for r, c in np.argwhere(usable):
        if not taken[r : r + 4, c : c + 4].any():
            taken[r : r + 4, c : c + 4] = True
            corners.append((int(r) * cell, int(c) * cell))
    return tuple(corners)
