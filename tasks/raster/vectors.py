"""Vector files as classed shapes in pixel coordinates of a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.classes import ClassMap
from tasks.raster.features import Layer, are_lines, are_polygons
from tasks.raster.gdal import rasterio
from tasks.raster.georeference import named_crs
from tasks.raster.grid import Window, ground_resolution, whole
from tasks.raster.schemas import is_mapped, meaning_of
from tasks.raster.vector_placing import meeting, mended, near_boxes, to_pixels
from tasks.raster.vector_reading import read_layers


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the features that lie on the scene, or near its edge."""

    mended: int = 0
    """Shapes that were invalid."""
    unclassed: int = 0
    """Polygons and lines left out: of no class of the map, or out of sight."""
    others: int = 0
    """Features left out that are neither polygons nor lines."""
    lost: int = 0
    """Shapes left out that were invalid and that mending leaves nothing of: polygons without an area."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.mended + other.mended,
            self.unclassed + other.unclassed,
            self.others + other.others,
            self.lost + other.lost,
        )

    def told(self) -> list[str]:
        """What was mended or left out, in words."""
        parts = (
            (self.mended, "invalid one mended", "invalid ones mended"),
            (self.lost, "that encloses nothing left out", "that enclose nothing left out"),
            (self.unclassed, *2 * ("of no class of the map, or out of sight, left out",)),
            (
                self.others,
                "that is neither a polygon nor a line left out",
                "that are neither polygons nor lines left out",
            ),
        )
        return [f"{count:,} {one if count == 1 else many}" for count, one, many in parts if count]


@dataclass(frozen=True, slots=True)
class Shapes:
    """Classed shapes on a grid, in file order."""

    geometry: NDArray[np.object_]
    """shapely geometries in pixel coordinates: x = column, y = row, the first pixel's corner at (0, 0)."""
    label: NDArray[np.uint8]
    """Class id of each."""
    width: NDArray[np.float64]
    """Width of each line in pixels; 0 for polygons."""
    tally: Tally = Tally()
    total: int | None = None
    """Features of the file, wherever they lie; None where nobody has counted."""

    def __len__(self) -> int:
        return len(self.geometry)

    def footprints(self) -> NDArray[np.object_]:
        """Areas: polygons as they are, lines as wide as they say."""
        lines = self.width > 0
        areas = self.geometry.copy()
        areas[lines] = shapely.buffer(self.geometry[lines], self.width[lines] / 2, cap_style="flat")
        return areas

    def apart(self, scene: tuple[int, int]) -> Shapes:
        """Each part of a multipolygon as a shape of its own, in its place: what was dissolved is many things.

        Args:
            scene: rows and columns; parts that lie beyond are left out.
        """
        lines, areas = (np.flatnonzero(which) for which in (self.width > 0, self.width == 0))
        parts, of = shapely.get_parts(self.geometry[areas], return_index=True)
        place = np.concatenate([lines, areas[of]])
        geometry = np.concatenate([self.geometry[lines], parts])
        order = np.argsort(place, kind="stable")
        order = order[meeting(geometry[order], (0.0, 0.0, float(scene[1]), float(scene[0])))]
        place, geometry = place[order], geometry[order]
        return replace(self, geometry=geometry, label=self.label[place], width=self.width[place])

    def summary(self) -> str:
        """How many there are, and what was mended or left out: `1,204 shapes on the scene; 3 invalid ones mended`."""
        said = f"{len(self):,} shape{'s' if len(self) != 1 else ''} on the scene"
        here = len(self) + self.tally.unclassed + self.tally.others + self.tally.lost
        if self.total is not None and self.total > here:
            said += f", of {self.total:,} in the file"
        return "; ".join([said, *self.tally.told()])


def read_shapes(
    path: str,
    grid: GeoBox,
    classes: ClassMap,
    *,
    vector_class: str | None,
    road_width: float,
    assume_crs: str | None = None,
) -> Shapes:
    """Read polygons and lines onto a grid, those that lie there.

    OpenStreetMap's and Overture's features mean what `tasks/raster/osm.py` and `overture.py` say. In other files a
    feature's class is its `class` column, else its layer's name (buildings, roads), else `vector_class`, and a line's
    width its `width` column. Lines without a width are `road_width` wide; both are in ground metres (pixels where the
    grid has no CRS). Invalid shapes are mended. Features without a geometry lie nowhere, and are not read.

    Args:
        path: GeoPackage, GeoJSON, GeoParquet, an OpenStreetMap extract, or what else GDAL reads.
        grid: where they are wanted.
        classes: the map's classes; features of another, or of none, are left out and counted.
        vector_class: the class of features that name none.
        road_width: of lines that say nothing.
        assume_crs: of a file that names none.

    Raises:
        UnusableInput: not a vector file, no CRS where the grid has one, or nothing on the grid that has a class.
    """
    assumed = None if assume_crs is None else pyproj.CRS(named_crs(assume_crs).to_wkt())
    parts, names, totals, mapped = [], [], list[int | None](), False
    for layer in read_layers(path, near=partial(near_boxes, grid, path), assumed=assumed):
        totals.append(layer.total)
        mapped |= is_mapped(layer)
        found, unknown = _on_grid(layer, path, grid, classes, vector_class=vector_class, road_width=road_width)
        parts.append(found)
        names.extend(unknown)
    if not any(total != 0 for total in totals):
        raise UnusableInput(f"{path} is empty: it has no features; expected polygons or lines.")
    tally = sum((part.tally for part in parts), Tally())
    shapes = Shapes(
        np.concatenate([part.geometry for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.width for part in parts]),
        tally,
        None if None in totals else sum(total for total in totals if total is not None),
    )
    if len(shapes):
        return shapes
    if not tally.unclassed and tally.told():
        raise UnusableInput(
            f"{path} has nothing on the scene that could be used ({', '.join(tally.told())}); expected polygons with "
            "an area, or lines."
        )
    if not tally.unclassed:
        raise UnusableInput(f"None of the shapes of {path} lies on the scene; check that both are of the same place.")
    raise _without_class(path, names, classes, mapped=mapped)


