"""What SAM sees of a cube: windows as pictures, each encoded once and kept in the workspace.

SAM sees squares of 512 pixels (`models/sam_prompts.py` says why); of each the inner 384 are kept, so that an object at
an edge, up to 128 pixels across it, is seen whole from both sides. Encoding takes nine tenths of SAM's time, so what
comes of it stays in `embeddings/`, 2 MB a window (SAM 2 and 3: 8 and 11 MB), under a name that says of which pixels and
which SAM it is: another file of prompts is then answered at once. `geoloom clean` removes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.device import choose_device
from infra.store import Store
from models.sam import load_sam
from models.sam_first import FirstSam
from models.sam_later import load_later_sam
from models.sam_prompts import WINDOW
from models.segmenter import EncodedWindow, Segmenter, open_window, packed, packed_size
from tasks.label_params import LabelParams, SamName
from tasks.labelers import HALO
from tasks.raster.cube import Cube
from tasks.raster.digest import digest
from tasks.raster.grid import Window, crop_to, grown
from tasks.raster.picture import rgb_bands, to_rgb
from tasks.sam_weights import find_sam

CORE = WINDOW - 2 * HALO
EMBEDDINGS = "embeddings"


@dataclass(frozen=True, slots=True)
class Pictures:
    """A cube as pictures."""

    cube: Cube
    bands: tuple[int, ...]
    """Red, green and blue."""

    def around(self, window: Window) -> Window:
        """A window with its halo, cut at the scene's border."""
        rows, columns = self.cube.grid.shape
        return crop_to(grown(window, HALO), (rows, columns))

    def picture(self, window: Window) -> NDArray[np.uint8]:
        """(y, x, 3) uint8; invalid pixels are black."""
        return self.read(window)[0]

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The same, and (y, x) where there is data."""
        image, valid = self.cube.read(window, bands=self.bands)
        picture = to_rgb(image, [self.cube.statistics[b] for b in self.bands])
        picture[~valid] = 0
        return picture, valid


@dataclass(frozen=True, slots=True)
class SamView(Pictures):
    """A SAM before a cube."""

    store: Store
    sam: Segmenter
    name: str
    """Tells this SAM's embeddings from another's."""

    @classmethod
    def of(cls, store: Store, cube: Cube, params: LabelParams, *, device: str) -> SamView:
        """The SAM that is asked for; its weights should be there (`fetch_model`).

        Raises:
            UnusableInput: its weights are damaged or of another network.
        """
        place, name = find_sam(params)
        sam = _load(params.backbone, place, device=choose_device(device))
        return cls(cube, rgb_bands(cube.bands), store, sam, name)

    def look(self, picture: NDArray[np.uint8]) -> EncodedWindow:
        """A picture encoded, or its embedding as it was kept: the same bits either way."""
        key = f"{EMBEDDINGS}/{self.name}.{digest(picture)}"
        kept = self.store.read(key)
        if kept is None or len(kept) != packed_size(self.sam):
            kept = packed(open_window(self.sam, picture))
            self.store.write(key, kept, durable=False)
        return open_window(self.sam, picture, kept=kept)


def _load(kind: SamName, place: Path, *, device: str) -> Segmenter:
    if kind in {"sam-vit-t", "sam-vit-b", "sam-vit-l", "sam-vit-h"}:
        return FirstSam(load_sam(kind, place, device=device))
    return load_later_sam(kind, place, device=device)
