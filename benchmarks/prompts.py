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

from flows import steps
from infra.settings import settings
from tasks.params import ClusterParams, IngestParams
from tasks.raster.dubai import stitch, write_scene
from tasks.raster.ogr import geopandas
from tasks.raster.skeleton import centre_lines

if TYPE_CHECKING:
    from infra.progress import Progress

SHIFT, MISSING, LEAST = 0.15, 0.1, 100
"""Of a box's side, by which each edge is moved; share of boxes left out; pixels of the smallest building asked for."""
JITTER, SPACING = 6.0, 40.0
"""Pixels by which a line's vertices are moved, and between them."""
ROAD_WIDTH = 14.0
"""Pixels: what a map without widths would guess for Dubai's tiles."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """A tile as a workspace, and a file of prompts for it."""

    workspace: str
    vectors: str
    truth: NDArray[np.uint8]
    """(y, x) class ids, 255 = ignore."""
    boxes: NDArray[np.float64]
    """(n, 4) x0, y0, x1, y1: the buildings' prompts."""
    road_width: float = ROAD_WIDTH


def shifted_boxes(truth: NDArray[np.uint8], seed: int) -> NDArray[np.float64]:
    """(n, 4) x0, y0, x1, y1 of buildings, every edge moved by up to 15 % of the side, one in ten left out."""
    rng = np.random.default_rng(seed)
    found, _ = ndimage.label(truth == 1)
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
        boxes.append(np.array([cols.start, rows.start, cols.stop, rows.stop]) + moved)
    return np.array(boxes).reshape(-1, 4)


def jittered_lines(truth: NDArray[np.uint8], seed: int) -> list[shapely.LineString]:
    """Centre lines of the roads, a vertex every 40 pixels, each moved by up to 6."""
    rng = np.random.default_rng(seed + 1000)
    lines, _ = centre_lines(truth == 2)  # noqa: PLR2004 - road
    moved = []
    for line in lines:
        count = max(2, int(line.length / SPACING) + 1)
        points = np.array([line.interpolate(s, normalized=True).coords[0] for s in np.linspace(0, 1, count)])
        moved.append(shapely.LineString(points + rng.uniform(-JITTER, JITTER, points.shape)))
    return moved


def prompted_tile(number: int, seed: int, folder: Path, *, progress: Progress) -> Prompted:
    """A tile of Dubai, ingested once for all seeds, and its prompts."""
    workspace = folder / f"dubai{number}"
    if not workspace.exists():
        scene, _ = write_scene(settings().data_dir / "dubai", number, folder)
        steps.ingest(IngestParams(scenes=(str(scene),)), str(workspace), run=ClusterParams(), progress=progress)
    _, truth = stitch(settings().data_dir / "dubai", number)
    boxes, lines = shifted_boxes(truth, seed), jittered_lines(truth, seed)
    path = folder / f"dubai{number}-{seed}.gpkg"
    for name, geometry in (("building", [shapely.box(*box) for box in boxes]), ("road", lines)):
        frame: Any = geopandas.GeoDataFrame({"class": [name] * len(geometry)}, geometry=geometry)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it has no CRS is meant
            frame.to_file(path, layer=name, driver="GPKG")
    return Prompted(str(workspace), str(path), truth, boxes)
