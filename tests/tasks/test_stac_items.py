"""STAC items: bands found in the files that hold them, by an item, a collection of items, and a real search."""

import functools
import http.server
import json
import pathlib
import threading
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from tasks.params import ClusterParams, IngestParams
from tasks.raster.cube import open_cube
from tasks.raster.gdal import rasterio
from tasks.raster.places import without_keys
from tasks.stac_items import find_items, is_stac

SIDE = 60
PIXELS = np.random.default_rng(0).integers(1, 255, (4, SIDE, SIDE)).astype(np.uint8)
NAMES = {"B04": "red", "B03": "green", "B02": "blue", "B08": "nir"}


def write(path, pixels, *, left=500_000.0, size=10.0, step=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = pixels[:, ::step, ::step]
    with rasterio.open(
        path, "w", driver="GTiff", count=len(part), height=part.shape[1], width=part.shape[2], dtype=part.dtype,
        crs="EPSG:32636", transform=rasterio.Affine(size * step, 0, left, 0, -size * step, 4_000_000), nodata=0,
    ) as target:  # fmt: skip
        target.write(part)


def item(name, assets, *, day=1, **more):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": None,
        "properties": {"datetime": f"2024-05-{day:02d}T10:00:00Z"},
        "links": [],
        "assets": assets,
    } | more


def measured(folder="."):
    """Each band in a file of its own, as Sentinel-2's are, a picture of three and a thumbnail."""
    files = {
        key: {"href": f"{folder}/{key}.tif", "roles": ["data"], "eo:bands": [{"name": key, "common_name": colour}]}
        for key, colour in NAMES.items()
    }
    colours = [{"name": key, "common_name": NAMES[key]} for key in ("B04", "B03", "B02")]
    return files | {
        "visual": {"href": f"{folder}/visual.tif", "roles": ["visual"], "eo:bands": colours},
        "preview": {"href": f"{folder}/preview.png", "roles": ["thumbnail"], "type": "image/png"},
        "about": {"href": f"{folder}/about.json", "roles": ["metadata"]},
    }


@pytest.fixture
def site(tmp_path):
    """A folder of two items' files, side by side, and the items."""
    folder = tmp_path / "site"
    for n, name in enumerate(("west", "east")):
        for plane, key in zip(PIXELS, NAMES, strict=True):
            write(folder / name / f"{key}.tif", plane[None], left=500_000.0 + n * SIDE * 10)
        write(folder / name / "visual.tif", 255 - PIXELS[:3], left=500_000.0 + n * SIDE * 10)
        document = item(name, measured(), day=n + 1, collection="fields")
        document["links"] = [{"rel": "collection", "href": "../collection.json"}]
        (folder / name / "item.json").write_text(json.dumps(document))
    providers = [{"name": "A mission", "roles": ["licensor"]}, {"name": "A host", "roles": ["host"]}]
    (folder / "collection.json").write_text(json.dumps({"license": "CC-BY-4.0", "providers": providers}))
    return folder


def ingested(tmp_path, *names, **options):
    store = open_store(str(tmp_path / "ws"))
    params = IngestParams(scenes=tuple(str(n) for n in names), **options)
    done = steps.ingest(params, store.url, run=ClusterParams(workers=2), progress=Silent())
    return done, open_cube(store.zarr("cube.zarr")), json.loads(store.read("workspace.json"))


def pixels(cube):
    return cube.read((slice(0, cube.grid.shape[0]), slice(0, cube.grid.shape[1])))


def test_bands_lie_in_files_of_their_own(site, tmp_path):
    _, cube, document = ingested(tmp_path, site / "west" / "item.json", bands=("nir", "b04", "green"))
    assert cube.bands == ("nir", "b04", "green")
    image, valid = pixels(cube)
    assert np.array_equal(image, PIXELS[[3, 0, 1]])
    assert valid.all()
    source = document["sources"][0]
    assert source["path"].endswith("west/item.json")
    assert source["date"] == "2024-05-01T10:00:00Z"
    assert source["attribution"] == "A mission (CC-BY-4.0)"


