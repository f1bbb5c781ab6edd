"""Labelling by a few labelled windows: pixels by their look and SAM's embedding, compact objects by SAM's edges.

What a pixel looks like is told by plain filters and by the model that geoloom maps with: a network that was trained on
other scenes has learnt what matters in all of them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from infra.device import choose_device
from infra.errors import UnusableInput
from infra.progress import Progress
from models.checkpoint import load_model
from models.deep_look import DeepLook
from models.few_shot import FewShot
from models.lite_unet import LiteUNet
from models.sam_prompts import WINDOW, segment_boxes
from models.segmenter import EncodedWindow, embedding_of
from tasks.label_params import LabelParams
from tasks.labelers import HALO, Labelled
from tasks.model import default_model
from tasks.raster.appearance import appearance
from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE, ClassMap
from tasks.raster.cube import Cube
from tasks.raster.grid import Window, shape_of, windows
from tasks.raster.halves import fill_between
from tasks.raster.numbering import numbered
from tasks.raster.truth import Truth
from tasks.sam_view import CORE, SamView

EXAMPLES = 4
"""Example windows that are taken where none is named."""
STEP = 2
"""One of so many rows and columns is classed; what lies between follows."""
SMOOTH = 2.0
"""Pixels over which neighbours' probabilities are averaged."""
SPECK = 32
"""Pixels below which a part is a speck of its surroundings."""
COMPACT, LEAST = 0.5, 64
"""What an object fills of its box at least, and its pixels, to be asked of SAM."""
AGREES = 0.5
"""IoU of an object with SAM's mask of its box, and the mask's score, from which on SAM's edge is taken."""
BELIEVED = 0.1
"""Probability below which a pixel in SAM's mask is none of the object's class."""


class FewShotLabeler:
    """Every pixel by what a few labelled windows taught."""

    window, halo, pieces = CORE, HALO, True

    def __init__(self, view: SamView, learnt: FewShot, *, device: str) -> None:
        self.view, self.learnt, self.device = view, learnt, device
        self.tells = frozenset(learnt.ids.tolist())

    def __call__(self, window: Window) -> Labelled:
        """Label one window."""
        seen = self.view.around(window)
        picture, valid = self.view.read(seen)
        asked = self.view.look(picture)
        likely = np.empty((*asked.shape, len(self.learnt.ids)), np.float32)
        likely[::STEP, ::STEP] = self.learnt.predict(
            look_of(picture, valid, device=self.device),
            embedding_of(asked),
            cells=asked.sam.cells(asked.shape),
            step=STEP,
        )
        fill_between(likely)
        likely = ndimage.gaussian_filter(np.where(valid[..., None], likely, 0), (SMOOTH, SMOOTH, 0))
        likely /= np.maximum(ndimage.gaussian_filter(valid.astype(np.float32), SMOOTH), 1e-3)[..., None]
        best = _without_specks(likely.argmax(2), valid)
        best = _snapped(best, likely, asked, valid)
        sure = np.take_along_axis(likely, best[..., None], axis=2)[..., 0]
        label = np.where(valid, self.learnt.ids[best], IGNORE).astype(np.uint8)
        objects = numbered(label, np.unique(label[(label > 0) & valid]).tolist()).astype(np.uint32)
        return Labelled(seen, label, objects, np.round(sure * TOP).clip(0, TOP).astype(np.uint8))


def learn(
    params: LabelParams, view: SamView, examples: Truth, *, classes: ClassMap, device: str, progress: Progress
) -> FewShot:
    """What a few labelled windows teach.

    Raises:
        UnusableInput: a window reaches outside the scene, or they do not show every class of the map.
    """
    shape = (view.cube.grid.shape[0], view.cube.grid.shape[1])
    given = [tuple(map(int, text.split(","))) for text in params.example_windows]
    chosen = [(slice(row, row + size), slice(column, column + size)) for row, column, size in given]
    for window in chosen:
        if window[0].stop > shape[0] or window[1].stop > shape[1]:
            raise UnusableInput(
                f"The example window at row {window[0].start}, column {window[1].start} reaches outside the scene "
                f"of {shape[0]} x {shape[1]} pixels."
            )
    chosen = chosen or choose_examples(examples, view.cube, classes=len(classes))
    progress.note(
        f"Learning from {len(chosen)} example windows at (row, column) "
        + ", ".join(f"({w[0].start}, {w[1].start})" for w in chosen)
    )
    shown = [_known(examples, view.cube, window) for window in chosen]
    missing = [n for n in classes.names[1:] if not any((ids == classes.names.index(n)).any() for ids in shown)]
    if missing:
        raise UnusableInput(
            f"The example windows show no {' and no '.join(missing)}, which the map has; add one that does, or ingest "
            f"with --classes {','.join(name for name in classes.names if name not in missing)}."
        )
    pictures = [view.read(window) for window in chosen]
    asked = [view.look(picture) for picture, _ in pictures]
    return FewShot().fit(
        (look_of(picture, valid, device=device) for picture, valid in pictures),
        [embedding_of(one) for one in asked],
        [ids[::STEP, ::STEP] for ids in shown],
        cells=[one.sam.cells(one.shape) for one in asked],
        step=STEP,
    )


