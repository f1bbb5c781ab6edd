"""Labelling by text: what SAM 3 finds by the classes' names, in windows of a cube."""

from __future__ import annotations

from infra.device import choose_device
from models.sam_automatic import tidied
from models.sam_text import TextSam, load_text_sam
from tasks.label_params import LabelParams
from tasks.labelers import HALO, Labelled
from tasks.raster.cube import Cube
from tasks.raster.grid import Window
from tasks.raster.picture import rgb_bands
from tasks.raster.texts import texts_of
from tasks.sam_view import CORE, Pictures
from tasks.sam_weights import find_sam

SPECK = 32
"""Pixels below which a hole in an object, or a part away from it, is a flaw of SAM's mask."""


class TextLabeler:
    """Objects that texts find; where classes overlap the surest wins, and what no text finds stays unlabelled.

    SAM 3 sees 1008 pixels a side, and at most 200 objects of a text. It is shown the same windows of 512 as the other
    SAMs: objects arrive twice as large, and a window has no 200 houses.
    """

    window, halo, pieces = CORE, HALO, True

    def __init__(self, pictures: Pictures, sam: TextSam) -> None:
        self.pictures, self.sam = pictures, sam
        self.tells = frozenset(sam.classes)

    @classmethod
    def of(cls, cube: Cube, classes: tuple[str, ...], params: LabelParams, *, device: str) -> TextLabeler:
        """The labeler that is asked for; its weights should be there (`fetch_model`).

        Raises:
            UnusableInput: its weights are damaged or of another network, or a text cannot be asked.
        """
        texts = texts_of(classes, params.texts)
        sam = load_text_sam(find_sam(params)[0], texts, device=choose_device(device))
        return cls(Pictures(cube, rgb_bands(cube.bands)), sam)

    def __call__(self, window: Window) -> Labelled:
        """Label one window: the least sure first, the surest on top."""
        seen = self.pictures.around(window)
        labelled = Labelled.nothing(seen)
        found = self.sam(self.pictures.picture(seen))
        for n in reversed(range(len(found.masks))):
            tidy, _ = tidied(found.masks[n], SPECK)
            labelled.paint(tidy, int(found.classes[n]), instance=n + 1, score=float(found.confidences[n]))
        return labelled