def test_without_a_choice_the_picture_is_taken(site, tmp_path):
    _, cube, _ = ingested(tmp_path, site / "west" / "item.json")
    assert cube.bands == ("red", "green", "blue")
    assert np.array_equal(pixels(cube)[0], 255 - PIXELS[:3])


def test_without_a_picture_the_measured_colours_are_taken(site, tmp_path):
    path = site / "west" / "item.json"
    document = json.loads(path.read_text())
    del document["assets"]["visual"]
    path.write_text(json.dumps(document))
    _, cube, _ = ingested(tmp_path, path)
    assert cube.bands == ("red", "green", "blue")
    assert np.array_equal(pixels(cube)[0], PIXELS[:3])


def test_one_file_with_all_bands_and_the_words_of_stac_1_1(tmp_path):
    write(tmp_path / "all.tif", PIXELS)
    bands = [{"name": key, "eo:common_name": colour} for key, colour in NAMES.items()]
    document = item("one", {"image": {"href": "all.tif", "roles": ["data"], "bands": bands}}, stac_version="1.1.0")
    (tmp_path / "item.json").write_text(json.dumps(document))
    _, cube, _ = ingested(tmp_path, tmp_path / "item.json")
    assert cube.bands == ("red", "green", "blue", "nir")
    _, cube, _ = ingested(tmp_path, tmp_path / "item.json", bands=("b02", "nir"))
    assert np.array_equal(pixels(cube)[0], PIXELS[[2, 3]])


def test_a_band_of_another_resolution_needs_a_resolution(site, tmp_path):
    write(site / "west" / "B08.tif", PIXELS[3:], step=2)
    with pytest.raises(UnusableInput, match=r"red and nir of .*item\.json lie on other pixel grids; give --res"):
        ingested(tmp_path, site / "west" / "item.json", bands=("red", "nir"))
    _, cube, _ = ingested(
        tmp_path, site / "west" / "item.json", bands=("red", "nir"), resolution=10.0, resampling="nearest"
    )
    image, _ = pixels(cube)
    assert np.array_equal(image[0], PIXELS[0])
    assert np.array_equal(image[1], PIXELS[3, ::2, ::2].repeat(2, 0).repeat(2, 1))


def test_a_pixel_is_data_where_one_file_has_some(site, tmp_path):
    hole = PIXELS.copy()
    hole[0, :9] = 0
    hole[1, :4] = 0
    write(site / "west" / "B04.tif", hole[:1])
    write(site / "west" / "B03.tif", hole[1:2])
    _, cube, _ = ingested(tmp_path, site / "west" / "item.json", bands=("red", "green"))
    valid = pixels(cube)[1]
    assert not valid[:4].any()
    assert valid[4:].all()


def test_a_key_takes_its_file(site, tmp_path):
    _, cube, _ = ingested(tmp_path, site / "west" / "item.json", bands=("visual", "B08"))
    assert cube.bands == ("red", "green", "blue", "b08")
    assert np.array_equal(pixels(cube)[0], np.concatenate([255 - PIXELS[:3], PIXELS[3:]]))


def test_files_of_an_item_that_says_nothing_of_bands(tmp_path):
    for key, plane in zip(("vv", "vh"), PIXELS, strict=False):
        write(tmp_path / f"{key}.tif", plane[None])
    assets = {key: {"href": f"{key}.tif", "roles": ["data"]} for key in ("vv", "vh")}
    (tmp_path / "item.json").write_text(json.dumps(item("radar", assets)))
    _, cube, _ = ingested(tmp_path, tmp_path / "item.json", bands=("vh", "vv"))
    assert cube.bands == ("vh", "vv")
    assert np.array_equal(pixels(cube)[0], PIXELS[[1, 0]])


