"""Worlds whose objects are known, and a labeler that sees them as they are: what is left to err is the engine.

The labeler numbers what it sees of each window for itself, as SAM's labelers do, so every object that a window's edge
cuts has to be put together. No method of the product is this one: it is put in place of one in every process that
labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage
from skimage import measure

from benchmarks.scenes import rgb_scene, write_rgb
from tasks.label_block import Orders, label_block
from tasks.labelers import Labelled
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.gdal import rasterio
from tasks.raster.grid import Window, crop_to, grown, whole
from tasks.raster.truth import open_truth

if TYPE_CHECKING:
    from infra.ledger import Entry
    from tasks.raster.cube import Cube
    from tasks.ways import Way
    from tasks.workspace import Workspace

WORLDS = ("town", "blobs", "cells")
"""Buildings and roads; winding objects, many larger than a window; objects that all touch others of their class."""
HALO = 64
SURE = 200

Truth = tuple[NDArray[np.uint8], NDArray[np.uint32]]
"""(y, x) class ids, and (y, x) ids of objects, each connected, 0 = none."""


def exact_world(name: str, out: Path, size: int) -> tuple[Path, Path]:
    """A world as a scene and a file of its truth, for `read_world`; made once."""
    kept = out / f"{name}_{size}.npz"
    if name == "town":
        scene = rgb_scene(out, size)
        label, objects = _town(scene, out / f"world_{size}_truth.gpkg")
    else:
        scene = out / f"{name}_{size}.tif"
        label, objects = _blobs(size) if name == "blobs" else _cells(size)
        if not scene.is_file():
            write_rgb(scene, np.broadcast_to(label * 60 + 20, (3, size, size)))
    # The two sides of a cut object are two: what is one object must hang together.
    np.savez(kept, label=label, objects=measure.label(objects, connectivity=1).astype(np.uint32))
    return scene, kept


def read_world(kept: Path) -> Truth:
    """The truth of a world."""
    with np.load(kept) as file:
        return file["label"], file["objects"]


def _town(scene: Path, vectors: Path) -> Truth:
    with rasterio.open(scene) as source:
        grid = GeoBox((source.height, source.width), source.transform, source.crs.to_wkt())
    truth = open_truth(str(vectors), grid, DEFAULT_CLASSES, names=(), vector_class=None, road_width=8.0)
    return truth.read(whole(grid)), truth.objects(whole(grid))


def _blobs(size: int) -> Truth:
    rng = np.random.default_rng(0)
    noise = [ndimage.gaussian_filter(rng.normal(size=(size, size)), sigma) for sigma in (10, 25, 60)]
    label = np.zeros((size, size), np.uint8)
    objects = np.zeros((size, size), np.uint32)
    for klass, (field, share) in enumerate(zip(noise, (0.9, 0.8, 0.7), strict=True), 1):
        label[field > np.quantile(field, share)] = klass
    for klass in (1, 2, 3):
        found, _ = ndimage.label(label == klass)
        objects += np.where(found > 0, found + objects.max(), 0).astype(np.uint32)
    return label, objects


def _cells(size: int) -> Truth:
    """Each pixel is its nearest seed's: some seeds stand alone, most in crowds."""
    rng = np.random.default_rng(0)
    crowds = rng.uniform(0, size, (size // 60, 1, 2)) + rng.normal(0, 50, (size // 60, 40, 2))
    seeds = np.concatenate([rng.uniform(0, size, (size // 30, 2)), crowds.reshape(-1, 2)]).astype(int)
    rows, cols = seeds[((seeds >= 0) & (seeds < size)).all(axis=1)].T
    planted = np.zeros((size, size), np.uint32)
    planted[rows, cols] = np.arange(1, len(rows) + 1)
    near = ndimage.distance_transform_edt(planted == 0, return_distances=False, return_indices=True)
    return np.ones((size, size), np.uint8), planted[tuple(near)]


class ExactLabeler:
    """Sees every object as it is; numbers the connected parts that a window shows in an order of the window's own."""

    halo, pieces = HALO, True

    def __init__(self, truth: Truth, *, window: int) -> None:
        self.label, self.objects = truth
        self.window, self.tells = window, frozenset(np.unique(self.label).tolist())

    def __call__(self, window: Window) -> Labelled:
        """Label one window."""
        seen = crop_to(grown(window, self.halo), self.label.shape)
        parts = measure.label(self.objects[seen], connectivity=1)
        numbers = np.random.default_rng([window[0].start, window[1].start]).permutation(int(parts.max())) + 1
        pieces = np.concatenate([[0], numbers]).astype(np.uint32)[parts]
        return Labelled(seen, self.label[seen], pieces, np.full(parts.shape, SURE, np.uint8))


def open_exact(ways: Sequence[Way], workspace: Workspace, cube: Cube, *, device: str) -> tuple[ExactLabeler, list[str]]:
    """In place of `tasks.ways.open_labeler`: the labeler that the way's file describes."""
    document = json.loads(Path(ways[0].source).read_text())
    truth = read_world(Path(document["truth"]))
    assert truth[0].shape == cube.grid.shape == workspace.grid.shape
    assert device == "cpu"
    return ExactLabeler(truth, window=document["window"]), []


def label_exactly(orders: Orders, block: Window, entry: Entry) -> None:
    """In place of `tasks.label_block.label_block`, in whatever process it runs."""
    stand_in("tasks.label_block", open_labeler=open_exact)
    label_block(orders, block, entry)


def stand_in(module: str, **calls: Callable[..., Any]) -> None:
    """Put functions in place of a module's own, for the life of this process."""
    for name, call in calls.items():
        assert hasattr(import_module(module), name)
        setattr(import_module(module), name, call)
