"""Draw: the scene, the map and the truth side by side, as a picture for people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infra.store import Store
from tasks.raster.classes import class_map
from tasks.raster.grid import Window, whole
from tasks.raster.opening import open_raster
from tasks.raster.picture import class_picture, draw_panels, scene_picture
from tasks.raster.scene import read_plane
from tasks.truth_file import open_truth_file
from tasks.truth_params import EvaluateParams
from tasks.workspace import open_workspace

SIDE = 900


def draw(store: Store, *, truth: EvaluateParams | None) -> str:
    """Write `products/preview.png` and return its path.

    Raises:
        UnusableInput: there is no map yet, or the truth does not fit.
    """
    workspace = open_workspace(store)
    cube, window = workspace.cube(), whole(workspace.grid)
    with store.fetched("products/classes.tif") as path:
        with open_raster(path) as source:
            classes = class_map(source.tags()["CLASS_NAMES"].split(","))

        def read(part: Window) -> NDArray[np.uint8]:
            return read_plane(path, part)

        panels = [
            ("scene", scene_picture(cube, window, side=SIDE)),
            ("geoloom's map", class_picture(read, window, classes=classes, side=SIDE)),
        ]
    if truth is not None:
        known = open_truth_file(truth.truth, truth, grid=workspace.grid, classes=classes)
        panels.append(("truth", class_picture(known.read, window, classes=classes, side=SIDE)))
    with store.publishing("products/preview.png") as temporary:
        draw_panels(temporary, panels, classes)
    return f"{store.url}/products/preview.png"
