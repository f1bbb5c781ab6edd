"""What an evaluation counts, window by window, and the scores that follow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from models.metrics import Confusion
from tasks.raster.centre_lines import REACH
from tasks.raster.classes import IGNORE, ClassMap
from tasks.raster.grid import Window, crop_to, grown, within
from tasks.raster.ground import Ground
from tasks.raster.scores.apls import apls
from tasks.raster.scores.boundary import Boundaries
from tasks.raster.scores.calibration import Calibration
from tasks.raster.scores.cells import Cells, bootstrap
from tasks.raster.scores.instance_scores import score_instances
from tasks.raster.scores.instances import Instances
from tasks.raster.scores.precision_recall import Curve, PrecisionRecall
from tasks.raster.scores.regions import UNNAMED
from tasks.raster.scores.relaxed import RelaxedCount, count_relaxed
from tasks.raster.scores.road_graph import road_graph
from tasks.raster.scores.road_lines import RoadLines
from tasks.raster.scores.topo import topo
from tasks.score_results import SLACK, Results, RoadScores, scores_of

BOUNDARY = 2
"""Pixels from a boundary that boundary IoU counts."""
NAMED = {"objects": "building", "roads": "road"}
"""The class that each of these is counted of, where nobody says otherwise."""
KINDS = ("boundaries", "objects", "roads", "curves", "calibration")
"""What may be counted besides classes of pixels."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A window of truth and prediction; all but `planes` are (y, x) of what lies around it, too."""

    truth: NDArray[np.uint8]
    """Class ids, 255 where unknown."""
    prediction: NDArray[np.uint8]
    """The same."""
    planes: NDArray[np.uint8] | None = None
    """(class, y, x) probabilities, 254ths, of the window alone."""
    true_objects: NDArray[Any] | None = None
    """Ids over the whole scene; None: what hangs together is one."""
    objects: NDArray[Any] | None = None
    """The same, of the prediction."""


