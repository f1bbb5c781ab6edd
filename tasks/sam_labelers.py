"""Labelling with what Segment Anything sees by itself."""

from __future__ import annotations

from models.sam_automatic import automatic_masks
from tasks.labelers import HALO, Labelled
from tasks.raster.classes import IGNORE
from tasks.raster.grid import Window
from tasks.sam_view import CORE, SamView


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
