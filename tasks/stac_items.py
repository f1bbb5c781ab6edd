"""STAC items as scenes: which of an item's files hold the bands that are wanted, and what they are called.

An item (https://github.com/radiantearth/stac-spec, 1.0 and 1.1) may keep all bands in one file, or each in its own. A
search (`https://HOST/API/search?collections=...&bbox=...`, as the API's own GET would be asked) gives many.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from infra.errors import UnusableInput, UnusableScene
from infra.remote import TIMEOUT_S, read_document
from tasks.raster.places import SUFFIXES, is_address, without_keys
from tasks.raster.scene import COLOURS, Scene, describe_scene

if TYPE_CHECKING:
    import pystac

MOST = 1000
"""Items of one search."""
_SEARCH = ("collections", "ids", "bbox", "datetime", "limit", "query", "filter", "filter-lang", "sortby", "intersects")
_JSON = ("query", "intersects")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of an item."""

    key: str
    href: str
    roles: tuple[str, ...]
    bands: tuple[tuple[str, ...], ...]
    """What each band is called: its common name first, where it has one. Empty where the item does not say."""


@dataclass(frozen=True, slots=True)
class Item:
    """What a STAC item says of a scene."""

    name: str
    """Its own address, or that of what holds it and its id."""
    date: str
    """ISO 8601 without its zone, which is UTC; '' where it does not say."""
    attribution: str
    assets: tuple[Asset, ...]
    """Those that are rasters."""


def is_stac(name: str) -> bool:
    """Whether a name is of a STAC document or a search, not of a raster."""
    path = urlsplit(name).path if is_address(name) else name
    api = path.endswith(("/search", "/items")) or "/items/" in path.removesuffix("/")
    return path.lower().endswith((".json", ".geojson")) or (
        is_address(name) and api and not path.lower().endswith(SUFFIXES)
    )


def find_items(name: str) -> tuple[Item, ...]:
    """The items that a document, a collection of items or a search holds, in its order.

    Raises:
        UnusableInput: it cannot be read, is no STAC, or is a search that finds nothing or more than 1,000 items.
    """
    if is_address(name) and urlsplit(name).path.endswith("/search"):
        return _search(name)
    document = _read_json(name)
    kind = document.get("type")
    if kind == "Feature":
        return (_item(document, name, name, {}),)
    if kind != "FeatureCollection" or not document.get("features"):
        raise UnusableInput(f"{without_keys(name)} is no STAC item and no collection of items; give one, or a raster.")
    if any(link.get("rel") == "next" for link in _links(document)):
        raise UnusableInput(
            f"{without_keys(name)} is one page of several; give the API's search, .../search?collections=..."
        )
    return _items(document["features"], name)


def describe_item(item: Item, bands: tuple[str, ...], *, nodata: float | None = None) -> Scene:
    """The scene that an item's files make.

    Args:
        item: from `find_items`.
        bands: names of those that are wanted, as the item or STAC calls them (`red`, `B04`); a file's own key takes all
            its bands. Where none are named: the one file with the role `data`, else the one for the eye (`visual`),
            else the only one, else red, green and blue.
        nodata: see `describe_scene`.

    Raises:
        UnusableInput: there is no such band, or it is not clear which file is meant.
        UnusableScene: a file cannot be read.
    """
    try:
        files = [_describe(asset, names, nodata) for asset, names in _choose(item, bands)]
    except UnusableScene as error:
        raise UnusableScene(f"{without_keys(item.name)}: {error}", item.name) from error
    return replace(
        files[0],
        date=item.date or files[0].date,
        attribution=item.attribution or files[0].attribution,
        beside=tuple(files[1:]),
        item=item.name,
    )


