"""Rasters that were written to read other files, ask servers or fill the memory: nobody is asked, nothing is shown."""

import functools
import http.server
import os
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from hostile import (
    FILES,
    SECRET,
    SIDE,
    bomb,
    canary,
    copy_secret,
    entities,
    innocent,
    linked_vrt,
    one_block,
    raw_vrt,
    with_overview,
)

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from tasks.params import ClusterParams, IngestParams
from tasks.raster.cube import open_cube
from tasks.raster.gdal import rasterio
from tasks.raster.places import driver_of
from tasks.raster.upload import Limits, require_upload


def ingested(tmp_path, *names, **options):
    store = open_store(str(tmp_path / "ws"))
    params = IngestParams(scenes=tuple(str(n) for n in names), **options)
    steps.ingest(params, store.url, run=ClusterParams(workers=1), progress=Silent())
    cube = open_cube(store.zarr("cube.zarr"))
    return cube.read((slice(0, cube.grid.shape[0]), slice(0, cube.grid.shape[1])))


@pytest.fixture(scope="module", autouse=True)
def _after_a_warp(tmp_path_factory):
    """Which registers GDAL's VRT driver in the whole process."""
    path = tmp_path_factory.mktemp("warped") / "x.tif"
    innocent(path)
    with rasterio.open(path) as source, rasterio.vrt.WarpedVRT(source, crs="EPSG:4326") as warped:
        warped.read(1)


@pytest.fixture(scope="module")
def listener():
    with canary() as server:
        yield server


@pytest.mark.parametrize("uploaded", [False, True], ids=["own", "upload"])
@pytest.mark.parametrize("case", FILES)
def test_a_file_shows_itself_or_nothing(tmp_path, listener, case, uploaded):
    """Read as it is and coarser, where overviews would be looked for."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = FILES[case](folder, copy_secret(tmp_path), listener.url)
    for options in ({}, {"resolution": 8.0}):
        told, shown = "", {7}
        try:
            image, valid = ingested(
                tmp_path / str(len(options)), path, uploads=str(folder) if uploaded else None, **options
            )
            shown = set(np.unique(image[0, valid]))
        except UnusableInput as error:
            told = str(error)
        assert shown == {7}
        assert "TOPSECRET" not in told
        assert len(told) < 600
    assert listener.hits == []


@pytest.mark.parametrize("case", ["overview-http", "overview-vrt-http", "vrt-http", "overview-none"])
def test_without_our_settings_gdal_does_ask(tmp_path, case):
    """So the test above can fail."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("GDAL_", "CPL_"))}
    with canary() as server:
        path = FILES[case](tmp_path, copy_secret(tmp_path), server.url)
        code = "import rasterio, sys\nwith rasterio.open(sys.argv[1]) as s: s.read(1, out_shape=(16, 16))\n"
        subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False, env=bare)
        assert server.hits


class Files(http.server.SimpleHTTPRequestHandler):
    """A folder on a server."""

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("case", ["mrf", "overview-raster", "vrt-raw", "overview-raw"])
def test_a_raster_on_a_server_shows_nothing_of_this_machine(tmp_path, listener, case):
    folder = tmp_path / "served"
    folder.mkdir()
    secret = copy_secret(tmp_path)
    if case == "overview-raster":
        rasterio.shutil.copy(innocent(tmp_path / "other.tif"), tmp_path / "secret.tif", driver="GTiff")
        with_overview(folder / "x.tif", str(tmp_path / "secret.tif"))
    else:
        FILES[case](folder, secret, listener.url)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(
            UnusableInput, match=r"names another file as its overviews|is not a raster that GDAL can open"
        ):
            ingested(tmp_path, f"http://127.0.0.1:{server.server_address[1]}/x.tif", resolution=8.0)
    finally:
        server.shutdown()
        server.server_close()