class Scoring:
    """Takes the windows of a scene in reading order."""

    def __init__(
        self, classes: ClassMap, told: Iterable[int], shape: tuple[int, int], ground: Ground, *, cell: int,
        kinds: Sequence[str], extents: Mapping[str, tuple[int, int, int, int]], named: Mapping[str, str] = NAMED
    ) -> None:  # fmt: skip
        """Begin.

        Args:
            classes: the map's.
            told: ids of those that the truth can tell.
            shape: rows and columns of the scene.
            ground: under its grid.
            cell: pixels a side of the cells in which it is counted.
            kinds: of `KINDS`, what is counted besides pixels.
            extents: of each scene in the map, first row and column, and those after the last.
            named: the class whose objects, and the one whose roads, are counted.
        """
        self._named = dict(named)
        self._classes, self._shape, self._ground = classes, shape, ground
        self._cells, *scenes = (
            Cells.empty(extent, side=cell, classes=len(classes)) for extent in ((0, 0, *shape), *extents.values())
        )
        self._scenes = dict(zip(extents, scenes, strict=True)) if len(scenes) > 1 else {}
        self._boundaries = Boundaries(len(classes), shape, distance=BOUNDARY) if "boundaries" in kinds else None
        self._calibration = Calibration(len(classes)) if "calibration" in kinds else None
        self._curves = PrecisionRecall(len(classes)) if "curves" in kinds else None
        self._has_planes = False
        self._building, self._road = (
            classes.id(name) if name in classes.names and classes.id(name) in told and kind in kinds else None
            for kind, name in ((kind, named[kind]) for kind in NAMED)
        )
        self._objects = Instances(shape[1])
        self._relaxed = RelaxedCount()
        self._true_lines, self._lines = RoadLines(shape), RoadLines(shape)
        self._reach = max(0 if self._boundaries is None else BOUNDARY, 0 if self._road is None else REACH)

    def around(self, window: Window) -> Window:
        """What must be read to count a window."""
        return crop_to(grown(window, self._reach), self._shape)

    def add(self, window: Window, seen: Seen) -> None:
        """Count the next window.

        Raises:
            UnusableInput: an id is no class, or probabilities are none.
        """
        around = self.around(window)
        inner = within(window, around)
        truth, prediction = seen.truth[inner], seen.prediction[inner]
        self._count_pixels(window, truth, prediction)
        if self._boundaries is not None:
            near = within(self._boundaries.around(window), around)
            self._boundaries.add(window, seen.truth[near], seen.prediction[near])
        if seen.planes is not None:
            self._count_probabilities(seen.planes, truth)
        if self._building is not None:
            self._count_objects(window, inner, seen)
        if self._road is not None:
            self._count_roads(window, around, seen)

    def results(self) -> Results:
        """What was found."""
        matrix = self._cells.matrix
        return Results(
            self._classes.names,
            scores_of(matrix),
            matrix,
            self._cells,
            bootstrap(self._cells),
            {name: (scores_of(cells.matrix), bootstrap(cells)) for name, cells in self._scenes.items()},
            None if self._boundaries is None else self._boundaries.scores(),
            None if self._building is None else score_instances(self._objects.met()),
            self._road_scores(),
            self._class_curves(),
            self._calibration.scores() if self._calibration is not None and self._has_planes else None,
            self._named,
        )

    def _count_probabilities(self, planes: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        self._has_planes = True
        if self._curves is not None:
            self._curves.add(planes, truth)
        if self._calibration is not None:
            self._calibration.add(planes, truth)

    def _class_curves(self) -> dict[str, Curve] | None:
        if self._curves is None or not self._has_planes:
            return None
        named = zip(self._classes.names, self._curves.curves(), strict=True)
        return {name: curve for name, curve in named if not math.isnan(curve.average_precision)}

    def _count_pixels(self, window: Window, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count a window cell by cell; one that lies in several windows is counted in parts."""
        for cells in (self._cells, *self._scenes.values()):
            for cell, part in cells.parts(window):
                counted = Confusion(len(self._classes))
                counted.add(np.ascontiguousarray(truth[part]), np.ascontiguousarray(prediction[part]))
                cells.counts[cell] += counted.matrix

    def _count_objects(self, window: Window, inner: Window, seen: Seen) -> None:
        truth, prediction = seen.truth[inner], seen.prediction[inner]
        true, found = truth == self._building, prediction == self._building
        self._objects.add(
            window,
            _objects(true, seen.true_objects, inner),
            _objects(found, seen.objects, inner),
            ignored=(truth == IGNORE) | (prediction == IGNORE),
            confidence=None if seen.planes is None else seen.planes[self._building],
        )

    def _count_roads(self, window: Window, around: Window, seen: Seen) -> None:
        unknown = (seen.truth == IGNORE) | (seen.prediction == IGNORE)
        true, found = ((ids == self._road) & ~unknown for ids in (seen.truth, seen.prediction))
        near = crop_to(grown(window, SLACK), self._shape)
        part = within(near, around)
        marked = (np.where(unknown[part], np.uint8(IGNORE), mask[part].astype(np.uint8)) for mask in (true, found))
        self._relaxed += count_relaxed(*marked, inner=within(window, near), slack=SLACK)
        self._true_lines.add(window, around, true)
        self._lines.add(window, around, found)

    def _road_scores(self) -> RoadScores | None:
        if self._road is None:
            return None
        across, down = self._pixel()
        truth, proposal = (
            road_graph(shapely.transform(lines.lines(), lambda places: places * [across, down]), cross=False)
            for lines in (self._true_lines, self._lines)
        )
        return RoadScores(self._relaxed.scores(), apls(truth, proposal), topo(truth, proposal), self._ground.unit)

    def _pixel(self) -> tuple[float, float]:
        """Metres of a column and of a row, in the middle of the scene."""
        middle = self._ground.middle
        side, aspect = float(self._ground.pixel(middle)[0]), self._ground.aspect(middle) ** 0.5
        return side * aspect, side / aspect


def _objects(mask: NDArray[np.bool_], ids: NDArray[Any] | None, inner: Window) -> NDArray[Any]:
    """(y, x) objects of a class as `Instances` takes them: its pixels without an id are told apart by their regions."""
    if ids is None:
        return mask
    own = ids[inner].astype(np.int64)
    return np.where(mask, np.where(own > 0, own, UNNAMED), 0)
