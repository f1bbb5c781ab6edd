"""Labelling with Segment Anything: by the vectors of a map, or by a few labelled windows."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.progress import Progress
from models.few_shot import FewShotClassifier, majority_classes, mask_features
from models.sam_automatic import Regions, automatic_masks, tidied
from models.sam_prompts import WINDOW, LinePiece, segment_boxes, segment_lines
from models.segmenter import EncodedWindow, embedding_of
from tasks.label_params import LabelParams
from tasks.labelers import HALO, Labelled
from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window, shape_of, windows
from tasks.raster.lines import cut_line, widen
from tasks.raster.truth import Truth
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
POINTS = 12
"""A side of the grid that SAM is asked at: half the time of its 16, for few masks less."""
EXAMPLES = 4
"""Example windows that are taken where none is named."""
LEAST_CONFIDENCE = 0.5
"""Masks that the classifier is less sure of are not labelled."""


class VectorLabeler:
    """Vectors as prompts: a polygon's box, points along a line; SAM's masks become the labels.

    What no vector names is `other`: the vectors are taken to be all there is.
    """

    window, halo, pieces = CORE, HALO, False

    def __init__(self, view: SamView, shapes: Shapes) -> None:
        self.view, self.shapes = view, shapes
        self.bounds = shapely.bounds(shapes.geometry)
        self.tree = shapely.STRtree(shapes.geometry)
        self.tells = frozenset({0, *shapes.label.tolist()})

    def __call__(self, window: Window) -> Labelled:
        """Label one window: roads first, buildings on top of them."""
        seen = self.view.around(window)
        rows, cols = seen
        shape = shape_of(seen)
        labelled = Labelled(seen, np.zeros(shape, np.uint8), np.zeros(shape, np.uint32), np.full(shape, TOP, np.uint8))
        box = shapely.box(cols.start, rows.start, cols.stop, rows.stop)
        here = np.sort(self.tree.query(box, predicate="intersects"))
        if here.size:
            asked = self.view.look(self.view.picture(seen))
            lines = self.shapes.width[here] > 0
            self._paint_lines(labelled, asked, here[lines], seen)
            self._paint_polygons(labelled, asked, here[~lines], seen)
        return labelled

    def _paint_polygons(self, into: Labelled, asked: EncodedWindow, numbers: NDArray[np.intp], seen: Window) -> None:
        rows, cols = seen
        if not numbers.size:
            return
        shape = into.label.shape
        found = segment_boxes(asked, self.bounds[numbers] - [cols.start, rows.start, cols.start, rows.start])
        for number, mask, score in zip(numbers, found.masks, found.scores, strict=True):
            outline = shapely.transform(self.shapes.geometry[number], lambda xy: xy - [cols.start, rows.start])
            slack = float(np.clip(SLACK * np.sqrt(outline.area), *SLACK_PIXELS))
            # A box says little of a shape that is bent, pierced or larger than the window: its outline holds the mask.
            near, own = (widen(outline, 2 * reach, (shape[0], shape[1])) for reach in (slack, 0))
            # Outside its outline it takes only what no road has.
            free = own | (into.label == 0)
            tidy, _ = tidied(mask & near & free, SPECK)
            into.paint(tidy, int(self.shapes.label[number]), instance=int(number) + 1, score=float(score))

    def _paint_lines(self, into: Labelled, asked: EncodedWindow, numbers: NDArray[np.intp], seen: Window) -> None:
        rows, cols = seen
        shape = into.label.shape
        owners, pieces = [], []
        doubtful = np.zeros(shape, bool)
        for number in numbers:
            moved = shapely.transform(self.shapes.geometry[number], lambda xy: xy - [cols.start, rows.start])
            width = float(self.shapes.width[number])
            for piece in cut_line(moved, (shape[0], shape[1]), length=PIECE, spacing=SPACING):
                core, corridor = (widen(piece.line, width * k, (shape[0], shape[1])) for k in (1.0, CORRIDOR))
                owners.append(number)
                pieces.append(LinePiece(piece.points, core, corridor))
        found = segment_lines(asked, pieces)
        for number, asked_for, mask, score in zip(owners, pieces, found.masks, found.scores, strict=True):
            agreed = mask & asked_for.core
            into.paint(agreed, int(self.shapes.label[number]), instance=int(number) + 1, score=float(score))
            doubtful |= mask ^ asked_for.core
        # Where SAM's edge and the line's own width disagree, and no other piece is sure, the label is nobody's to give.
        doubtful &= ~np.isin(into.label, self.shapes.label[numbers])
        into.label[doubtful], into.confidence[doubtful], into.instance[doubtful] = IGNORE, 255, 0


class AutomaticLabeler:
    """Every object that SAM sees, of no class; where masks overlap, the largest."""

    window, halo, pieces = CORE, HALO, True
    tells: frozenset[int] = frozenset()

    def __init__(self, view: SamView, *, points: int) -> None:
        self.view, self.points = view, points

    def __call__(self, window: Window) -> Labelled:
        """Look at one window."""
        seen = self.view.around(window)
        labelled = Labelled.nothing(seen)
        regions = automatic_masks(self.view.look(self.view.picture(seen)), points_per_side=self.points)
        for number in reversed(range(len(regions.masks))):
            sure = float(regions.scores[number] * regions.stability[number])
            labelled.paint(regions.masks[number], IGNORE, instance=number + 1, score=sure)
        return labelled


class FewShotLabeler:
    """SAM's own regions, named by a classifier that a few labelled windows taught; the rest stays unlabelled."""

    window, halo, pieces = CORE, HALO, True

    def __init__(self, view: SamView, classifier: FewShotClassifier) -> None:
        self.view, self.classifier = view, classifier
        self.tells = classifier.classes

    def __call__(self, window: Window) -> Labelled:
        """Label one window: large masks first, what lies on them later."""
        seen = self.view.around(window)
        labelled = Labelled.nothing(seen)
        regions, described = _look(self.view, self.view.picture(seen))
        classes, sure = self.classifier.predict(described)
        for number, (mask, klass, p) in enumerate(zip(regions.masks, classes, sure, strict=True), 1):
            if p >= LEAST_CONFIDENCE:
                labelled.paint(mask, int(klass), instance=number, score=float(p))
        return labelled