class Footprints:
    """Areas of shapes, found by where they lie."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._areas = shapes.footprints()
        self._tree = shapely.STRtree(self._areas)

    def labels(self, window: Window, *, background: int = 0) -> NDArray[np.uint8]:
        """Classes burnt into a window: roads first, then polygons over them, each by pixel centres.

        Returns:
            (y, x) uint8 class ids; `background` where there is no shape.
        """
        return self._burn(window, self.shapes.label, background).astype(np.uint8)

    def numbers(self, window: Window) -> NDArray[np.int32]:
        """(y, x): which shape gave a pixel its class, counted from 1 as they come in the file; 0 = none."""
        return self._burn(window, np.arange(1, len(self.shapes) + 1), 0)

    def _burn(self, window: Window, values: NDArray[Any], background: int) -> NDArray[np.int32]:
        rows, cols = window
        out = np.full((rows.stop - rows.start, cols.stop - cols.start), background, np.int32)
        box = shapely.box(cols.start, rows.start, cols.stop, rows.stop)
        hit = np.sort(self._tree.query(box, predicate="intersects"))
        order = hit[np.argsort(self.shapes.width[hit] == 0, kind="stable")]
        if order.size:
            moved = rasterio.Affine.translation(cols.start, rows.start)
            pairs = [(self._areas[i], int(values[i])) for i in order]
            rasterio.features.rasterize(pairs, out=out, transform=moved)
        return out


def _on_grid(
    layer: Layer, path: str, grid: GeoBox, classes: ClassMap, *, vector_class: str | None, road_width: float
) -> tuple[Shapes, list[str | None]]:
    """A layer's shapes, and the names of those that have no class (None: it has no name)."""
    if grid.crs is None and is_mapped(layer):
        raise UnusableInput(
            f"{path} is OpenStreetMap's or Overture's, in degrees, and the scene has no CRS; ingest it with --crs or "
            "--assume-crs."
        )
    meaning = meaning_of(layer, vector_class)
    there = ~shapely.is_missing(meaning.geometry)
    if (boxes := near_boxes(grid, path, layer.crs)) is not None:
        # A projection folds the far side of the world onto the scene: what is not near it is left out before.
        there &= np.any([meeting(meaning.geometry, box) for box in boxes], axis=0)
    geometry, names, metres = (field[there] for field in (meaning.geometry, meaning.names, meaning.width))
    geometry = to_pixels(geometry, layer.crs, grid)
    rows, cols = whole(grid)
    scene = (0.0, 0.0, float(cols.stop), float(rows.stop))
    # Places without a pixel are infinite.
    here = np.isfinite(shapely.bounds(geometry)).all(axis=1) & meeting(geometry, scene)
    drawn = here & (are_polygons(geometry) | are_lines(geometry))
    known = drawn & np.isin(names.astype(str), classes.names)
    unknown = list(dict.fromkeys(names[drawn & ~known]))
    others, unclassed = int((here & ~drawn).sum()), int((drawn & ~known).sum())
    geometry, names, metres = geometry[known], names[known], metres[known]
    geometry, broken = mended(geometry)
    kept = meeting(geometry, scene)  # what mending left nothing of is None, and meets nothing
    ids = {name: classes.id(name) for name in classes.names}
    label = np.array([ids[name] for name in names[kept]], np.uint8)
    metres = np.where(np.isfinite(metres), metres, road_width)[kept]
    width = np.where(are_lines(geometry[kept]), metres / (ground_resolution(grid) or 1.0), 0.0)
    lost = int(shapely.is_missing(geometry).sum())
    tally = Tally(int((broken & kept).sum()), unclassed, others, lost)
    return Shapes(geometry[kept], label, width, tally), unknown


def _without_class(path: str, names: list[str | None], classes: ClassMap, *, mapped: bool) -> UnusableInput:
    """The error of shapes on the scene none of which has a class of the map."""
    told = [name for name in names if name is not None]
    if told:
        return UnusableInput(
            f"There is no class '{told[0]}' in this map, as {path} names its shapes; the map's classes are "
            f"{', '.join(classes.names)}."
        )
    if mapped:
        return UnusableInput(
            f"Nothing of {path} on the scene is a building or a road that can be seen from above; give another file."
        )
    return UnusableInput(
        f"{path} does not say what it shows on the scene (no 'class' column, and no layer named after a class); "
        "name it with --vector-class."
    )
