"""A STAC collection of a series of runs: the maps of one place night by night, or of many places, in one catalogue.

An item that a collection links to has to name the collection, and may be in one only; so it holds copies of the
workspaces' items, whose assets stay where they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UnusableInput
from infra.store import Store, write_json
from tasks.catalog import ITEM

COLLECTION = "collection.json"
_NAME, _ITEMS = "geoloom-maps", "items"
_WORLD = [-180.0, -90.0, 180.0, 90.0]


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection was made of."""

    collection: str
    items: int


def collect(workspaces: Iterable[Store], out: Store) -> Collected:
    """Write `collection.json`, what all maps have in common, and beside it `items/ID.json` for each of them.

    Args:
        workspaces: with products.
        out: where the collection goes. Links to files beside or below it are relative.

    Raises:
        UnusableInput: a workspace has no products, or two have the same.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for store in workspaces:
        text = store.read(ITEM)
        if text is None:
            raise UnusableInput(f"{store.url} has no products; make them with 'geoloom mosaic', or leave it out.")
        document = json.loads(text)
        if document["id"] in found:
            raise UnusableInput(f"{store.url} and {found[document['id']][0]} hold the same map; name one of them.")
        found[document["id"]] = store.url, document
    if not found:
        raise UnusableInput("No workspace was named; give those whose maps the collection shall hold.")
    for url, item in found.values():
        write_json(out, _key(item), _copied(item, f"{url}/{ITEM}".rpartition("/")[0], f"{out.url}/{_ITEMS}"))
    write_json(out, COLLECTION, _collection([item for _, item in found.values()]))
    return Collected(f"{out.url}/{COLLECTION}", len(found))


def _key(item: dict[str, Any]) -> str:
    return f"{_ITEMS}/{item['id']}.json"


def _copied(item: dict[str, Any], here: str, there: str) -> dict[str, Any]:
    """An item as it stands in another folder, in the collection above that."""
    assets = {
        name: asset | ({"href": _href(f"{here}/{href[2:]}", there)} if (href := asset["href"])[:2] == "./" else {})
        for name, asset in item["assets"].items()
    }
    up = f"../{COLLECTION}"
    links = [{"rel": rel, "href": up, "type": "application/json"} for rel in ("root", "parent", "collection")]
    return item | {"collection": _NAME, "links": [*item["links"], *links], "assets": assets}


def _collection(items: list[dict[str, Any]]) -> dict[str, Any]:
    boxes = [item["bbox"] for item in items if "bbox" in item]
    models = sorted({item["properties"]["mlm:name"] for item in items})
    providers = {p["name"]: p for item in items for p in item["properties"].get("providers", ())}
    codes = sorted({code for item in items if (code := item["properties"].get("proj:code"))})
    newest_first = sorted(items, key=lambda item: _ends(item)[1], reverse=True)
    links = [{"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}] + [
        {"rel": "item", "href": f"./{_key(item)}", "type": "application/geo+json", "title": item["id"]}
        for item in newest_first
    ]
    starts, ends = zip(*(_ends(item) for item in items), strict=True)
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": sorted({name for item in items for name in item["stac_extensions"] if "projection" in name}),
        "id": _NAME,
        "title": "Maps made by geoloom",
        "description": f"{len(items)} maps of scenes, made by {', '.join(models)}.",
        "license": "other",
        **({"providers": list(providers.values())} if providers else {}),
        "extent": {
            "spatial": {"bbox": [_around(boxes), *(boxes if len(boxes) > 1 else [])] if boxes else [_WORLD]},
            "temporal": {"interval": [[min(starts), max(ends)]]},
        },
        "summaries": {"mlm:name": models, **({"proj:code": codes} if codes else {})},
        "links": links,
    }


def _ends(item: dict[str, Any]) -> tuple[str, str]:
    """The first and the last moment that an item is of."""
    about = item["properties"]
    return about["datetime"] or about["start_datetime"], about["datetime"] or about["end_datetime"]


def _around(boxes: list[list[float]]) -> list[float]:
    """A box around boxes; all longitudes where one lies across the antimeridian."""
    west, south, east, north = zip(*boxes, strict=True)
    across = any(w > e for w, e in zip(west, east, strict=True))
    return [-180.0 if across else min(west), min(south), 180.0 if across else max(east), max(north)]


def _href(file: str, base: str) -> str:
    """Relative where both are on one machine; the address of what is in a bucket; of a file under neither, its URI."""
    if "://" in file or "://" in base:
        return file if "://" in file else Path(file).as_uri()
    return Path(os.path.relpath(file, base)).as_posix()