def learn(params: LabelParams, view: SamView, examples: Truth, *, progress: Progress) -> FewShotClassifier:
    """A classifier of SAM's regions, taught by labelled windows.

    Raises:
        UnusableInput: a window reaches outside the scene, or nothing in them is labelled.
    """
    shape = (view.cube.grid.shape[0], view.cube.grid.shape[1])
    chosen = [(slice(r, r + n), slice(c, c + n)) for r, c, n in params.example_windows]
    features, classes = [], []
    chosen = chosen or choose_examples(examples, shape)
    for window in chosen:
        if window[0].stop > shape[0] or window[1].stop > shape[1]:
            raise UnusableInput(
                f"The example window at row {window[0].start}, column {window[1].start} reaches outside the scene "
                f"of {shape[0]} x {shape[1]} pixels."
            )
        regions, described = _look(view, view.picture(window))
        features.append(described)
        classes.append(majority_classes(regions.masks, examples.read(window)))
    progress.note(
        f"Learning from {sum(len(c) for c in classes)} masks of {len(chosen)} example windows at (row, column) "
        + ", ".join(f"({w[0].start}, {w[1].start})" for w in chosen)
    )
    return FewShotClassifier().fit(np.concatenate(features), np.concatenate(classes))


def _look(view: SamView, picture: NDArray[np.uint8]) -> tuple[Regions, NDArray[np.float32]]:
    window = view.look(picture)
    regions = automatic_masks(window, points_per_side=POINTS)
    cells = window.sam.cells(window.shape)
    return regions, mask_features(embedding_of(window), picture, regions.masks, cells=cells)


def choose_examples(examples: Truth, shape: tuple[int, int]) -> list[Window]:
    """Up to `EXAMPLES` labelled windows that show the most classes between them, the rarest class best shown first.

    Raises:
        UnusableInput: no window of the examples is labelled.
    """
    inside = [w for w in windows(shape, WINDOW) if w[0].stop - w[0].start == w[1].stop - w[1].start == WINDOW]
    counts = {}
    for number, window in enumerate(inside):
        count = np.bincount(examples.read(window).ravel(), minlength=256)[:IGNORE]
        if count.sum() >= WINDOW * WINDOW / 2:
            counts[number] = count
    if not counts:
        raise UnusableInput(
            f"The examples label no window of {WINDOW} x {WINDOW} pixels; name windows with --example-windows."
        )
    shown = np.zeros(IGNORE)
    chosen: list[int] = []
    while len(chosen) < min(EXAMPLES, len(counts)):
        # The square root favours a window that shows a class for the first time over one that shows more of the same.
        best = max((n for n in counts if n not in chosen), key=lambda n: float(np.sqrt(shown + counts[n]).sum()))
        chosen.append(best)
        shown += counts[best]
    return [inside[n] for n in sorted(chosen)]
