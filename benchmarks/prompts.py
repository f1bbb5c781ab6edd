"""Prompts as a map would give them, made from truth: moved, jittered, incomplete; with the scene to label by them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.samples import BUILDING, ROAD, open_sample
from flows import steps
from infra.store import open_store
from tasks.params import ClusterParams, IngestParams
from tasks.raster.classes import IGNORE
from tasks.raster.grid import whole
from tasks.raster.ogr import geopandas
from tasks.raster.skeleton import centre_lines
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from infra.progress import Progress

SHIFT, MISSING, LEAST = 0.15, 0.1, 100
"""Of a box's side, by which each edge is moved; share of boxes left out; pixels of the smallest building asked for."""
SPACING = 40.0
"""Pixels between the vertices of a line."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """A sample as a workspace, and a file of prompts for it."""

    workspace: str
    vectors: str
    truth: NDArray[np.uint8]
    """(y, x) class ids, 255 = ignore."""
    boxes: list[shapely.Geometry]
    lines: list[shapely.Geometry]
    """The prompts, in pixels."""
    road_width: float
    misplaced: float
    """Both as an option of labelling: metres, or pixels where there is no CRS."""


def shifted_boxes(truth: NDArray[np.uint8], seed: int) -> list[shapely.Geometry]:
    """Boxes of buildings, every edge moved by up to 15 % of the side, one in ten left out."""
    rng = np.random.default_rng(seed)
    found, _ = ndimage.label(truth == BUILDING)
    area = np.bincount(found.ravel())
    boxes = []
    for number, (rows, cols) in enumerate(ndimage.find_objects(found), 1):
        if area[number] < LEAST:
            continue
        moved, left_out = rng.uniform(-SHIFT, SHIFT, 4), rng.random() < MISSING
        if left_out:
            continue
        high, wide = rows.stop - rows.start, cols.stop - cols.start
        moved *= [wide, high, wide, high]
        boxes.append(shapely.box(*np.array([cols.start, rows.start, cols.stop, rows.stop]) + moved))
    return boxes


def jittered_lines(truth: NDArray[np.uint8], seed: int, jitter: float) -> list[shapely.Geometry]:
    """Centre lines of the roads, a vertex every 40 pixels, each moved by up to `jitter` either way."""
    rng = np.random.default_rng(seed + 1000)
    lines, _ = centre_lines(truth == ROAD)
    moved = []
    for line in lines:
        count = max(2, int(line.length / SPACING) + 1)
        points = np.array([line.interpolate(s, normalized=True).coords[0] for s in np.linspace(0, 1, count)])
        moved.append(shapely.LineString(points + rng.uniform(-jitter, jitter, points.shape)))
    return moved


def prompted(name: str, seed: int, folder: Path, *, progress: Progress) -> Prompted:
    """A sample, ingested once for all seeds, and its prompts."""
    sample = open_sample(name, folder)
    workspace = folder / name.replace("/", "-")
    if not workspace.exists():
        scenes = IngestParams(scenes=(str(sample.file),), nodata=sample.nodata)
        steps.ingest(scenes, str(workspace), run=ClusterParams(), progress=progress)
    cube = open_workspace(open_store(workspace)).cube()
    valid = cube.read(whole(cube.grid), bands=())[1]
    boxes, lines = shifted_boxes(sample.truth, seed), jittered_lines(sample.truth, seed, sample.jitter)
    path = folder / f"{workspace.name}-{seed}.gpkg"
    for klass, shapes in (("building", boxes), ("road", lines)):
        placed = shapely.transform(np.array(shapes, object), lambda xy: np.stack(cube.grid.affine * xy.T, axis=1))
        frame: Any = geopandas.GeoDataFrame({"class": [klass] * len(shapes)}, geometry=placed, crs=cube.grid.crs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that some have no CRS is meant
            if shapes:
                frame.to_file(path, layer=klass, driver="GPKG")
    truth = np.where(valid, sample.truth, np.uint8(IGNORE))
    return Prompted(str(workspace), str(path), truth, boxes, lines, sample.road_width, sample.misplaced)
