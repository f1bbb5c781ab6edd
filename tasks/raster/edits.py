"""What a person changed in a review: the objects as they were given out against the file as it came back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.classes import IGNORE, IGNORED_NAMES, ClassMap
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window
from tasks.raster.ogr import geopandas as gpd
from tasks.raster.ogr import pyogrio

LAYER = "objects"
SAME = 1e-3
"""Pixels by which an outline that nobody touched may have moved: coordinates go through a CRS and a file."""


@dataclass(frozen=True, slots=True)
class Edits:
    """Areas to burn, in this order: what was changed or removed becomes `other`, then what it became is drawn."""

    outline: NDArray[np.object_]
    """Polygons in columns and rows of the scene."""
    label: NDArray[np.uint8]
    """Class of each; 0 erases, 255 ignores."""
    instance: NDArray[np.uint32]
    """Object id of each; 0 = none."""

    def __len__(self) -> int:
        return len(self.outline)

    def burn(
        self,
        window: Window,
        *,
        valid: NDArray[np.bool_],
        label: NDArray[np.uint8],
        instance: NDArray[np.uint32],
        confidence: NDArray[np.uint8],
        sure: int,
    ) -> None:
        """Draw what lies in a window into its arrays, (y, x) each; only where there is data.

        Args:
            window: where they lie.
            valid: True = data.
            label: class ids.
            instance: object ids.
            confidence: of the labels.
            sure: what a person's word is worth there.
        """
        here = self._reaching(window)
        if not len(here):
            return
        corner = rasterio.Affine.translation(window[1].start, window[0].start)
        pairs = [(self.outline[n], n + 1) for n in here.tolist()]  # the last that covers a pixel has it
        drawn = rasterio.features.rasterize(pairs, out_shape=label.shape, transform=corner, dtype="int32")
        mask = (drawn > 0) & valid
        last = drawn[mask] - 1
        label[mask], instance[mask] = self.label[last], self.instance[last]
        confidence[mask] = np.where(self.label[last] == IGNORE, 255, sure)

    def touches(self, window: Window) -> bool:
        """Whether any reaches into a window."""
        return bool(len(self._reaching(window)))

    def _reaching(self, window: Window) -> NDArray[np.intp]:
        rows, cols = window
        box = shapely.box(cols.start, rows.start, cols.stop, rows.stop)
        return np.flatnonzero(shapely.intersects(self.outline, box))

    def then(self, more: Edits) -> Edits:
        """These, and others after them."""
        return Edits(
            np.concatenate([self.outline, more.outline]),
            np.concatenate([self.label, more.label]),
            np.concatenate([self.instance, more.instance]),
        )


@dataclass(frozen=True, slots=True)
class Read:
    """Objects of a review file, in columns and rows."""

    key: NDArray[np.int64]
    """What tells an object from others; -1 for what a person drew."""
    id: NDArray[np.int64]
    label: NDArray[np.uint8]
    outline: NDArray[np.object_]
    mended: int
    """Invalid outlines that were put right."""
    frame: gpd.GeoDataFrame
    """The file's features as they are, each with a number for `key` and `id`."""

    def __len__(self) -> int:
        return len(self.key)


def editing_plane(grid: GeoBox) -> Affine:
    """From columns and rows to the plane where a GIS edits.

    Pictures that lie nowhere are shown by QGIS with their rows upwards from minus their number; what is drawn over them
    has to be so, too.
    """
    if grid.crs is None and grid.affine == Affine.identity():
        return Affine.scale(1, -1)
    return grid.affine


def nothing() -> Edits:
    """No edits."""
    return Edits(np.zeros(0, object), np.zeros(0, np.uint8), np.zeros(0, np.uint32))


def read_objects(path: Path, grid: GeoBox, classes: ClassMap) -> Read:
    """Objects of a review.

    Raises:
        UnusableInput: not a review, or a feature in it has no class, or one that the map does not have.
    """
    told = frame = _frame(path)
    if grid.crs is not None:
        if frame.crs is None:
            raise UnusableInput(
                f"The layer '{LAYER}' of {path} has lost its CRS; set it (ogr2ogr -a_srs) and try again."
            )
        frame = frame.to_crs(pyproj.CRS(grid.crs.wkt))
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    inverse = ~editing_plane(grid)
    outline = np.array(
        frame.geometry.force_2d().affine_transform([inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f]),
        object,
    )
    broken = ~shapely.is_valid(outline) if len(outline) else np.zeros(0, bool)
    outline[broken] = shapely.make_valid(outline[broken])
    key, number = frame["key"].to_numpy(), frame["id"].to_numpy()
    return Read(key, number, _labels(frame["class"], path, classes), outline, int(broken.sum()), told)


def _frame(path: Path) -> Any:
    try:
        if path.suffix == ".parquet":
            return gpd.read_parquet(path)
        frame = gpd.read_file(path, layer=LAYER)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise UnusableInput(
            f"{path} is not a review (it has no layer '{LAYER}'); "
            "expected products/review.gpkg of 'geoloom review', edited."
        ) from error
    missing = {"class", "key", "id"} - set(frame.columns)
    if missing:
        raise UnusableInput(
            f"The layer '{LAYER}' of {path} has no column '{min(missing)}'; edit the file that 'geoloom review' wrote."
        )
    for name, absent in (("key", -1), ("id", 0)):
        frame[name] = pd.to_numeric(frame[name], errors="coerce").fillna(absent).astype(np.int64)
    return frame


def _labels(names: Any, path: Path, classes: ClassMap) -> NDArray[np.uint8]:
    table = {name: n for n, name in enumerate(classes.names)} | dict.fromkeys(IGNORED_NAMES, IGNORE)
    given = names.fillna("").astype(str).str.strip().str.lower()
    unknown = sorted(set(given) - set(table))
    if unknown:
        raise UnusableInput(
            f"{path} has objects of the class '{unknown[0]}'; expected one of {', '.join(classes.names)} or ignore."
        )
    label: NDArray[np.uint8] = given.map(table).to_numpy(np.uint8)
    return label


def differences(before: Read, after: Read, *, next_id: int) -> Edits:
    """What was changed.

    Args:
        before: as they were given out.
        after: as they came back.
        next_id: the first object id that is free, for what was drawn or split off.
    """
    place = {int(key): n for n, key in enumerate(before.key)}
    drawn_before = {shapely.to_wkb(before.outline[n]): n for n in np.flatnonzero(before.key < 0)}
    kept, drawn = set(), []
    for n in range(len(after)):
        old = place.get(int(after.key[n])) if after.key[n] >= 0 else drawn_before.get(shapely.to_wkb(after.outline[n]))
        same = old is not None and old not in kept and after.label[n] == before.label[old]
        if same and shapely.equals_exact(after.outline[n], before.outline[old], SAME):
            kept.add(old)
        else:
            drawn.append(n)
    gone = [n for n in range(len(before)) if n not in kept]
    ids, taken = [], set()
    for n in drawn:
        # Of a split object the first part keeps the id.
        own = int(after.id[n])
        if own <= 0 or own in taken or after.key[n] < 0:
            own, next_id = next_id, next_id + 1
        taken.add(own)
        ids.append(own if 0 < after.label[n] < IGNORE else 0)
    erased = Edits(before.outline[gone], np.zeros(len(gone), np.uint8), np.zeros(len(gone), np.uint32))
    return erased.then(Edits(after.outline[drawn], after.label[drawn], np.array(ids, np.uint32)))
