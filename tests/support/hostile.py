"""Rasters that try to make GDAL read another file or ask a server: each is written by one function."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tasks.raster.gdal import rasterio

SIDE = 256
SECRET = (b"TOPSECRET-" * (SIDE * SIDE))[: SIDE * SIDE]


class Canary(http.server.ThreadingHTTPServer):
    """Counts who asks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Listener)
        self.hits: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/canary.tif"


class _Listener(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.hits.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)

    do_HEAD = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def canary() -> Iterator[Canary]:
    """A server that nobody should ask."""
    server = Canary()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def raw_vrt(secret: Path) -> str:
    """A VRT that shows a file's bytes as pixels."""
    return (
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><VRTRasterBand dataType="Byte" band="1" '
        f'subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="0">{secret}</SourceFilename>'
        f"<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>{SIDE}</LineOffset></VRTRasterBand>"
        "</VRTDataset>"
    )


def linked_vrt(address: str) -> str:
    """A VRT whose pixels another raster has, here or on a server."""
    return (
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{address}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )


def wms(address: str) -> str:
    """A description of a map service."""
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}?${{z}}/${{x}}/${{y}}</ServerUrl></Service><DataWindow>'
        "<UpperLeftX>0</UpperLeftX><UpperLeftY>1</UpperLeftY><LowerRightX>1</LowerRightX><LowerRightY>0</LowerRightY>"
        "<TileLevel>0</TileLevel><TileCountX>1</TileCountX><TileCountY>1</TileCountY></DataWindow>"
        "<Projection>EPSG:4326</Projection><BandsCount>1</BandsCount></GDAL_WMS>"
    )


def mrf(secret: Path) -> str:
    """A description of a raster whose pixels another file has."""
    index = secret.with_name("x.idx")
    index.write_bytes((0).to_bytes(8, "big") + (SIDE * SIDE).to_bytes(8, "big"))
    return (
        f'<MRF_META><Raster><Size x="{SIDE}" y="{SIDE}" c="1"/><PageSize x="{SIDE}" y="{SIDE}" c="1"/>'
        f"<Compression>NONE</Compression><DataFile>{secret}</DataFile><IndexFile>{index}</IndexFile></Raster></MRF_META>"
    )


def innocent(path: Path, *, side: int = 2 * SIDE) -> Path:
    """A raster like any other: all 7."""
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=side, width=side, dtype="uint8", crs="EPSG:32636", tiled=True,
        transform=rasterio.Affine(1, 0, 500_000, 0, -1, 4_000_000),
    ) as target:  # fmt: skip
        target.write(np.full((1, side, side), 7, np.uint8))
    return path


def with_overview(path: Path, where: str) -> Path:
    """A raster whose own tag names where its overviews are."""
    innocent(path)
    with rasterio.open(path, "r+") as target:
        target.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=where)
    return path


def beside(path: Path, suffix: str, text: str) -> Path:
    """A raster with a sidecar."""
    innocent(path)
    path.with_name(path.name + suffix).write_text(text)
    return path


def pam(where: str) -> str:
    """A sidecar that names where overviews are."""
    return (
        '<PAMDataset><Metadata domain="OVERVIEWS">'
        f'<MDI key="OVERVIEW_FILE">{where.replace("<", "&lt;").replace(">", "&gt;")}</MDI></Metadata></PAMDataset>'
    )


def entities() -> str:
    """A billion laughs."""
    more = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "ha">{more}]><VRTDataset>&l9;</VRTDataset>'


def bomb(path: Path, *, side: int = 200_000) -> Path:
    """A file of a few MB that claims 112 GB."""
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=side, width=side, dtype="uint8", tiled=True, SPARSE_OK="TRUE",
        blockxsize=512, blockysize=512, compress="deflate", BIGTIFF="YES",
    ):  # fmt: skip
        pass
    return path


def one_block(path: Path, *, side: int) -> Path:
    """A small file that is one piece."""
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=side, width=side, dtype="uint8", SPARSE_OK="TRUE",
        tiled=True, blockxsize=side, blockysize=side, compress="deflate",
    ):  # fmt: skip
        pass
    return path


Writer = Callable[[Path, Path, str], Path]
"""Writes a file in a folder, given a secret file and a server's address."""

FILES: dict[str, Writer] = {
    "vrt-raw": lambda d, s, _: _text(d / "x.tif", raw_vrt(s)),
    "vrt-http": lambda d, _, u: _text(d / "x.tif", linked_vrt(f"/vsicurl/{u}")),
    "vrt-named-vrt": lambda d, _, u: _text(d / "x.vrt", linked_vrt(f"/vsicurl/{u}")),
    "wms": lambda d, _, u: _text(d / "x.tif", wms(u)),
    "entities": lambda d, _s, _u: _text(d / "x.tif", entities()),
    "overview-raw": lambda d, s, _: with_overview(d / "x.tif", raw_vrt(s)),
    "overview-vrt-http": lambda d, _, u: with_overview(d / "x.tif", linked_vrt(f"/vsicurl/{u}")),
    "overview-http": lambda d, _, u: with_overview(d / "x.tif", f"/vsicurl/{u}"),
    "overview-wms": lambda d, _, u: with_overview(d / "x.tif", wms(u)),
    "overview-none": lambda d, _, u: with_overview(d / "x.tif", f"/vsicurl/{u}{{none}}"),
    "overview-streaming": lambda d, _, u: with_overview(d / "x.tif", f"/vsicurl_streaming/{u}{{none}}"),
    "mrf": lambda d, s, _: _text(d / "x.tif", mrf(s)),
    "ovr-vrt": lambda d, s, _: beside(d / "x.tif", ".ovr", raw_vrt(s)),
    "ovr-http": lambda d, _, u: beside(d / "x.tif", ".ovr", linked_vrt(f"/vsicurl/{u}")),
    "msk-http": lambda d, _, u: beside(d / "x.tif", ".msk", linked_vrt(f"/vsicurl/{u}")),
    "aux-http": lambda d, _, u: beside(d / "x.tif", ".aux.xml", pam(f"/vsicurl/{u}")),
    "aux-vrt": lambda d, s, _: beside(d / "x.tif", ".aux.xml", pam(raw_vrt(s))),
    "aux-entities": lambda d, _s, _u: beside(d / "x.tif", ".aux.xml", entities()),
}


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def copy_secret(folder: Path) -> Path:
    """A file that no raster should show."""
    path = folder / "secret.bin"
    path.write_bytes(SECRET)
    return path
