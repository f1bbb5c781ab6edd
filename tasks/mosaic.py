"""Mosaic: the stored prediction as georeferenced GeoTIFFs.

Each block is proved by the checksum that the ledger keeps of it before it goes into a product. A product is a unit of
this step's own ledger: it is written again only where the prediction or its tags have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.progress import Progress, Task, counting
from infra.stopping import check
from infra.store import Store, require_room
from tasks.catalog import write_item
from tasks.params import MosaicParams
from tasks.prediction import Prediction, open_prediction
from tasks.qgis_project import write_project
from tasks.raster.blend import NODATA, TOP, predicted_class, uncertainty
from tasks.raster.fingerprint import fingerprint
from tasks.raster.geotiff import Layout, class_layout, write_geotiff
from tasks.raster.grid import Window
from tasks.raster.probability import room_for_products
from tasks.raster.style import class_style, class_table
from tasks.units import to_do
from tasks.workspace import MOSAIC

MADE_OF: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "classes": lambda planes: predicted_class(planes)[None],
    "probability": lambda planes: planes,
    "uncertainty": lambda planes: uncertainty(planes)[None],
}
"""What each product's pixels are, (band, y, x), of probabilities (class, y, x)."""
FILES = {
    "classes": ["classes.tif", "classes.qml", "classes.tif.aux.xml"],
    "probability": ["probability.tif"],
    "uncertainty": ["uncertainty.tif"],
}
"""What each product is made of, in `products/`."""


@dataclass(frozen=True, slots=True)
class Mosaicked:
    """What a mosaic made."""

    products: dict[str, str]
    """Name to place."""
    valid_share: float
    units_total: int
    units_run: int


def mosaic(params: MosaicParams, store: Store, *, grip: Grip, progress: Progress) -> Mosaicked:
    """Write the products, as cloud-optimized GeoTIFFs.

    Raises:
        UnusableInput: nothing has been predicted yet, not all of it, or what is stored is damaged.
        UnwritableOutput: the products cannot be written.
    """
    prediction = open_prediction(store)
    layouts = _layouts(prediction)
    unknown = sorted(set(params.products) - set(layouts))
    if unknown:
        raise UnusableInput(f"There is no product '{unknown[0]}'; choose from {', '.join(layouts)}.")

    ledger = Ledger(store, MOSAIC)
    of = prediction.id
    marks = {name: fingerprint({"of": of, "bands": layouts[name].bands}) for name in params.products}
    targets = {name: f"products/{name}.tif" for name in params.products}
    others = {n: m for n, m in (ledger.done() | ledger.short()).items() if n not in marks}
    pending = set(to_do(ledger, marks | others, places=()))
    pending |= {name for name in params.products if not all(store.exists(f"products/{f}") for f in FILES[name])}
    rows, columns = prediction.shape
    require_room(store, room_for_products(rows * columns, sum(len(layouts[name].bands) for name in pending)))

    blocks = list(prediction.blocks().values())
    with counting(progress, "mosaic", total=len(pending) * len(blocks), unit="blocks") as bar:
        for name in (n for n in params.products if n in pending):
            proved = _proved(prediction, blocks, bar)
            pixels = ((window, MADE_OF[name](planes)) for window, planes in proved)
            with store.publishing(targets[name]) as temporary:
                write_geotiff(temporary, layouts[name], pixels, scratch=temporary.with_suffix(".scratch"))
                grip.check()
            if name == "classes":
                store.write("products/classes.qml", class_style(prediction.classes).encode())
                store.write("products/classes.tif.aux.xml", class_table(prediction.classes).encode())
            ledger.record(Entry(name, marks[name], "", short=False, facts={"of": of, "files": FILES[name]}))
    write_project(prediction)
    write_item(prediction)
    places = {name: f"{store.url}/{key}" for name, key in targets.items()}
    return Mosaicked(places, prediction.valid / (rows * columns), len(marks), len(pending))


def _layouts(prediction: Prediction) -> dict[str, Layout]:
    workspace, classes, tags = prediction.workspace, prediction.classes, prediction.lineage()
    grid, control = workspace.grid, workspace.control

    def shares(bands: tuple[str, ...]) -> Layout:
        named = tags | {"CLASS_NAMES": ",".join(classes.names)}
        return Layout(
            grid, bands, NODATA, "AVERAGE", compress="ZSTD", predictor=True, scale=1 / TOP, tags=named, control=control
        )

    return {
        "classes": class_layout(grid, classes, tags=tags, control=control),
        "probability": shares(classes.names),
        "uncertainty": shares(("uncertainty",)),
    }


def _proved(prediction: Prediction, blocks: list[Window], bar: Task) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    for window in blocks:
        check()
        yield window, prediction.read(window)
        bar.advance()