def _choose(item: Item, bands: tuple[str, ...]) -> list[tuple[Asset, tuple[str, ...]]]:
    """Files, and the bands to take of each by the item's names; () takes all."""
    if not bands:
        for found in (
            [a for a in item.assets if "data" in a.roles],
            [a for a in item.assets if "visual" in a.roles or a.key == "visual"],
            list(item.assets),
        ):
            if len(found) == 1:
                return [(found[0], ())]
        bands = COLOURS
    # A band may be in several files: the measured one is before a picture of it.
    order = sorted(item.assets, key=lambda a: "data" not in a.roles)
    chosen: dict[str, tuple[Asset, list[str]]] = {}
    for band in bands:
        name = band.strip().lower()
        asset = next((a for a in order if any(name in names for names in a.bands)), None)
        whole = next((a for a in order if a.key.lower() == name), None)
        if asset is not None:
            chosen.setdefault(asset.key, (asset, []))[1].append(name)
        elif whole is not None:
            chosen[whole.key] = (whole, [name])
        else:
            known = ", ".join(dict.fromkeys([n for a in order for names in a.bands for n in names[:1]]))
            keys = ", ".join(a.key for a in order)
            raise UnusableInput(
                f"{without_keys(item.name)} has no band '{band}'; choose with --bands of its bands "
                f"({known or 'unnamed'}) or its files ({keys or 'none'})."
            )
    return [(asset, tuple(names)) for asset, names in chosen.values()]


def _describe(asset: Asset, names: tuple[str, ...], nodata: float | None) -> Scene:
    """A file with the bands that are wanted, by the names that are asked for; else all, by the item's names."""
    scene = describe_scene(asset.href, nodata=nodata, bands=len(asset.bands))
    known = asset.bands if len(asset.bands) == len(scene.bands) else ()
    if len(scene.bands) == len(names) == 1:
        return replace(scene, bands=names)
    if not names or (names == (asset.key.lower(),) and not any(names[0] in band for band in known)):
        unnamed = (asset.key.lower(),) if len(scene.bands) == 1 else scene.bands
        called = tuple(band[0] for band in known) or unnamed
        return replace(scene, bands=called) if len(set(called)) == len(called) else scene
    if scene.palette or not known:
        return scene
    numbers = [next(n for n, band in enumerate(known) if name in band) for name in names]
    return replace(scene, bands=names, indexes=tuple(scene.indexes[n] for n in numbers))


def _items(features: Iterable[dict[str, Any]], holder: str) -> tuple[Item, ...]:
    """Items of a collection or a search: each by its own address where it says it, else by what holds it."""
    rights: dict[str, str] = {}
    items = []
    for feature in features:
        if not isinstance(feature, dict):
            raise UnusableInput(
                f"{without_keys(holder)} holds something that is no STAC item; give a collection of items."
            )
        own = next((str(link.get("href")) for link in _links(feature) if link.get("rel") == "self"), "")
        own = own if is_address(own) else ""
        items.append(_item(feature, own or f"{holder}#{feature.get('id')}", own or holder, rights))
    return tuple(items)


def _item(document: dict[str, Any], name: str, base: str, rights: dict[str, str]) -> Item:
    """Read an item.

    Args:
        document: the item.
        name: what it is called here.
        base: where it lies: its relative references start there.
        rights: what collections say, by their address; filled as they are read.
    """
    import pystac
    from pystac.errors import STACTypeError

    base = base if is_address(base) else str(Path(base).resolve())
    try:
        item = pystac.Item.from_dict(document)
        assets = tuple(_asset(key, asset, base) for key, asset in item.assets.items() if _is_raster(asset))
        when = item.datetime or item.common_metadata.start_datetime
        said = _rights(item.properties)
        # As the document says it: pystac would follow the root that it names.
        link = next((link.get("href") for link in _links(document) if link.get("rel") == "collection"), None)
        if not said and link:
            where = _resolve(str(link), base)
            if where not in rights:
                rights[where] = _rights_of(where)
            said = rights[where]
    except (KeyError, TypeError, ValueError, AttributeError, pystac.STACError, STACTypeError) as error:
        raise UnusableInput(f"{without_keys(name)} is no STAC item ({type(error).__name__}: {error}).") from error
    return Item(name, when.strftime("%Y-%m-%dT%H:%M:%S") if when else "", said, assets)


