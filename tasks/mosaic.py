"""Mosaic: the stored prediction as georeferenced GeoTIFFs.

Each block is proved by the checksum that the ledger keeps of it before it goes into a product. A product is a unit of
this step's own ledger: it is written again only where the prediction or its tags have changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.lease import Grip
from infra.ledger import Entry, Ledger
from infra.progress import Progress, Task, counting
from infra.stopping import check
from infra.store import Store, require_room
from tasks.params import MosaicParams
from tasks.raster.blend import NODATA, TOP, predicted_class
from tasks.raster.classes import ClassMap, MapClass
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.geotiff import Layout, class_layout, write_geotiff
from tasks.raster.grid import Window, to_json, windows
from tasks.raster.probability import open_probability, room_for_products, state_of
from tasks.raster.shards import read_shards
from tasks.raster.style import class_style
from tasks.raster.zarrays import open_group
from tasks.units import to_do, unit_of
from tasks.workspace import MOSAIC, PREDICT, PROBABILITY, Workspace, open_workspace


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
    workspace = open_workspace(store)
    place = store.zarr(PROBABILITY)
    array = open_probability(place)
    about: dict[str, Any] = dict(open_group(place, made_by="predict").attrs)
    entries = {e.unit: e for e in Ledger(store, PREDICT).entries()}
    _check_complete(workspace, about, entries, array)
    layouts = _layouts(workspace, about)
    unknown = sorted(set(params.products) - set(layouts))
    if unknown:
        raise UnusableInput(f"There is no product '{unknown[0]}'; choose from {', '.join(layouts)}.")

    ledger = Ledger(store, MOSAIC)
    checksums = {unit: entry.checksum for unit, entry in entries.items()}
    marks = {
        name: fingerprint(
            {
                "tags": dict(layouts[name].tags),
                "bands": layouts[name].bands,
                "colours": about["colours"],
                "grid": to_json(workspace.grid),
                "control": asdict(workspace.control) if workspace.control else None,
                "blocks": checksums,
            }
        )
        for name in params.products
    }
    targets = {name: f"products/{name}.tif" for name in params.products}
    others = {n: m for n, m in (ledger.done() | ledger.short()).items() if n not in marks}
    pending = set(to_do(ledger, marks | others, places=()))
    pending |= {name for name, key in targets.items() if not store.exists(key)}
    planes = {"classes": 1, "probability": len(layouts["probability"].bands)}
    require_room(store, room_for_products(array.shape[1] * array.shape[2], sum(planes[name] for name in pending)))

    side = int(about["block"])
    blocks = list(windows((array.shape[1], array.shape[2]), side))
    with counting(progress, "mosaic", total=len(pending) * len(blocks), unit="blocks") as bar:
        for name in (n for n in params.products if n in pending):
            proved = _proved(store, array, side, entries, bar)
            pixels = proved if name == "probability" else ((w, predicted_class(p)[None]) for w, p in proved)
            with store.publishing(targets[name]) as temporary:
                write_geotiff(temporary, layouts[name], pixels, scratch=temporary.with_suffix(".scratch"))
                grip.check()
            if name == "classes":
                store.write(f"products/{name}.qml", class_style(_classes(about)).encode())
            ledger.record(Entry(name, marks[name], "", short=False, facts={}))
    places = {name: f"{store.url}/{key}" for name, key in targets.items()}
    valid = sum(int(e.facts["valid"]) for e in entries.values())
    return Mosaicked(places, valid / (array.shape[1] * array.shape[2]), len(marks), len(pending))


def _check_complete(
    workspace: Workspace, about: dict[str, Any], entries: dict[str, Entry], array: zarr.Array[Any]
) -> None:
    side = int(about["block"])
    total = len(list(windows((array.shape[1], array.shape[2]), side)))
    url = workspace.store.url
    if len(entries) < total or about.get("units") != state_of({u: e.fingerprint for u, e in entries.items()}):
        ledger = Ledger(workspace.store, PREDICT)
        ledger.forget((ledger.done() | ledger.short()).keys() - entries.keys())  # damaged: nothing proves their blocks
        raise UnusableInput(
            f"The prediction in {url} is not complete ({len(entries)} of {total} blocks are done); "
            "run 'geoloom predict' again: it does what is left."
        )
    if about["cube"] != workspace.cube().fingerprint:
        raise UnusableInput(f"The prediction in {url} is of other pixels than its cube's; run 'geoloom predict' again.")


def _classes(about: dict[str, Any]) -> ClassMap:
    return ClassMap(tuple(MapClass(n, tuple(c)) for n, c in zip(about["classes"], about["colours"], strict=True)))


def _layouts(workspace: Workspace, about: dict[str, Any]) -> dict[str, Layout]:
    classes = _classes(about)
    tags = {
        "GEOLOOM_VERSION": version("geoloom"),
        "GEOLOOM_SCENES": "; ".join(s.path.rpartition("/")[2] for s in workspace.sources),
        "GEOLOOM_CUBE": str(about["cube"]),
        "GEOLOOM_MODEL_SHA256": str(about["model"]),
        "GEOLOOM_PARAMETERS": str(about["parameters"]),
        "GEOLOOM_TRAINED_HERE": "yes" if about["trained_here"] else "no",
    }
    attribution = "; ".join(sorted({s.attribution for s in workspace.sources if s.attribution}))
    if attribution:
        tags["TIFFTAG_COPYRIGHT"] = attribution
    return {
        "classes": class_layout(workspace.grid, classes, tags=tags, control=workspace.control),
        "probability": Layout(
            workspace.grid,
            classes.names,
            NODATA,
            "AVERAGE",
            compress="ZSTD",
            predictor=True,
            scale=1 / TOP,
            tags=tags | {"CLASS_NAMES": ",".join(classes.names)},
            control=workspace.control,
        ),
    }


def _proved(
    store: Store, array: zarr.Array[Any], side: int, entries: dict[str, Entry], bar: Task
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """The blocks of a prediction, each proved by its checksum.

    Raises:
        UnusableInput: one is not what was predicted.
    """
    for window in windows((array.shape[1], array.shape[2]), side):
        check()
        unit = unit_of(window, side)
        try:
            planes = read_shards(array, window)
        except (ValueError, RuntimeError, OSError):
            planes = None
        if planes is None or digest(planes) != entries[unit].checksum:
            Ledger(store, PREDICT).forget([unit])
            raise UnusableInput(
                f"{store.url}/{PROBABILITY} is damaged in rows {window[0].start} to {window[0].stop}, columns "
                f"{window[1].start} to {window[1].stop}; run 'geoloom predict' again: it makes that block again."
            )
        yield window, planes
        bar.advance()
