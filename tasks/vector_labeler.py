"""Labelling by the vectors of a map: where the picture shows the things that they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from models.sam_automatic import tidied
from models.sam_prompts import segment_boxes
from models.segmenter import EncodedWindow
from tasks.area_evidence import REACH, SLOPE, SURE, WIDEST, Around, around
from tasks.labelers import HALO, Dropped, Labelled
from tasks.large_objects import is_large, large_mask
from tasks.line_evidence import Evidence, Lines, look_beside, slopes
from tasks.raster.certainty import AGREED, BESIDE, BEYOND, DOUBTED, FAR, LINE, REFUSED, cells, known_table
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window, shape_of, within
from tasks.raster.vectors import Shapes
from tasks.sam_view import CORE, SamView
from tasks.scene_look import Sight
from tasks.vector_lessons import Known, teachers_of

SPECK = 32
"""Pixels below which a hole in an object, or a part away from it, is a flaw of SAM's mask."""
EVIDENCE = 0.2
"""Score of a polygon's mask, and share of a line's own width, below which the picture does not show what it says."""
SHOWN = 0.5
"""Share of a polygon that must lie on data before the picture can speak against it."""


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

    def paint(self, mask: NDArray[np.bool_], klass: int, *, instance: int | NDArray[np.intp]) -> None:
        """Give the pixels of a mask a class and an object, whatever they had; or each its own object (y, x)."""
        self.label[mask], self.instance[mask] = klass, np.broadcast_to(instance, mask.shape)[mask]

    def part(self, patch: Window) -> Seen:
        """A part of it: what is done there is done here."""
        return Seen(self.label[patch], self.instance[patch], self.kind[patch], self.score[patch], self.dropped)

    def know(self, where: NDArray[np.bool_], kind: int, score: float | NDArray[np.floating]) -> None:
        """Say of pixels what they are, with one score or each with its own (y, x)."""
        self.kind[where], self.score[where] = kind, np.broadcast_to(score, where.shape)[where]

    def cells(self) -> NDArray[np.uint8]:
        """(y, x) their cells in the table of certainty."""
        return cells(self.kind, self.score, (self.label > 0) & (self.label != IGNORE))


