"""`products/map.qgs`: the products as a QGIS project, written again by each step that changes what there is."""

from __future__ import annotations

import numpy as np
from affine import Affine

from infra.ledger import Entry, Ledger
from tasks.catalog import PROJECT
from tasks.prediction import Prediction
from tasks.raster.ground import Ground
from tasks.raster.project import Drawn, project
from tasks.raster.scene import COLOURS
from tasks.workspace import DRAW, MOSAIC, SCENE

PURPLE = (106, 61, 154)


def write_project(prediction: Prediction) -> None:
    """Write the project of what is in `products/`; not again where nothing has changed."""
    store, ground = prediction.workspace.store, Ground(prediction.workspace.grid, prediction.workspace.control)
    entries = {step: list(Ledger(store, step).entries()) for step in (MOSAIC, DRAW)}
    rasters = {e.unit for e in entries[MOSAIC] if e.facts["of"] == prediction.id}
    vectors = [e for e in entries[DRAW] if e.facts["of"] == prediction.id and "class" in e.facts]
    grid = prediction.workspace.grid
    turned = ground.crs is None and grid.affine == Affine.identity()
    rows, columns = prediction.shape
    corners = ground.place(np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]], np.float64))
    (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
    text = project(
        f"Map of {prediction.lineage()['GEOLOOM_SCENES']}",
        (*_vectors(prediction, vectors, ground), *_rasters(prediction, rasters, alone=not vectors)),
        crs=ground.crs.to_wkt() if ground.crs else None,
        extent=(left, -rows, right, 0) if turned else (left, bottom, right, top),
        turned=turned,
    ).encode()
    key = f"products/{PROJECT}"
    if store.read(key) != text:
        store.write(key, text)


def _vectors(prediction: Prediction, entries: list[Entry], ground: Ground) -> list[Drawn]:
    """Points above lines above areas."""
    points, lines, areas = [], [], []
    width = f'"width_{ground.unit}"'
    if ground.crs is None:  # of pixels, in units of a map whose transform may say what one is
        width += f" * {abs(prediction.workspace.grid.affine.determinant) ** 0.5!r}"
    for entry in entries:
        one = prediction.classes.classes[entry.facts["class"]]
        colour, file = (one.name, one.colour), f"{entry.unit}.gpkg|layername={entry.unit}"
        if len(entry.facts["features"]) > 1:
            points.append(Drawn(f"{entry.unit}_nodes", f"{file}_nodes", "Point", (colour,), shown=False))
            lines.append(Drawn(entry.unit, file, "LineString", (colour,), width=width, opacity=0.8))
        else:
            areas.append(Drawn(entry.unit, file, "Polygon", (colour,)))
    return [*points, *lines, *areas]


def _rasters(prediction: Prediction, products: set[str], *, alone: bool) -> list[Drawn]:
    """Classes above shares above the scene."""
    classes, store = prediction.classes, prediction.workspace.store
    palette = tuple((one.name, one.colour) for one in classes.classes)
    has_scene = store.exists(SCENE)
    found: list[Drawn] = []
    if "classes" in products:
        # Below vectors and above a picture it is a tint; without both it is the map.
        opacity = 0.5 if has_scene else 1.0 if alone else 0.6
        found.append(Drawn("classes", "classes.tif", "classes", palette, opacity=opacity))
    if "uncertainty" in products:
        found.append(Drawn("uncertainty", "uncertainty.tif", "share", (("uncertainty", PURPLE),), shown=False))
    if "probability" in products:
        found += [
            Drawn(f"probability of {name}", "probability.tif", "share", ((name, colour),), band=n + 1, shown=False)
            for n, (name, colour) in enumerate(palette)
            if n
        ]
    if has_scene:
        cube = prediction.workspace.cube()
        bands = (
            [cube.bands.index(c) for c in COLOURS] if set(COLOURS) <= set(cube.bands) else list(range(len(cube.bands)))
        )
        bands = bands[:3] if len(bands) > 2 else bands[:1] * 3  # noqa: PLR2004 - red, green, blue, else grey
        stretch = tuple((cube.statistics[n].low, cube.statistics[n].high) for n in bands)
        shown = tuple(n + 1 for n in bands)
        found.append(Drawn("scene", SCENE.rpartition("/")[2], "colours", bands=shown, stretch=stretch))
    return found
