"""What is to be painted, gathered as arrays: polygons with a layer, a colour, a class and a texture each."""

# ruff: noqa: PLR2004 - a ring has three points, a cut two ends

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.raster.classes import DEFAULT_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


BASE, WALK, BLOCK, PLOT, MINOR, PATCH, BANK, WATER, DECK, AVENUE, MARK, CAR, ROOF, CROWN = range(14)
"""The layers, from the ground up."""

BUILDING, ROAD, LAND, VEGETATION, OPEN_WATER = (
    DEFAULT_CLASSES.id(name) for name in ("building", "road", "land", "vegetation", "water")
)

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Finish:
    """What a surface is, and how strongly each noise field shows on it (parts of its brightness)."""

    label: int
    fine: float
    """Pixel to pixel."""
    grain: float
    """Over 3 px: leaves, gravel, tiles."""
    patch: float
    """Over 11 px: wear, repairs, tufts."""
    drift: float
    """Over 41 px: damp, age."""
    dry: float = 0.0
    """How far the colour drifts between lush and dry."""


TILES = Finish(BUILDING, 0.05, 0.05, 0.05, 0.03)
MEMBRANE = Finish(BUILDING, 0.025, 0.025, 0.06, 0.06)
ASPHALT = Finish(ROAD, 0.035, 0.03, 0.04, 0.07)
PAINTED = Finish(ROAD, 0.03, 0.03, 0.12, 0.05)
LACQUER = Finish(ROAD, 0.02, 0.0, 0.0, 0.0)
PAVING = Finish(LAND, 0.05, 0.05, 0.06, 0.06)
SOIL = Finish(LAND, 0.05, 0.07, 0.09, 0.08, 0.3)
CROP = Finish(VEGETATION, 0.05, 0.06, 0.05, 0.10, 0.7)
LAWN = Finish(VEGETATION, 0.06, 0.08, 0.09, 0.09, 1.0)
LEAVES = Finish(VEGETATION, 0.10, 0.24, 0.10, 0.04, 0.3)
RIPPLES = Finish(OPEN_WATER, 0.015, 0.02, 0.02, 0.06)
DRIVE = Finish(LAND, 0.05, 0.05, 0.05, 0.05)

Stripe = tuple[float, float, float]
"""Phase per pixel along x and y, and amplitude: furrows, tile rows, standing seams."""
PLAIN: Stripe = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Shapes:
    """Polygons in painting order; rings (n, 2) x, y float64 in layout units."""

    xy: NDArray[np.float64]
    starts: NDArray[np.int64]
    owners: NDArray[np.int64]
    bounds: NDArray[np.float64]
    """(p, 4) x0, y0, x1, y1."""
    layers: NDArray[np.int64]
    labels: NDArray[np.uint8]
    looks: NDArray[np.float32]
    """(p, 11): red, green, blue, fine, grain, patch, drift, dry, stripe x, stripe y, stripe amplitude."""


class Gatherer:
    """Polygons are added one by one or many at a time; `done` orders them by layer."""

    def __init__(self) -> None:
        self.xy: list[NDArray[np.float64]] = []
        self.sizes: list[NDArray[np.int64]] = []
        self.owners: list[NDArray[np.int64]] = []
        self.layers: list[NDArray[np.int64]] = []
        self.labels: list[NDArray[np.uint8]] = []
        self.looks: list[NDArray[np.float32]] = []
        self.count = 0
        self.points: list[tuple[float, float]] = []
        self.lengths: list[int] = []
        self.owned: list[int] = []
        self.singles: list[tuple[int, int, tuple[float, ...]]] = []

    def add(
        self,
        layer: int,
        rings: Sequence[Sequence[Sequence[float]]],
        *,
        colour: Colour,
        finish: Finish,
        stripe: Stripe = PLAIN,
    ) -> None:
        """One polygon of an outer ring and its holes."""
        kept = [ring for ring in rings if len(ring) > 2]
        if not kept:
            return
        for ring in kept:
            self.points += [(p[0], p[1]) for p in ring]
            self.lengths.append(len(ring))
            self.owned.append(self.count)
        look = (*colour, finish.fine, finish.grain, finish.patch, finish.drift, finish.dry, *stripe)
        self.singles.append((layer, finish.label, look))
        self.count += 1

    def add_many(
        self, layer: int, polygons: NDArray[np.float64], *, colours: NDArray[np.float64], finish: Finish
    ) -> None:
        """Polygons of equally many vertices, (p, k, 2), with a colour each, (p, 3)."""
        number, corners = polygons.shape[:2]
        if not number:
            return
        self._flush()
        self.xy.append(polygons.reshape(-1, 2))
        self.sizes.append(np.full(number, corners))
        self.owners.append(np.arange(self.count, self.count + number))
        look = np.empty((number, 11), np.float32)
        look[:, :3] = colours
        look[:, 3:] = (finish.fine, finish.grain, finish.patch, finish.drift, finish.dry, *PLAIN)
        self.looks.append(look)
        self.layers.append(np.full(number, layer))
        self.labels.append(np.full(number, finish.label, np.uint8))
        self.count += number

    def _flush(self) -> None:
        """The polygons added one by one become arrays."""
        if not self.singles:
            return
        layers, labels, looks = zip(*self.singles, strict=True)
        self.xy.append(np.array(self.points))
        self.sizes.append(np.array(self.lengths))
        self.owners.append(np.array(self.owned))
        self.layers.append(np.array(layers))
        self.labels.append(np.array(labels, np.uint8))
        self.looks.append(np.array(looks, np.float32))
        self.points, self.lengths, self.owned, self.singles = [], [], [], []

    def done(self) -> Shapes:
        """Everything added, by layer, and in the order of adding within one."""
        self._flush()
        if not self.count:
            none = np.zeros(0, np.int64)
            empty = np.zeros((0, 2))
            looks = np.zeros((0, 11), np.float32)
            return Shapes(empty, none, none, np.zeros((0, 4)), none, np.zeros(0, np.uint8), looks)
        xy, sizes = np.concatenate(self.xy), np.concatenate(self.sizes)
        owners, layers = np.concatenate(self.owners), np.concatenate(self.layers)
        order = np.argsort(layers, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        ring_order = np.argsort(place[owners], kind="stable")
        starts = np.cumsum(sizes) - sizes
        sizes = sizes[ring_order]
        begin = np.cumsum(sizes) - sizes
        xy = xy[np.repeat(starts[ring_order] - begin, sizes) + np.arange(len(xy))]
        owners = place[owners][ring_order]
        first = np.searchsorted(owners, np.arange(len(order)))
        bounds = np.concatenate(
            [np.minimum.reduceat(xy, begin[first], axis=0), np.maximum.reduceat(xy, begin[first], axis=0)], axis=1
        )
        labels, looks = np.concatenate(self.labels)[order], np.concatenate(self.looks)[order]
        return Shapes(xy, begin, owners, bounds, layers[order], labels, looks)