class VectorLabeler:
    """Vectors as prompts: what the picture shows of polygons, by SAM's masks of their boxes, and along lines.

    What no vector names is `other`: the vectors are taken to be all there is. One that the picture does not show is
    dropped, and told.
    """

    window, halo, pieces = CORE, HALO, False

    def __init__(self, view: SamView, shapes: Shapes, known: Known, *, misplaced: float) -> None:
        """Take vectors to label by.

        Args:
            view: SAM before the scene.
            shapes: the vectors.
            known: what their classes look like in the scene; empty before that is learnt.
            misplaced: pixels by which lines may lie wrong.
        """
        self.view, self.shapes, self.known = view, shapes, known
        self.bounds = shapely.bounds(shapes.geometry)
        self.polygons = np.flatnonzero(shapes.width == 0)
        self.tree = shapely.STRtree(shapes.geometry[self.polygons])
        self.teachers = teachers_of(shapes)
        self.lines = [teacher for teacher in self.teachers if isinstance(teacher, Lines)]
        self.slopes = slopes(shapes.width, misplaced)
        self.large = is_large(self.bounds, (view.cube.grid.shape[0], view.cube.grid.shape[1]))
        self._seen_whole = lru_cache(maxsize=256)(lambda number: large_mask(view, self.bounds[number], slack=REACH))
        self.tells = frozenset({0, *shapes.label.tolist()})

    def __call__(self, window: Window) -> Labelled:
        """Label one window."""
        place = self.view.around(window)
        seen = self.look(window)
        confidence = known_table()[seen.cells()]
        confidence[seen.label == IGNORE] = 255
        dropped = tuple(one for one in seen.dropped if one.meets(window))
        return Labelled(place, seen.label, seen.instance, confidence, dropped)

    def look(self, window: Window) -> Seen:
        """What is seen of a window and its halo: buildings first; what looks like road beside a line is none."""
        place = self.view.around(window)
        rows, cols = place
        seen = Seen.nothing(shape_of(place))
        box = shapely.box(cols.start, rows.start, cols.stop, rows.stop)
        here = self.polygons[np.sort(self.tree.query(box, predicate="intersects"))]
        near = [(lines, beside) for lines in self.lines if (beside := lines.beside(place)) is not None]
        if here.size or near:
            sight = Sight(self.view, place)
            self._take_polygons(seen, sight, here)
            strongest = np.zeros(shape_of(place), np.float32)
            for lines, beside in near:
                known = self.known.lines[lines.klass]
                evidence = look_beside(beside, sight, known, slope=self.slopes[lines.numbers])
                road = _tidied(evidence.logit > strongest)
                strongest[road] = evidence.logit[road].clip(0)
                if not known.taught:  # a line's place alone says less than SAM's masks
                    road &= seen.label == 0
                self._take_lines(seen, lines, evidence, road, window, sight.valid)
        return seen

    def _take_polygons(self, into: Seen, sight: Sight, numbers: NDArray[np.intp]) -> None:
        place = sight.place
        near = {
            number: found
            for number in numbers.tolist()
            if (found := around(self.shapes.geometry[number], place, REACH, most=WIDEST)) is not None
        }
        if not near:
            return
        looks = self._looks(sight, near)
        best = np.zeros(shape_of(place), np.float32)
        for number, logit, score in self._masks(sight.asked, np.array([*near], np.intp), place):
            patch, away = near[number].patch, near[number].away
            klass = int(self.shapes.label[number])
            part = into.part(patch)
            own, close, nobodys = away < 0, away < near[number].reach, part.label == 0
            if score < EVIDENCE and self._is_whole(number, place) and sight.valid[patch][own].mean() >= SHOWN:
                part.know(close & nobodys, DOUBTED, score)
                box = self.bounds[number]
                into.dropped.append(Dropped(number + 1, klass, score, (box[0], box[1], box[2], box[3])))
                continue
            part.know(close & nobodys & (part.kind == FAR), BESIDE, score)
            part.know(own & nobodys, REFUSED, score)
            evidence = looks[klass][patch] + logit[patch].clip(-SURE, SURE) - SLOPE * away.clip(0)
            tidy = _tidied(close & (evidence > best[patch]))
            best[patch][tidy] = evidence[tidy].clip(0)
            part.paint(tidy, klass, instance=number + 1)
            part.know(tidy & ~own, BEYOND, score)
            part.know(tidy & own, AGREED, score)

    def _looks(self, sight: Sight, near: Mapping[int, Around]) -> dict[int, NDArray[np.float32]]:
        """(y, x) logits of each class that polygons have, near those."""
        found = {}
        for klass in {int(self.shapes.label[number]) for number in near}:
            asked = np.zeros(shape_of(sight.place), bool)
            for number, one in near.items():
                if self.shapes.label[number] == klass:
                    asked[one.patch] |= one.away < one.reach
            found[klass] = self.known.areas[klass].logits(sight, asked)
        return found

    def _is_whole(self, number: int, place: Window) -> bool:
        """Whether SAM saw all of a shape that the scene has."""
        rows, cols = place
        height, width = self.view.cube.grid.shape
        x0, y0, x1, y1 = self.bounds[number].clip(0, [width, height, width, height])
        inside = rows.start <= y0 and y1 <= rows.stop and cols.start <= x0 and x1 <= cols.stop
        return bool(inside or self.large[number])

    def _masks(
        self, asked: EncodedWindow, numbers: NDArray[np.intp], place: Window
    ) -> Iterator[tuple[int, NDArray[np.float32], float]]:
        """SAM's logits of each polygon in a window, and how well they fit; large ones are looked at whole."""
        rows, cols = place
        large = self.large[numbers]
        boxes = self.bounds[numbers[~large]] - [cols.start, rows.start, cols.start, rows.start]
        found = segment_boxes(asked, boxes, slack=REACH)
        for number, by_itself in zip(numbers.tolist(), large.tolist(), strict=True):
            if by_itself:
                whole = self._seen_whole(number)
                yield number, whole.at(place), whole.score
            else:
                yield number, *next(found)

    def _take_lines(
        self, into: Seen, lines: Lines, found: Evidence, road: NDArray[np.bool_], window: Window,
        valid: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        inner = within(window, self.view.around(window))
        number, away = found.beside.number, found.beside.away
        sure = 1 / (1 + np.exp(-found.logit))
        into.know(np.isfinite(found.logit) & (into.kind == FAR), BESIDE, sure)
        own_class = into.label == lines.klass  # a road that is drawn as an area keeps its id
        into.paint(road & ~own_class, lines.klass, instance=lines.numbers[number] + 1)
        into.know(road, LINE, sure)
        own = (away[inner] <= 1) & valid[inner]
        covered, agreed = (
            np.bincount(number[inner][which], minlength=len(lines.numbers)) for which in (own, own & road[inner])
        )
        # Such a part of a line is told, and keeps the little that the picture shows of it.
        for which in np.flatnonzero((covered >= SPECK) & (agreed < EVIDENCE * covered)).tolist():
            if (box := lines.bounds(which, window)) is not None:
                number_of = int(lines.numbers[which]) + 1
                into.dropped.append(Dropped(number_of, lines.klass, float(agreed[which] / covered[which]), box))


def _tidied(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (y, x) without specks and holes; what reaches its edge is no hole."""
    ring = 3  # of more pixels than a speck
    tidy, _ = tidied(np.pad(mask, ring), SPECK)
    return tidy[ring:-ring, ring:-ring]
