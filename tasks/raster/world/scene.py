"""The world as a scene: a grid, any window of its picture and truth, and its buildings and roads as vectors.

A label is the class of what is seen from above. Car parks are road, as the same asphalt; pavements, yards, paths and
drives are land; bare and ploughed fields are land, growing ones vegetation; a crown over a street is vegetation; a car
has the class of what it stands on; a bridge is road; a shadow changes nothing. Class `other` does not occur.
"""

# ruff: noqa: PLR2004 - the ranges stand in the messages

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.classes import DEFAULT_CLASSES, IGNORE
from tasks.raster.world.district import district
from tasks.raster.world.fill import fill
from tasks.raster.world.noise import Dice, key, value_at
from tasks.raster.world.paint import SHEET, paint_sheet, places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


G = TypeVar("G", bound=shapely.Geometry)

CLASSES = DEFAULT_CLASSES
CRS = "EPSG:32633"
ORIGIN = (450_000.0, 5_400_000.0)
"""Easting and northing of the upper left corner, metres."""
LARGEST = 200_000
"""Pixels a side."""


@dataclass(frozen=True, slots=True)
class World:
    """A square scene, made of nothing but its seed.

    The layout is in metres: a finer resolution shows the same streets larger. `rim` puts an irregular, slanted collar
    without data around it, as an orthorectified swath has.
    """

    size: int
    """Pixels a side, 256 to 200,000."""
    seed: int
    resolution: float = 0.5
    """Metres a pixel, 0.2 to 1."""
    rim: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 256 <= self.size <= LARGEST:
            raise UnusableInput(f"A world of {self.size} pixels a side was asked for; give 256 to {LARGEST}.")
        if not 0.2 <= self.resolution <= 1.0:
            raise UnusableInput(f"A world at {self.resolution} m a pixel was asked for; give 0.2 to 1 m.")

    @property
    def grid(self) -> GeoBox:
        """The grid: UTM zone 33 north, size x size pixels."""
        x, y = ORIGIN
        transform = Affine(self.resolution, 0.0, x, 0.0, -self.resolution, y)
        return GeoBox((self.size, self.size), transform, CRS)

    @property
    def scale(self) -> float:
        """Pixels per unit of the layout (half a metre)."""
        return 0.5 / self.resolution


@dataclass(frozen=True, slots=True)
class Painted:
    """A window of a world."""

    image: NDArray[np.uint8]
    """(3, h, w) red, green, blue; 0 outside the data."""
    label: NDArray[np.uint8]
    """(h, w) class ids; 255 outside the data."""
    valid: NDArray[np.bool_]
    """(h, w), True = data."""


@dataclass(frozen=True, slots=True)
class BuildingTruth:
    """A building's footprint in the grid's CRS, where there is data."""

    id: int
    """Unique in the world, 1 to 2^32 - 1."""
    footprint: shapely.Polygon | shapely.MultiPolygon


@dataclass(frozen=True, slots=True)
class RoadTruth:
    """A road's centre line in the grid's CRS, where there is data."""

    line: shapely.LineString | shapely.MultiLineString
    width: float
    """Metres of carriageway."""


@dataclass(frozen=True, slots=True)
class Features:
    """The vectors of one district; every feature belongs to exactly one."""

    buildings: list[BuildingTruth]
    roads: list[RoadTruth]


def rim(world: World) -> NDArray[np.float64]:
    """The outline of the data, (n, 2) x, y in pixels: slanted sides with ragged steps."""
    n = float(world.size)
    if not world.rim:
        return np.array([(0.0, 0.0), (n, 0.0), (n, n), (0.0, n)])
    dice = Dice(key(world.seed, "rim", world.size))
    depths = [(dice.between(0.004, 0.012), dice.between(0.022, 0.045))[:: dice.pick((-1, 1))] for _ in range(4)]
    steps = 48
    out = []
    for turn in range(4):
        ends = depths[turn]
        first, last = depths[turn - 1][1], 1 - depths[(turn + 1) % 4][0]
        for k in range(steps):
            f = k / steps
            wave = 0.0016 * value_at(world.seed, "rim", 6 * f, turn * 2.0) * min(1.0, 8 * f, 8 - 8 * f)
            ragged = dice.between(-0.0003, 0.0003) if k else 0.0
            a = (first + (last - first) * f) * n
            b = (ends[0] + (ends[1] - ends[0]) * f + wave + ragged) * n
            out.append(((a, b), (n - b, a), (n - a, n - b), (b, n - a))[turn])
    return np.round(np.array(out) * 16) / 16


def paint(world: World, rows: slice, cols: slice) -> Painted:
    """A window's picture and truth; the same bits in whatever window a pixel is asked for.

    Memory is that of the window (5 bytes a pixel) and one sheet.

    Raises:
        UnusableInput: the window is empty or reaches outside the world.
    """
    if not (0 <= rows.start < rows.stop <= world.size and 0 <= cols.start < cols.stop <= world.size):
        raise UnusableInput(
            f"The window of rows {rows.start}:{rows.stop} and columns {cols.start}:{cols.stop} does not lie in a "
            f"world of {world.size} pixels a side; give one that does."
        )
    height, width = rows.stop - rows.start, cols.stop - cols.start
    image = np.empty((3, height, width), np.uint8)
    label = np.empty((height, width), np.uint8)
    for top in range(rows.start - rows.start % SHEET, rows.stop, SHEET):
        for left in range(cols.start - cols.start % SHEET, cols.stop, SHEET):
            part = (
                slice(max(top, rows.start), min(top + SHEET, rows.stop)),
                slice(max(left, cols.start), min(left + SHEET, cols.stop)),
            )
            to = tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, (rows, cols), strict=True))
            image[:, *to], label[to] = paint_sheet(world.seed, *part, scale=world.scale)
    edge = rim(world)
    inside = np.zeros((height, width), np.int32)
    ring = (edge, np.zeros(1, np.int64), np.zeros(1, np.int64))
    fill(inside, ring, values=np.ones(1, np.int32), corner=(rows.start, cols.start))
    valid = inside > 0
    image[:, ~valid] = 0
    label[~valid] = IGNORE
    return Painted(image, label, valid)


def features(world: World, rows: slice | None = None, cols: slice | None = None) -> Iterator[Features]:
    """Buildings and roads, one district after the other, cut to the data.

    Args:
        world: the world.
        rows: only districts that can reach these rows.
        cols: only districts that can reach these columns.
    """
    whole = slice(0, world.size)
    data = shapely.Polygon(rim(world))
    shapely.prepare(data)
    for i, j in places(world.seed, rows or whole, cols or whole, scale=world.scale):
        part = district(world.seed, i, j)
        shapes = [
            shapely.Polygon(r[0], r[1:]) for r in ([np.array(x) * world.scale for x in b] for b in part.buildings)
        ]
        buildings = [
            BuildingTruth(((i + 4) * 330 + j + 4) * 2048 + n + 1, to_ground(world, cut))
            for n, shape in enumerate(shapes)
            if data.intersects(shape) and (cut := data.intersection(shape)).area > 0
        ]
        roads = [
            RoadTruth(to_ground(world, cut), street.width * 0.5)
            for street in part.roads
            if (cut := data.intersection(shapely.LineString(np.array(street.line) * world.scale))).length > 0
        ]
        if buildings or roads:
            yield Features(buildings, roads)


def to_ground(world: World, shape: G) -> G:
    """A shape from pixels to the grid's CRS."""
    moved: G = shapely.transform(shape, lambda xy: np.array(ORIGIN) + xy * (world.resolution, -world.resolution))
    return moved