def look_of(picture: NDArray[np.uint8], valid: NDArray[np.bool_], *, device: str) -> NDArray[np.float32]:
    """(v, u, d) what the pixels of a picture (y, x, 3) look like, in every so many rows and columns."""
    deep = _shipped_model(device)(picture, valid, step=STEP)
    return np.concatenate([appearance(picture)[::STEP, ::STEP], deep], axis=-1)


@cache
def _shipped_model(device: str) -> DeepLook:
    """Opened once a process: proving its weights reads all of them."""
    network, card = load_model(default_model())
    assert isinstance(network, LiteUNet)  # the one that comes with geoloom
    return DeepLook(network.to(choose_device(device)), card)


def _without_specks(classes: NDArray[np.intp], valid: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Classes (y, x) whose small parts are given to what is nearest; where there is no data is no part of any."""
    speck = np.zeros(classes.shape, bool)
    for klass in np.unique(classes[valid]):
        parts, count = ndimage.label((classes == klass) & valid)
        small = np.bincount(parts.ravel(), minlength=count + 1) < SPECK
        small[0] = False
        speck |= small[parts]
    lasting = valid & ~speck
    if not speck.any() or not lasting.any():
        return classes
    nearest = ndimage.distance_transform_edt(~lasting, return_distances=False, return_indices=True)
    found: NDArray[np.intp] = classes[tuple(nearest)]
    return found


def _snapped(
    classes: NDArray[np.intp], likely: NDArray[np.float32], asked: EncodedWindow, valid: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Classes (y, x) whose compact objects have SAM's edges where SAM sees the same object."""
    objects = []
    for klass in np.unique(classes[valid]):
        parts, _ = ndimage.label(ndimage.binary_opening((classes == klass) & valid, iterations=2))
        for number, box in enumerate(ndimage.find_objects(parts), 1):
            own = parts[box] == number
            area = np.count_nonzero(own)
            if area >= LEAST and area >= COMPACT * own.size and max(own.shape) <= WINDOW // 2:
                objects.append((klass, box, own))
    boxes = [[box[1].start, box[0].start, box[1].stop, box[0].stop] for _, box, _ in objects]
    found = segment_boxes(asked, np.array(boxes, float).reshape(-1, 4))
    result = classes.copy()
    for (klass, box, part), (logit, score) in zip(objects, found, strict=True):
        mask = logit > 0
        own = np.zeros(classes.shape, bool)
        own[box] = part
        if score < AGREES or np.count_nonzero(own & mask) < AGREES * np.count_nonzero(own | mask):
            continue
        lost = own & ~mask
        others = likely[lost]
        others[:, klass] = -1
        result[lost] = others.argmax(1)
        result[mask & (likely[..., klass] > BELIEVED)] = klass
    return result


def choose_examples(examples: Truth, cube: Cube, *, classes: int) -> list[Window]:
    """Up to `EXAMPLES` labelled windows that show the most classes between them, the rarest class best shown first.

    Raises:
        UnusableInput: no window of the examples is labelled.
    """
    shape = (cube.grid.shape[0], cube.grid.shape[1])
    counts = {}
    for window in windows(shape, WINDOW):
        if shape_of(window) == (WINDOW, WINDOW) and cube.may_hold_data(window):
            count = np.bincount(_known(examples, cube, window).ravel(), minlength=256)[:classes]
            if count.sum() >= WINDOW * WINDOW / 2:
                counts[window[0].start, window[1].start] = count
    if not counts:
        raise UnusableInput(
            f"The examples label no window of {WINDOW} x {WINDOW} pixels; name windows with --example-windows."
        )
    shown = np.zeros(classes)
    chosen: list[tuple[int, int]] = []
    while len(chosen) < min(EXAMPLES, len(counts)):
        # First what shows a class that no other does; the root favours what shows little over more of the same.
        best = max(
            (place for place in counts if place not in chosen),
            key=lambda place: (np.count_nonzero(shown + counts[place]), float(np.sqrt(shown + counts[place]).sum())),
        )
        chosen.append(best)
        shown += counts[best]
    return [(slice(row, row + WINDOW), slice(column, column + WINDOW)) for row, column in sorted(chosen)]


def _known(examples: Truth, cube: Cube, window: Window) -> NDArray[np.uint8]:
    """Class ids of the examples (y, x), 255 where the scene has no data."""
    return np.where(cube.read(window, bands=())[1], examples.read(window), np.uint8(IGNORE))
