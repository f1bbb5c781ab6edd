"""What the products cost beyond GDAL's own work: `mosaic` against copying the same pixels with the COG driver.

python -m benchmarks.cogs [--size 8192] [--runs 3]
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import answer, asked, measure_in_child
from benchmarks.mapping import map_scene
from benchmarks.networks import save_tiny
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.scenes import fresh, rgb_scene
from flows import steps
from infra.progress import Silent
from tasks.params import MosaicParams, PredictParams
from tasks.raster.gdal import rasterio

PRODUCTS = {"classes": "MODE", "probability": "AVERAGE"}
"""How each product's overviews are made."""


def main() -> None:
    """Write the products and copy their pixels in turn, tell."""
    document = asked()
    if document is not None:
        answer({"mosaic": _mosaic, "copy": _copy}[document["what"]](document))
        return
    words = parser("cogs", __doc__)
    words.add_argument("--size", type=int, default=8192)
    words.add_argument("--runs", type=int, default=3)
    options = words.parse_args()
    model = save_tiny(options.out / "models" / "tiny")
    workspace = options.out / "workspaces" / "cogs"
    scene = rgb_scene(options.out, options.size)
    params = PredictParams(model=(str(model),), precision="float32")
    products = map_scene(scene, workspace, params, products=tuple(PRODUCTS)).products
    sources = {name: _tiled(products / f"{name}.tif") for name in PRODUCTS}
    found: dict[str, list[dict[str, float]]] = {"mosaic": [], "copy": []}
    for _ in range(options.runs):
        for what, runs in found.items():
            runs.append(measure_in_child("benchmarks.cogs", {"what": what, "workspace": str(workspace)}))
    for name, source in sources.items():
        if not _same(source, products / f"{name}.tif"):
            sys.exit(f"{name}.tif changed while it was written again.")
    sizes = {name: (products / f"{name}.tif").stat().st_size / 1e6 for name in PRODUCTS}
    fresh(workspace)
    publish(_result(options.size, options.runs, found, sizes), options)


def _mosaic(document: dict[str, Any]) -> dict[str, float]:
    import tasks.mosaic  # noqa: F401 - imports are not what is measured

    workspace = Path(document["workspace"])
    for name in PRODUCTS:
        (workspace / "products" / f"{name}.tif").unlink()
    begun = time.perf_counter()
    steps.mosaic(str(workspace), MosaicParams(products=tuple(PRODUCTS)), progress=Silent())
    return {"seconds": time.perf_counter() - begun}


def _copy(document: dict[str, Any]) -> dict[str, float]:
    products = Path(document["workspace"]) / "products"
    found = {}
    for name, overviews in PRODUCTS.items():
        with rasterio.open(products / f"{name}.tif") as made:
            compress = made.compression.name.upper()
            predictor = made.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", "1")
        target = products / f"{name}.copy.tif"
        begun = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            rasterio.shutil.copy(
                _place(products / f"{name}.tif"),
                target,
                driver="COG",
                blocksize="512",
                compress=compress,
                predictor="NO" if predictor == "1" else "YES",
                bigtiff="IF_SAFER",
                overview_resampling=overviews,
            )
        found[name] = time.perf_counter() - begun
        target.unlink()
    return found | {"seconds": sum(found.values())}


def _place(product: Path) -> Path:
    return product.with_name(f"{product.stem}.tiled.tif")


def _tiled(product: Path) -> Path:
    """The same pixels as a plain tiled GeoTIFF, which is what a COG is copied from."""
    with rasterio.open(product) as source:
        profile = source.profile | {
            "driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "ZSTD",
            "zstd_level": 1, "interleave": "band", "bigtiff": "IF_SAFER",
        }  # fmt: skip
        with rasterio.open(_place(product), "w", **profile) as target:
            for _, window in source.block_windows(1):
                target.write(source.read(window=window), window=window)
    return _place(product)


def _same(one: Path, other: Path) -> bool:
    with rasterio.open(one) as a, rasterio.open(other) as b:
        return all(np.array_equal(a.read(window=w), b.read(window=w)) for _, w in a.block_windows(1))


def _result(size: int, runs: int, found: dict[str, list[dict[str, float]]], megabytes: dict[str, float]) -> Result:
    seconds = {what: median(r["seconds"] for r in times) for what, times in found.items()}
    parts = {name: median(r[name] for r in found["copy"]) for name in PRODUCTS}
    rows = [
        ("`geoloom mosaic`, both products", number(seconds["mosaic"])),
        ("COG driver, both", number(seconds["copy"])),
        *((f"COG driver, {name}.tif ({number(megabytes[name])} MB)", number(parts[name])) for name in PRODUCTS),
    ]
    return Result(
        "cogs",
        "Cloud-optimized GeoTIFFs",
        f"Classes and three planes of probability of {size} x {size} pixels, from the stored prediction to both "
        "products, beside GDAL copying the same pixels from tiled GeoTIFFs to cloud-optimized ones with the same "
        f"options. Median of {runs} runs, in turn, each in a fresh process with imports done.",
        ("", "seconds"),
        tuple(rows),
        {"size": size, "seconds": seconds, "copies": parts, "megabytes": megabytes, "runs": found},
        (Goal("mosaic / COG driver alone", seconds["mosaic"] / seconds["copy"], "x", at_most=1.3),),
    )


if __name__ == "__main__":
    main()