def test_a_key_that_is_not_the_name_of_its_one_band(tmp_path):
    write(tmp_path / "a.tif", PIXELS[:1])
    asset = {"href": "a.tif", "roles": ["data"], "eo:bands": [{"name": "OLI_B5", "common_name": "nir08"}]}
    (tmp_path / "item.json").write_text(json.dumps(item("landsat", {"nir_08": asset})))
    for name in ("nir_08", "nir08", "oli_b5"):
        assert ingested(tmp_path, tmp_path / "item.json", bands=(name,))[1].bands == (name,)


def test_an_item_leads_to_no_other_document_than_its_collection(site, tmp_path, monkeypatch):
    """Not to the root that it names, wherever that is."""
    path = site / "west" / "item.json"
    document = json.loads(path.read_text())
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    document["links"].append({"rel": "root", "href": str(secret)})
    path.write_text(json.dumps(document))
    read, plain = [], pathlib.Path.read_bytes
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda p: read.append(p.name) or plain(p))
    find_items(str(path))
    assert read == ["item.json", "collection.json"]


def test_one_page_of_several_is_no_map(site, tmp_path):
    document = json.loads((site / "west" / "item.json").read_text())
    links = [{"rel": "next", "href": "https://host/api/collections/fields/items?page=2"}]
    (tmp_path / "page.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": [document], "links": links})
    )
    with pytest.raises(UnusableInput, match="is one page of several"):
        find_items(str(tmp_path / "page.json"))


def test_an_item_that_is_there_twice_is_told(site, tmp_path):
    document = json.loads((site / "west" / "item.json").read_text())
    collection = {"type": "FeatureCollection", "features": [document, document]}
    (site / "west" / "two.json").write_text(json.dumps(collection))
    with pytest.raises(UnusableInput, match=r"two\.json#west is there twice"):
        ingested(tmp_path, site / "west" / "two.json")


def test_a_band_that_is_not_there_is_told(site, tmp_path):
    with pytest.raises(UnusableInput, match=r"has no band 'swir'; choose with --bands of its bands \(red, green"):
        ingested(tmp_path, site / "west" / "item.json", bands=("swir",))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"type": "FeatureCollection", "features": [null]}',
        "[]",
        "{}",
        '{"type": "Feature"}',
        '{"type": "FeatureCollection"}',
    ],
)
def test_what_is_no_item_is_told(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(
        UnusableInput, match=r"x\.json (is (no STAC item|not JSON)|holds something that is no STAC item)"
    ):
        find_items(str(tmp_path / "x.json"))


def test_an_item_whose_file_is_broken_is_left_out(site, tmp_path):
    path = site / "east" / "B04.tif"
    path.write_bytes(path.read_bytes()[:900])
    named = [site / side / "item.json" for side in ("west", "east")]
    done, cube, _ = ingested(tmp_path, *named, bands=("red",))
    assert len(done.left_out) == 1
    assert "east/item.json" in done.left_out[0]
    assert np.array_equal(pixels(cube)[0], PIXELS[:1])


class Api(http.server.SimpleHTTPRequestHandler):
    """A STAC API over a folder: one item a page, and the files as they are."""

    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path == "/api":
            self.tell(self.landing())
        elif parts.path == "/api/search":
            self.tell(self.page({k: v[0] for k, v in parse_qs(parts.query).items()}))
        else:
            super().do_GET()

    def landing(self):
        host = f"http://{self.headers['Host']}"
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "api",
            "description": "of two fields",
            "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
            "links": [
                {"rel": "self", "href": f"{host}/api"},
                {"rel": "root", "href": f"{host}/api"},
                {"rel": "search", "href": f"{host}/api/search", "type": "application/geo+json", "method": "GET"},
            ],
        }

    def page(self, asked):
        self.server.asked.append(asked)
        host = f"http://{self.headers['Host']}"
        names = ["west", "east"] if asked.get("collections") == "fields" else []
        at = int(asked.get("token", 0))
        features = []
        for name in names[at : at + 1]:
            links = [
                {"rel": "self", "href": f"{host}/{name}/item.json"},
                {"rel": "collection", "href": f"{host}/collection.json"},
            ]
            features.append(item(name, measured(f"{host}/{name}"), links=links, collection="fields"))
        following = [f"{host}/api/search?collections=fields&token={at + 1}"] if names[at + 1 :] else []
        return {
            "type": "FeatureCollection",
            "features": features,
            "links": [{"rel": "next", "href": href, "method": "GET"} for href in following],
        }

    def tell(self, document):
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def api(site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Api, directory=str(site)))
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_search_gives_a_map_of_all_its_items(api, tmp_path):
    host = f"http://127.0.0.1:{api.server_address[1]}"
    done, cube, document = ingested(
        tmp_path, f"{host}/api/search?collections=fields&bbox=30,30,40,40", bands=("red", "nir")
    )
    assert (done.rows, done.columns) == (SIDE, 2 * SIDE)
    assert np.array_equal(pixels(cube)[0], np.concatenate([PIXELS[[0, 3]]] * 2, axis=2))
    assert [s["path"] for s in document["sources"]] == [f"{host}/{name}/item.json" for name in ("west", "east")]
    assert {s["attribution"] for s in document["sources"]} == {"A mission (CC-BY-4.0)"}
    assert len(api.asked) == 2
    assert api.asked[0]["bbox"] == "30.0,30.0,40.0,40.0" or api.asked[0]["bbox"] == "30,30,40,40"


