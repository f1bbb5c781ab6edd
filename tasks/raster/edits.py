"""What a person changed in a review: the objects as they were given out against the file as it came back."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, replace
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
from tasks.raster.grid import Window, shape_of
from tasks.raster.ogr import geopandas as gpd
from tasks.raster.ogr import pyogrio

LAYER = "objects"
DECIMALS = 2
"""Of a pixel, to which outlines are compared: coordinates that nobody touched go through a CRS and a file."""


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
        drawn = self._last(window, here)
        mask = (drawn > 0) & valid
        last = drawn[mask] - 1
        label[mask], instance[mask] = self.label[last], self.instance[last]
        confidence[mask] = np.where(self.label[last] == IGNORE, 255, sure)

    def touches(self, window: Window) -> bool:
        """Whether any reaches into a window."""
        return bool(len(self._reaching(window)))

    def _last(self, window: Window, here: NDArray[np.intp]) -> NDArray[np.int32]:
        """(y, x): number, from 1, of the last one that covers a pixel; 0 where none does."""
        shape = shape_of(window)
        if not len(here):
            return np.zeros(shape, np.int32)
        corner = rasterio.Affine.translation(window[1].start, window[0].start)
        pairs = [(self.outline[n], n + 1) for n in here.tolist()]
        drawn: NDArray[np.int32] = rasterio.features.rasterize(pairs, out_shape=shape, transform=corner, dtype="int32")
        return drawn

    def _reaching(self, window: Window) -> NDArray[np.intp]:
        rows, cols = window
        box = shapely.box(cols.start, rows.start, cols.stop, rows.stop)
        return np.flatnonzero(shapely.intersects(self.outline, box))

    def covers(self, window: Window) -> NDArray[np.bool_]:
        """(y, x): True where any of them lies, data or not."""
        return self._last(window, self._reaching(window)) > 0

    def numbered_from(self, first: int) -> Edits:
        """The same with other ids: from `first` on, in the order of those that they have."""
        ids = np.unique(self.instance[self.instance > 0])
        return replace(
            self, instance=np.where(self.instance > 0, np.searchsorted(ids, self.instance) + first, 0).astype(np.uint32)
        )

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
    """What tells an object from others, but for parts and copies of it; -1 for what a person drew."""
    id: NDArray[np.int64]
    label: NDArray[np.uint8]
    outline: NDArray[np.object_]
    mended: int
    """Invalid outlines that were put right."""
    frame: gpd.GeoDataFrame
    """The file's features as they are but for empty ones, each with a number for `key` and `id`."""

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
    frame = _frame(path)
    told = frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if grid.crs is not None:
        if frame.crs is None:
            raise UnusableInput(
                f"The layer '{LAYER}' of {path} has lost its CRS; set it (ogr2ogr -a_srs) and try again."
            )
        frame = frame.to_crs(pyproj.CRS(grid.crs.wkt))
    inverse = ~editing_plane(grid)
    outline = np.array(
        frame.geometry.force_2d().affine_transform([inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f]),
        object,
    )
    broken = ~shapely.is_valid(outline) if len(outline) else np.zeros(0, bool)
    outline[broken] = shapely.make_valid(outline[broken])
    single = shapely.get_num_geometries(outline) == 1  # QGIS makes all of them multipart where one is
    outline[single] = shapely.get_geometry(outline[single], 0)
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
    missing = {"class", "id"} - set(frame.columns)
    if missing:
        raise UnusableInput(
            f"The layer '{LAYER}' of {path} has no column '{min(missing)}'; edit the file that 'geoloom review' wrote."
        )
    for name, absent in (("key", -1), ("id", 0)):
        if name not in frame:
            frame[name] = absent
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


@dataclass(frozen=True, slots=True)
class Changes:
    """What was changed from one file to the next."""

    edits: Edits
    objects: int
    """Objects that were changed, drawn or removed."""
    ids: NDArray[np.int64]
    """Object id of each feature of the later file; 0 = none."""


def differences(before: Read, after: Read, *, next_id: int) -> Changes:
    """What was changed.

    What has the outline and the class of an object that was given out is that object. Any other that has the key of an
    object that is there no more takes its id on; of several, such as the parts of a split one, the first. All others
    are new, copies too. Where a file has lost its keys, the ids do.

    Args:
        before: as they were given out.
        after: as they came back.
        next_id: the first object id that is free, for what was drawn, split off or copied.
    """
    given, came = _marks(before), _marks(after)
    place = {mark: n for n, mark in enumerate(given)}
    still = set(came)
    gone = [n for n, mark in enumerate(given) if mark not in still]
    drawn = [n for n, mark in enumerate(came) if mark not in place]
    ids = np.array([before.id[place[mark]] if mark in place else 0 for mark in came], np.int64)
    heirs = _Heirs(before, gone)
    for n in drawn:
        own = heirs.of(int(after.key[n]), int(after.id[n]))
        if not 0 < after.label[n] < IGNORE:
            continue
        if own <= 0:
            own, next_id = next_id, next_id + 1
        ids[n] = own
    erased = Edits(before.outline[gone], np.zeros(len(gone), np.uint8), np.zeros(len(gone), np.uint32))
    edits = erased.then(Edits(after.outline[drawn], after.label[drawn], ids[drawn].astype(np.uint32)))
    return Changes(edits, len(drawn) + len(gone) - len(heirs.taken), ids)


def _marks(objects: Read) -> list[tuple[bytes, int]]:
    """Outline and class of each, the same wherever a ring begins and whichever way it runs."""
    rounded = shapely.transform(objects.outline, lambda xy: np.round(xy, DECIMALS) + 0.0)  # without -0
    outlines = shapely.to_wkb(shapely.normalize(rounded))
    return list(zip(outlines.tolist(), objects.label.tolist(), strict=True))


class _Heirs:
    """Objects that are there no more, each of which one other may follow."""

    def __init__(self, before: Read, gone: list[int]) -> None:
        self.before = before
        self.taken: set[int] = set()
        self._by_key: defaultdict[int, deque[int]] = defaultdict(deque)
        self._by_id: defaultdict[int, deque[int]] = defaultdict(deque)
        for n in gone:
            self._by_key[int(before.key[n])].append(n)
            self._by_id[int(before.id[n])].append(n)

    def of(self, key: int, number: int) -> int:
        """Id of the one that is followed; 0 = none."""
        if key < 0 and number <= 0:
            return 0
        waiting = self._by_key[key] if key >= 0 else self._by_id[number]
        while waiting:
            old = waiting.popleft()
            if old not in self.taken:
                self.taken.add(old)
                return int(self.before.id[old])
        return 0
