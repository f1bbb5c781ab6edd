"""`products/item.json`: what a map is of, made by what, and where its files are, as a STAC item.

STAC 1.1 (https://github.com/radiantearth/stac-spec) with the extensions projection 2.0, raster 2.0, classification 2.0,
processing 1.2, file 2.1 and machine learning model 1.4. Mosaic and vectorize write it where it has changed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from infra.ledger import Ledger
from infra.store import write_json
from tasks.prediction import Prediction
from tasks.raster.blend import NODATA, TOP
from tasks.raster.globe import bounds_on_globe, on_globe
from tasks.raster.ground import Ground
from tasks.workspace import DRAW, MOSAIC, SCENE

ITEM = "products/item.json"
PROJECT = "map.qgs"
"""The QGIS project, which is written wherever the item is."""
_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
EXTENSIONS = (
    "projection/v2.0.0",
    "raster/v2.0.0",
    "classification/v2.0.0",
    "processing/v1.2.0",
    "file/v2.1.0",
    "mlm/v1.4.0",
)
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
GPKG, PARQUET, PMTILES = "application/geopackage+sqlite3", "application/vnd.apache.parquet", "application/vnd.pmtiles"
OUTLINE = 21
"""Points along each side of the grid's outline."""
STRAIGHT = 1e-8
"""Degrees, about a millimetre, from which on a side is bent: a straight one needs no points between its corners."""


def write_item(prediction: Prediction) -> None:
    """Write the STAC item of the products that are made of a prediction; not again where nothing has changed."""
    store = prediction.workspace.store
    of = prediction.id
    entries = [entry for step in (MOSAIC, DRAW) for entry in Ledger(store, step).entries()]
    scene = [SCENE.rpartition("/")[2]] if store.exists(SCENE) else []
    names = sorted([PROJECT, *scene, *(name for e in entries if e.facts["of"] == of for name in e.facts["files"])])
    old = store.read(ITEM)
    made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if old is not None:
        with suppress(ValueError, KeyError, TypeError):
            document = json.loads(old)
            again = item(prediction, names, made=document["properties"]["created"])
            if document == json.loads(json.dumps(again)):
                return
    write_json(store, ITEM, item(prediction, names, made=made))


def item(prediction: Prediction, names: list[str], *, made: str) -> dict[str, Any]:
    """The STAC item of a prediction's products.

    Args:
        prediction: what they are of.
        names: of the files beside the item.
        made: when, RFC 3339; also the item's own time, where no scene says when it was taken.
    """
    ground = Ground(prediction.workspace.grid, prediction.workspace.control)
    outline = _outline(prediction, ground)
    lineage = prediction.lineage()
    scenes = lineage["GEOLOOM_SCENES"]
    code, wkt = _code(prediction, ground)
    place = _place(prediction)
    assets = {name: asset for name in names if (asset := _asset(prediction, name, place)) is not None}
    has_rasters = any(asset["type"] == COG for asset in assets.values())
    about: dict[str, Any] = {
        **_times(prediction, made),
        "created": made,
        "title": f"Map of {scenes}",
        "processing:software": {"geoloom": version("geoloom")},
        "processing:lineage": f"{scenes}, mapped by the model {lineage['GEOLOOM_MODEL_SHA256'][:16]} with "
        f"{lineage['GEOLOOM_PARAMETERS']}",
        "processing:datetime": made,
        "processing:level": "L4",
        "proj:code": code,
        **({"proj:wkt2": wkt} if wkt else {}),
        "bands": _named(prediction.about["card"]["bands"]),  # what mlm:input speaks of
        **_model(prediction),
    }
    if "TIFFTAG_COPYRIGHT" in lineage:
        about["license"] = "other"
        about["providers"] = [{"name": lineage["TIFFTAG_COPYRIGHT"], "roles": ["licensor"]}]
    document = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            _EXTENSION.format(name) for name in EXTENSIONS if has_rasters or not name.startswith("raster/")
        ],
        "id": f"map-{prediction.id}",
        "geometry": None if outline is None else shapely.geometry.mapping(outline),
        "properties": about,
        "links": [],
        "assets": assets | _weights(prediction),
    }
    return document if outline is None else document | {"bbox": bounds_on_globe(outline)}


def _times(prediction: Prediction, made: str) -> dict[str, Any]:
    """When the scenes were taken; where none says so, when the map was made, which is all that is known."""
    dates = sorted(source.date for source in prediction.workspace.sources if source.date)
    if not dates:
        return {"datetime": made}
    if dates[0] == dates[-1]:
        return {"datetime": dates[0]}
    return {"datetime": None, "start_datetime": dates[0], "end_datetime": dates[-1]}


def _outline(prediction: Prediction, ground: Ground) -> shapely.Polygon | shapely.MultiPolygon | None:
    """The grid on the globe, in degrees; None where it lies nowhere on Earth."""
    if not ground.on_earth:
        return None
    rows, columns = prediction.shape
    sides = np.linspace(0, 1, OUTLINE)[:-1]
    ahead, back = np.concatenate([sides, np.ones(len(sides))]), np.concatenate([np.zeros(len(sides)), sides])
    x, y = np.concatenate([ahead, 1 - ahead]) * columns, np.concatenate([back, 1 - back]) * rows
    degrees = pyproj.Transformer.from_crs(ground.crs, 4326, always_xy=True)
    places = np.stack(degrees.transform(*ground.place(np.stack([x, y], axis=1)).T), axis=1)
    return on_globe(places).simplify(STRAIGHT) if np.isfinite(places).all() else None


