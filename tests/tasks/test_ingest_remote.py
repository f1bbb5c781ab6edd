"""Scenes on servers: read by ranges, known when they change, and refused in one sentence when they are not there."""

import http.server
import re
import threading

import numpy as np
import pytest

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from tasks.params import ClusterParams, IngestParams
from tasks.raster.cube import open_cube
from tasks.raster.gdal import rasterio

SIDE = 4096


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A tiled scene that does not compress."""
    path = tmp_path_factory.mktemp("remote") / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=SIDE, width=SIDE, dtype="uint8", tiled=True, blockxsize=512,
        blockysize=512, crs="EPSG:32636", transform=rasterio.Affine(1, 0, 500_000, 0, -1, 4_000_000),
    ) as target:  # fmt: skip
        target.write(np.random.default_rng(0).integers(1, 255, (1, SIDE, SIDE)).astype(np.uint8))
    return path


class Server(http.server.ThreadingHTTPServer):
    """Serves one file by ranges, and counts what it gives."""

    def __init__(self, path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.mark, self.given = path.read_bytes(), '"first"', 0
        self.paths = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def answer(self, *, body):
        self.server.paths.add(self.path)
        if not self.path.startswith("/maps/scene.tif"):
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, asked = self.server.content, re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2] or len(content) - 1)) if asked else (0, len(content) - 1)
        part = content[first : last + 1]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", self.server.mark)
        self.end_headers()
        if body:
            self.wfile.write(part)
            self.server.given += len(part)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(scene):
    server = Server(scene)
    yield server
    server.shutdown()
    server.server_close()


def run(name, out, **params):
    wanted = IngestParams(scenes=(str(name),), **params)
    return steps.ingest(wanted, str(out), run=ClusterParams(workers=2), progress=Silent())


def prints(out):
    return open_cube(open_store(str(out)).zarr("cube.zarr")).fingerprint


def test_a_part_of_a_scene_on_a_server_costs_its_ranges(server, scene, tmp_path):
    bounds = (500_600.0, 3_999_000.0, 501_400.0, 3_999_800.0)
    url = f"http://127.0.0.1:{server.server_port}/maps/scene.tif?token=a%2Fb"
    run(url, tmp_path / "there", bounds=bounds)
    assert server.given < scene.stat().st_size / 3
    assert server.paths == {"/maps/scene.tif?token=a%2Fb"}, "no other file is looked for beside it"
    run(scene, tmp_path / "here", bounds=bounds)
    assert prints(tmp_path / "there") == prints(tmp_path / "here")
    assert run(url, tmp_path / "there", bounds=bounds).units_run == 0
    server.mark = '"second"'
    assert run(url, tmp_path / "there", bounds=bounds).units_run == 1


def test_a_scene_and_a_workspace_in_a_bucket(scene, bucket, tmp_path):
    store = open_store(f"s3://{bucket}")
    store.write("scenes/scene.tif", scene.read_bytes())
    name = f"s3://{bucket}/scenes/scene.tif"
    assert run(name, f"s3://{bucket}/ws").units_run == 4
    run(scene, tmp_path / "here")
    assert prints(f"s3://{bucket}/ws") == prints(tmp_path / "here")
    assert run(name, f"s3://{bucket}/ws").units_run == 0
    store.write("scenes/scene.tif", scene.read_bytes() + b"\0")
    assert run(name, f"s3://{bucket}/ws").units_run == 4


@pytest.mark.parametrize("name", ["many/", "many/*.tif", "ma*/?.tif"])
def test_a_folder_and_a_pattern_in_a_bucket(scene, bucket, tmp_path, name):
    store = open_store(f"s3://{bucket}")
    for key in ("many/a.tif", "many/deep/b.tif", "many/a.txt"):
        store.write(key, scene.read_bytes())
    run(f"s3://{bucket}/{name}", tmp_path / "there")
    run(scene, tmp_path / "here")
    assert prints(tmp_path / "there") == prints(tmp_path / "here")
    with pytest.raises(UnusableInput, match="There is no raster"):
        run(f"s3://{bucket}/{name.replace('ma', 'none')}", tmp_path / "nowhere")


@pytest.mark.parametrize("place", ["bucket", "server", "nobody"])
def test_what_is_not_there_is_said(place, request, tmp_path):
    if place == "bucket":
        name = f"s3://{request.getfixturevalue('bucket')}/none.tif"
    elif place == "server":
        name = f"http://127.0.0.1:{request.getfixturevalue('server').server_port}/none.tif"
    else:
        name = "http://127.0.0.1:1/none.tif"
    with pytest.raises(UnusableInput, match=r"none\.tif") as caught:
        run(name, tmp_path / "ws")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ws" / "workspace.json").exists()