def test_an_item_on_a_server_leads_to_its_files(api, tmp_path):
    host = f"http://127.0.0.1:{api.server_address[1]}"
    _, cube, _ = ingested(tmp_path, f"{host}/west/item.json", bands=("green",))
    assert np.array_equal(pixels(cube)[0], PIXELS[1:2])


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("collections=none", "finds no items"),
        ("colections=fields", "asks for colections; a STAC search knows"),
        ("", "asks for everything"),
        ("collections=fields&datetime=x", "does not answer that search"),
        ("collections=fields&limit=0", "does not answer that search"),
        ("collections=fields&query=[1]", "does not answer that search"),
    ],
)
def test_a_search_that_finds_nothing_is_told(api, query, told):
    with pytest.raises(UnusableInput, match=told):
        find_items(f"http://127.0.0.1:{api.server_address[1]}/api/search?{query}")


def test_a_server_that_is_no_api_is_told(api):
    with pytest.raises(UnusableInput, match="does not answer that search"):
        find_items(f"http://127.0.0.1:{api.server_address[1]}/west/search?collections=fields")


def test_a_servers_item_does_not_reach_this_machine(api, site, tmp_path):
    secret = tmp_path / "secret.tif"
    write(secret, PIXELS)
    for href in (str(secret), f"file://{secret}", f"/vsicurl/file://{secret}", f"../../../../..{secret}"):
        assets = {"image": {"href": href, "roles": ["data"], "type": "image/tiff"}}
        (site / "bad.json").write_text(json.dumps(item("bad", assets)))
        with pytest.raises(UnusableInput):
            ingested(tmp_path, f"http://127.0.0.1:{api.server_address[1]}/bad.json")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://u:p@host/a.tif?X-Amz-Signature=1&X-Amz-Date=2", "https://host/a.tif"),
        ("https://host/a.tif?sv=1&se=2&sig=3&sp=r&id=4", "https://host/a.tif?id=4"),
        ("https://host/get?id=4&access_token=5&subscription-key=6", "https://host/get?id=4"),
        ("https://host/get?key=a.tif&sc=1", "https://host/get?key=a.tif&sc=1"),
        ("s3://bucket/a.tif", "s3://bucket/a.tif"),
        ("a?b.tif", "a?b.tif"),
    ],
)
def test_keys_are_not_written_down(address, shown):
    assert without_keys(address) == shown


def test_documents_are_known_by_their_names():
    assert is_stac("a/item.json")
    assert is_stac("https://host/api/collections/x/items")
    assert is_stac("https://host/a.json?x=1")
    assert is_stac("https://host/api/collections/x/items/one")
    assert not is_stac("https://host/items/scene.tif")
    assert not is_stac("a/scene.tif")
    assert not is_stac("folder/search")
