"""Labelling by the vectors of a map: prompts for Segment Anything, whose masks become the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from models.sam_automatic import tidied
from models.sam_prompts import LinePiece, segment_boxes, segment_lines
from models.segmenter import EncodedWindow
from tasks.labelers import HALO, Dropped, Labelled
from tasks.raster.certainty import AGREED, BESIDE, BEYOND, DOUBTED, FAR, LINE, REFUSED, cells, known_table
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window, shape_of
from tasks.raster.lines import cut_line, widen
from tasks.raster.vectors import Shapes
from tasks.sam_view import CORE, SamView

PIECE, SPACING = 200.0, 40.0
"""Pixels: length of the pieces of a line, and between the points on them."""
SLACK, SLACK_PIXELS = 0.1, (3.0, 12.0)
"""How far a mask may leave its polygon: a share of the root of its area, and the least and the most in pixels."""
SPECK = 32
"""Pixels below which a hole in an object, or a part away from it, is a flaw of SAM's mask."""
CORRIDOR = 1.5
"""What a road may have at most, as a multiple of the width it is thought to have."""
EVIDENCE = 0.2
"""Score of a polygon's mask below which the picture does not show what the vector says."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A window as it is labelled, and what is known of each pixel (`tasks/raster/certainty.py`)."""

    label: NDArray[np.uint8]
    instance: NDArray[np.uint32]
    kind: NDArray[np.uint8]
    score: NDArray[np.float32]
    dropped: list[Dropped]

    @classmethod
    def nothing(cls, shape: tuple[int, int]) -> Seen:
        """A window without vectors: all of it is `other`."""
        return cls(
            np.zeros(shape, np.uint8), np.zeros(shape, np.uint32), np.full(shape, FAR, np.uint8),
            np.zeros(shape, np.float32), [],
        )  # fmt: skip

    def paint(self, mask: NDArray[np.bool_], klass: int, *, instance: int) -> None:
        """Give the pixels of a mask a class and an object, whatever they had."""
        self.label[mask], self.instance[mask] = klass, instance

    def know(self, where: NDArray[np.bool_], kind: int, score: float) -> None:
        """Say of pixels what they are."""
        self.kind[where], self.score[where] = kind, score

    def cells(self) -> NDArray[np.uint8]:
        """(y, x) their cells in the table of certainty."""
        return cells(self.kind, self.score, (self.label > 0) & (self.label != IGNORE))


class VectorLabeler:
    """Vectors as prompts: a polygon's box, points along a line; SAM's masks become the labels.

    What no vector names is `other`: the vectors are taken to be all there is. One that the picture does not show is
    dropped, and told.
    """

    window, halo, pieces = CORE, HALO, False

    def __init__(self, view: SamView, shapes: Shapes) -> None:
        self.view, self.shapes = view, shapes
        self.bounds = shapely.bounds(shapes.geometry)
        self.tree = shapely.STRtree(shapes.geometry)
        self.tells = frozenset({0, *shapes.label.tolist()})

    def __call__(self, window: Window) -> Labelled:
        """Label one window."""
        place = self.view.around(window)
        seen = self.look(place)
        confidence = known_table()[seen.cells()]
        confidence[seen.label == IGNORE] = 255
        dropped = tuple(one for one in seen.dropped if one.lies_in(window))
        return Labelled(place, seen.label, seen.instance, confidence, dropped)

    def look(self, place: Window) -> Seen:
        """What vectors and SAM say of a window: roads first, buildings on top of them."""
        rows, cols = place
        seen = Seen.nothing(shape_of(place))
        here = np.sort(
            self.tree.query(shapely.box(cols.start, rows.start, cols.stop, rows.stop), predicate="intersects")
        )
        if here.size:
            asked = self.view.look(self.view.picture(place))
            lines = self.shapes.width[here] > 0
            self._take_lines(seen, asked, here[lines], place)
            self._take_polygons(seen, asked, here[~lines], place)
        return seen

    def _take_polygons(self, into: Seen, asked: EncodedWindow, numbers: NDArray[np.intp], place: Window) -> None:
        rows, cols = place
        if not numbers.size:
            return
        shape = shape_of(place)
        found = segment_boxes(asked, self.bounds[numbers] - [cols.start, rows.start, cols.start, rows.start])
        for number, mask, score in zip(numbers, found.masks, found.scores.tolist(), strict=True):
            outline = shapely.transform(self.shapes.geometry[number], lambda xy: xy - [cols.start, rows.start])
            klass = int(self.shapes.label[number])
            slack = float(np.clip(SLACK * np.sqrt(outline.area), *SLACK_PIXELS))
            # A box says little of a shape that is bent, pierced or larger than the window: its outline holds the mask.
            near, own = (widen(outline, 2 * reach, shape) for reach in (slack, 0))
            nobodys = into.label == 0
            if score < EVIDENCE and self._is_whole(number, place):
                into.know(near & nobodys, DOUBTED, score)
                box = self.bounds[number]
                into.dropped.append(Dropped(klass, score, (box[0], box[1], box[2], box[3])))
                continue
            into.know(near & nobodys & (into.kind == FAR), BESIDE, score)
            into.know(own & nobodys, REFUSED, score)
            # Outside its outline it takes only what nothing else has.
            tidy, _ = tidied(mask & near & (own | nobodys), SPECK)
            into.paint(tidy, klass, instance=int(number) + 1)
            into.know(tidy & ~own, BEYOND, score)
            into.know(tidy & own, AGREED, score)

    def _is_whole(self, number: int, place: Window) -> bool:
        """Whether a window sees all of a shape that the scene has."""
        rows, cols = place
        height, width = self.view.cube.grid.shape
        x0, y0, x1, y1 = self.bounds[number].clip(0, [width, height, width, height])
        return bool(rows.start <= y0 and y1 <= rows.stop and cols.start <= x0 and x1 <= cols.stop)

    def _take_lines(self, into: Seen, asked: EncodedWindow, numbers: NDArray[np.intp], place: Window) -> None:
        rows, cols = place
        shape = shape_of(place)
        owners, pieces = [], []
        doubtful = np.zeros(shape, bool)
        for number in numbers:
            moved = shapely.transform(self.shapes.geometry[number], lambda xy: xy - [cols.start, rows.start])
            width = float(self.shapes.width[number])
            for piece in cut_line(moved, shape, length=PIECE, spacing=SPACING):
                core, corridor = (widen(piece.line, width * k, shape) for k in (1.0, CORRIDOR))
                owners.append(number)
                pieces.append(LinePiece(piece.points, core, corridor))
        found = segment_lines(asked, pieces)
        for number, asked_for, mask, score in zip(owners, pieces, found.masks, found.scores.tolist(), strict=True):
            agreed = mask & asked_for.core
            into.know(asked_for.corridor & (into.kind == FAR), BESIDE, score)
            into.paint(agreed, int(self.shapes.label[number]), instance=int(number) + 1)
            into.know(agreed, LINE, score)
            doubtful |= mask ^ asked_for.core
        # Where SAM's edge and the line's own width disagree, and no other piece is sure, the label is nobody's to give.
        doubtful &= ~np.isin(into.label, self.shapes.label[numbers])
        into.paint(doubtful, IGNORE, instance=0)