def _code(prediction: Prediction, ground: Ground) -> tuple[str | None, str | None]:
    """The map's CRS: its code, or its WKT where it has none. A grid that control points place is in no CRS."""
    if ground.crs is None or prediction.workspace.control is not None:
        return None, None
    authority = ground.crs.to_authority()
    return (":".join(authority), None) if authority is not None else (None, ground.crs.to_wkt())


def _place(prediction: Prediction) -> dict[str, Any]:
    """Where the pixels of a raster lie."""
    found: dict[str, Any] = {"proj:shape": list(prediction.shape)}
    if prediction.workspace.control is None:
        found["proj:transform"] = list(prediction.workspace.grid.affine)[:6]
    return found


def _model(prediction: Prediction) -> dict[str, Any]:
    """What the extension for models wants to know."""
    card = prediction.about["card"]
    side, tasks = int(card["tile"]), ["semantic-segmentation"]
    classes = _classes(prediction)
    return {
        "mlm:name": _slug(card["name"]),
        "mlm:architecture": card["architecture"],
        "mlm:framework": "PyTorch",
        "mlm:tasks": tasks,
        "mlm:input": [
            {
                "name": "tile",
                "bands": card["bands"],
                "input": {
                    "shape": [-1, len(card["bands"]), side, side],
                    "dim_order": ["batch", "channel", "height", "width"],
                    "data_type": "float32",
                },
                "pre_processing_function": None,
                "value_scaling": [
                    {"type": "z-score", "mean": mean, "stddev": std}
                    for mean, std in zip(card["mean"], card["std"], strict=True)
                ],
            }
        ],
        "mlm:output": [
            {
                "name": "scores",
                "tasks": tasks,
                "result": {
                    "shape": [-1, len(classes), side, side],
                    "dim_order": ["batch", "class", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": classes,
                "post_processing_function": None,
            }
        ],
    }


def _weights(prediction: Prediction) -> dict[str, Any]:
    """The model's own asset: where it was when it mapped."""
    weights = prediction.about["card"]["weights"]
    return {
        "model": {
            "href": weights if "://" in weights else Path(weights).absolute().as_uri(),
            "title": "The model's weights",
            "type": "application/octet-stream; application=safetensors",
            "roles": ["mlm:model", "mlm:weights"],
            "mlm:artifact_type": "safetensors",
            "file:checksum": "1220" + prediction.about["card"]["sha256"],
            "bands": _named(prediction.about["card"]["bands"]),
        }
    }


def _slug(name: str) -> str:
    """A model's name as the extension wants it: letters, digits, `_`, `.`, `-`; a letter first and neither last."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    found = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("_.-")
    return found if re.fullmatch(r"[A-Za-z].+[A-Za-z0-9]", found) else f"model-{found}".strip("-")


def _named(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"name": name} for name in names]


def _classes(prediction: Prediction) -> list[dict[str, Any]]:
    return [
        {
            "value": number,
            "name": slug,
            "title": one.name,
            "description": one.name,
            "color_hint": "{:02X}{:02X}{:02X}".format(*one.colour),
        }
        for number, (slug, one) in enumerate(zip(prediction.classes.slugs, prediction.classes.classes, strict=True))
    ]


def _asset(prediction: Prediction, name: str, place: dict[str, Any]) -> dict[str, Any] | None:
    """What a file is; None of one that is no product.

    Args:
        prediction: what it was made of.
        name: the file's.
        place: what to say of a raster's pixels.
    """
    stem, _, kind = name.partition(".")
    plain = {"nodata": NODATA, "data_type": "uint8", "raster:sampling": "area"}
    share = plain | {"raster:scale": 1 / TOP, "raster:offset": 0.0}
    rasters: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
        "classes": (
            "The most probable class",
            plain,
            [{"name": "class", "classification:classes": _classes(prediction)}],
        ),
        "probability": ("The probability of each class", share, _named(prediction.classes.names)),
        "uncertainty": ("Entropy of the probabilities, as a share of the highest", share, _named(["uncertainty"])),
    }
    if kind == "tif" and stem == "scene":
        bands = _named(prediction.workspace.cube().bands)
        about = {"href": f"./{name}", "type": COG, "title": "The scene", "roles": ["data", "visual"]}
        return about | place | {"raster:sampling": "area", "bands": bands}
    if kind == "tif" and stem in rasters:
        title, pixels, bands = rasters[stem]
        about = {"href": f"./{name}", "type": COG, "title": title, "roles": ["data"]}
        return about | place | pixels | {"bands": bands}
    media = {"gpkg": GPKG, "parquet": PARQUET, "pmtiles": PMTILES}.get(kind)
    if media is not None:
        about = {"href": f"./{name}", "type": media, "title": stem.replace("_", " "), "roles": ["data"]}
        return about | ({"proj:code": "EPSG:3857"} if kind == "pmtiles" else {})
    if kind in {"qml", "qgs"}:
        title = "QGIS style" if kind == "qml" else "QGIS project of all products"
        return {"href": f"./{name}", "type": "application/xml", "title": title, "roles": ["metadata"]}
    return None
