"""Labelling with what Segment Anything sees by itself: as it is, or named by a few labelled windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.progress import Progress
from models.few_shot import FewShotClassifier, majority_classes, mask_features
from models.sam_automatic import Regions, automatic_masks
from models.sam_prompts import WINDOW
from models.segmenter import embedding_of
from tasks.label_params import LabelParams
from tasks.labelers import HALO, Labelled
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window, windows
from tasks.raster.truth import Truth
from tasks.sam_view import CORE, SamView

POINTS = 12
"""A side of the grid that SAM is asked at: half the time of its 16, for few masks less."""
EXAMPLES = 4
"""Example windows that are taken where none is named."""
LEAST_CONFIDENCE = 0.5
"""Masks that the classifier is less sure of are not labelled."""


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