def _asset(key: str, asset: pystac.Asset, base: str) -> Asset:
    bands = asset.extra_fields.get("bands") or asset.extra_fields.get("eo:bands") or []
    called = []
    for band in bands:
        names = (band.get("eo:common_name") or band.get("common_name"), band.get("name"))
        called.append(tuple(dict.fromkeys(str(n).lower() for n in names if n)))
    href = _resolve(asset.href, base)
    return Asset(key, href, tuple(asset.roles or ()), tuple(called) if all(called) else ())


def _links(document: dict[str, Any]) -> list[dict[str, Any]]:
    links = document.get("links")
    return [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []


def _resolve(href: str, base: str) -> str:
    """Where a reference leads; one of a server's document never leads to this machine's files."""
    if is_address(href):
        return href
    if base.startswith("s3://"):
        return "s3://" + urljoin(f"http://{base.removeprefix('s3://')}", href).removeprefix("http://")
    return urljoin(base, href)


def _is_raster(asset: pystac.Asset) -> bool:
    if set(asset.roles or ()) & {"thumbnail", "overview", "metadata"}:
        return False
    kind = asset.media_type or ""
    if kind:
        return kind.startswith("image/") and "mrf" not in kind
    return urlsplit(asset.href).path.lower().endswith(SUFFIXES)


def _rights_of(collection: str) -> str:
    try:
        return _rights(_read_json(collection))
    except UnusableInput:
        return ""  # nobody has to keep the collection for an item to be read


def _rights(about: dict[str, Any]) -> str:
    named = [p["name"] for p in about.get("providers") or () if {"licensor", "producer"} & set(p.get("roles") or ())]
    licence = str(about.get("license") or "")
    return f"{', '.join(named)} ({licence})" if named and licence else ", ".join(named) or licence


def _search(name: str) -> tuple[Item, ...]:
    """Ask an API, page by page."""
    import pystac_client
    from pystac_client.warnings import DoesNotConformTo

    parts = urlsplit(name)
    asked = dict(parse_qsl(parts.query))
    unknown = sorted(set(asked) - set(_SEARCH))
    if unknown or not asked:
        raise UnusableInput(
            f"{without_keys(name)} asks for {', '.join(unknown) or 'everything'}; a STAC search knows "
            f"{', '.join(_SEARCH)}."
        )
    root = f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/search')}"
    try:
        options: dict[str, Any] = {k.replace("-", "_"): json.loads(v) if k in _JSON else v for k, v in asked.items()}
        options["limit"] = int(options.get("limit", 100))
        with warnings.catch_warnings():
            warnings.simplefilter("error", DoesNotConformTo)  # what a server does not know it would leave out
            api = pystac_client.Client.open(root, timeout=TIMEOUT_S)
            found = list(islice(api.search(**options, method="GET").items_as_dicts(), MOST + 1))
    except Exception as error:  # pystac-client raises whatever a server's document or a wrong word leads to
        said = str(error).strip().split("\n")[0] or type(error).__name__
        raise UnusableInput(f"{root} does not answer that search ({said}); check the address and its words.") from error
    if not found or len(found) > MOST:
        many = f"more than {MOST:,}" if found else "no"
        raise UnusableInput(f"{without_keys(name)} finds {many} items; change its collections, bbox or datetime.")
    return _items(found, name)


def _read_json(name: str) -> dict[str, Any]:
    try:
        document = json.loads(_read_text(name))
    except ValueError as error:
        raise UnusableInput(
            f"{without_keys(name)} is not JSON; expected a STAC item, a collection of items or a raster."
        ) from error
    if not isinstance(document, dict):
        raise UnusableInput(f"{without_keys(name)} is no STAC item and no collection of items; give one, or a raster.")
    return document


def _read_text(name: str) -> bytes:
    if is_address(name):
        return read_document(name)
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UnusableInput(f"There is no {name}; give the path of a STAC item or a raster.") from error