def test_an_uploads_overviews_are_not_another_raster(tmp_path):
    """An overview that is a raster elsewhere: a file of one's own may have one, an upload does not."""
    with rasterio.open(
        tmp_path / "other.tif", "w", driver="GTiff", count=1, height=SIDE, width=SIDE, dtype="uint8"
    ) as target:
        target.write(np.full((1, SIDE, SIDE), 99, np.uint8))
    folder = tmp_path / "in"
    folder.mkdir()
    path = innocent(folder / "x.tif")
    with rasterio.open(path, "r+") as target:
        target.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(tmp_path / "other.tif"))
    image, valid = ingested(tmp_path, path, uploads=str(folder), resolution=8.0)
    assert set(np.unique(image[0, valid])) == {7}


@pytest.mark.parametrize(
    "name",
    [
        "/vsicurl/{url}",
        "/vsizip//vsicurl/{url}",
        "/vsimem/x.tif",
        "/vsis3/bucket/x.tif",
        "ftp://127.0.0.1/x.tif",
        "file:///etc/hostname",
        "GTIFF_DIR:1:{url}",
        "WMS:{url}",
        "vrt://{url}",
        "{vrt}",
        "{raw}",
    ],
)
def test_a_name_is_a_file_or_an_address(tmp_path, listener, name):
    name = name.format(url=listener.url, vrt=linked_vrt(f"/vsicurl/{listener.url}"), raw=raw_vrt(copy_secret(tmp_path)))
    with pytest.raises(UnusableInput):
        ingested(tmp_path, name)
    with pytest.raises(UnusableInput):
        ingested(tmp_path, name, uploads=str(tmp_path))
    assert listener.hits == []


def test_a_small_file_that_claims_much_is_refused_by_disk_or_by_limits(tmp_path):
    path = bomb(tmp_path / "x.tif")
    assert path.stat().st_size < 4e6
    before, begun = psutil.Process().memory_info().rss, time.perf_counter()
    with pytest.raises(UnusableInput, match=r"has 40,000,000,000 pixels, more than 4,000,000,000"):
        require_upload(str(path), tmp_path)
    with pytest.raises(UnusableInput, match=r"claims 120,000,000,000 bytes of pixels in a file of"):
        require_upload(str(path), tmp_path, Limits(pixels=10**12))
    assert psutil.Process().memory_info().rss - before < 200e6
    assert time.perf_counter() - begun < 60


def test_a_file_in_one_piece_is_not_decoded(tmp_path):
    path = one_block(tmp_path / "x.tif", side=16_384)
    with pytest.raises(UnusableInput, match=r"is stored in pieces of 768 MB, more than 256"):
        require_upload(str(path), tmp_path)
    with pytest.raises(UnusableInput, match=r"is stored in pieces of 1\.2 GB"):
        ingested(tmp_path, one_block(tmp_path / "y.tif", side=20_480))


def test_uploads_lie_in_their_folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    innocent(tmp_path / "outside.tif")
    (folder / "link.tif").symlink_to(tmp_path / "outside.tif")
    inside = innocent(folder / "inside.tif")
    for name in ("../outside.tif", "link.tif", "none.tif", ".", "a\0b.tif"):
        with pytest.raises(UnusableInput, match=r"is not a file in the folder of uploads|is no file"):
            require_upload(f"{folder}/{name}", folder)
    assert require_upload(str(inside), folder) == str(inside)
    image, _ = ingested(tmp_path, inside, uploads=str(folder))
    assert set(np.unique(image)) == {7}


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"GIF89a", entities().encode(), b"II*\0" + b"\xff" * 400, SECRET])
def test_an_upload_is_what_its_first_bytes_say(tmp_path, content):
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match=r"'x\.tif' (is not a GeoTIFF|cannot be opened as GTiff)"):
        require_upload(str(path), tmp_path)


@pytest.mark.parametrize(
    ("driver", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("JP2OpenJPEG", "jp2"), ("COG", "tif")]
)
def test_the_formats_that_are_taken(tmp_path, driver, suffix):
    innocent(tmp_path / "plain.tif")
    path = tmp_path / f"x.{suffix}"
    rasterio.shutil.copy(tmp_path / "plain.tif", path, driver=driver)
    assert driver_of(path) == {"COG": "GTiff"}.get(driver, driver)
    image, _ = ingested(tmp_path, path, uploads=str(tmp_path))
    assert abs(int(image.mean()) - 7) <= 1
