"""Real rasters and the maps made of them, as GDAL's own gdalinfo tells both: size, CRS, place, and how much is data.

    python -m benchmarks.georeference [FILE...]

Without files: every raster of the sample data (GEOLOOM_DATA_DIR) that can be read. Needs gdalinfo (apt-get install
gdal-bin).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.networks import save_tiny
from benchmarks.page import Goal, Result, parser, publish
from benchmarks.scenes import fresh

FOLDERS = ("rasters", "spacenet")
REFUSED = ("corrupt.tif",)
"""Of them, what no map can be made of."""


def main() -> None:
    """Map every file, ask gdalinfo, tell."""
    words = parser("georeference", __doc__)
    words.add_argument("files", nargs="*", type=Path)
    options = words.parse_args()
    if shutil.which("gdalinfo") is None:
        sys.exit("gdalinfo is not installed; apt-get install gdal-bin.")
    files = options.files or _sample()
    rows, equal = [], 0
    for path in files:
        found = _mapped(path, fresh(options.out / "workspaces" / "georeference"))
        rows.append((f"{path.parent.name}/{path.name}", *found[:-1]))
        wanted = "refused" if path.name in REFUSED else "yes"
        equal += int(found[-1] == wanted)
        print(rows[-1], found[-1], flush=True)
    fresh(options.out / "workspaces" / "georeference")
    publish(
        Result(
            "georeference",
            "Where maps lie",
            "Real rasters, and `classes.tif` of a map of each, by gdalinfo. A cell that has one value holds for both; "
            "where scene and map differ it says so. Valid is the share of pixels that are data.",
            ("scene", "pixels", "CRS", "origin or control points", "pixel size", "valid: scene", "valid: map"),
            tuple(rows),
            {"rows": rows},
            goals=(Goal("scenes whose map lies where they lie; of the corrupt one, none", equal, at_least=len(files)),),
        ),
        options,
    )


def _sample() -> list[Path]:
    from infra.settings import settings

    data = settings().data_dir
    if not data.is_dir():
        sys.exit("There is no sample data; give files, or set GEOLOOM_DATA_DIR.")
    return [path for folder in FOLDERS for path in sorted((data / folder).glob("*.tif"))]


def _mapped(path: Path, workspace: Path) -> list[str]:
    from flows import steps
    from infra.errors import GeoloomError
    from infra.progress import Silent
    from tasks.params import ClusterParams, IngestParams, MosaicParams, PredictParams, RunParams

    try:
        done = steps.ingest(IngestParams(scenes=(str(path),)), str(workspace), run=ClusterParams(), progress=Silent())
    except GeoloomError as error:
        return ["", "", "", "", "", f"refused: {str(error).removeprefix(f'{path} ')}", "refused"]
    model = save_tiny(fresh(workspace.with_name("georeference-model")), tile=256, bands=done.bands)
    steps.predict(
        PredictParams(model=(str(model),), precision="float32"),
        str(workspace),
        run=RunParams(device="cpu"),
        progress=Silent(),
    )
    steps.mosaic(str(workspace), MosaicParams(products=("classes",)), progress=Silent())
    scene, product = _info(path), _info(workspace / "products" / "classes.tif")
    facts = [_facts(scene), _facts(product)]
    shares = [_valid(path), _valid(workspace / "products" / "classes.tif")]
    same = facts[0] == facts[1] and shares[0] == shares[1]
    told = [one if one == other else f"{one}; map {other}" for one, other in zip(*facts, strict=True)]
    return [*told, *(f"{share:.4f}" for share in shares), "yes" if same else "no"]


def _info(path: Path) -> dict[str, Any]:
    done = subprocess.run(["gdalinfo", "-json", str(path)], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _facts(info: dict[str, Any]) -> list[str]:
    """Size, CRS, origin and pixel size as text."""
    points = info.get("gcps", {}).get("gcpList", [])
    system = info.get("coordinateSystem") or info.get("gcps", {}).get("coordinateSystem") or {}
    wkt = system.get("wkt", "")
    name = wkt.split('"')[1] if '"' in wkt else "none"
    size = " x ".join(str(n) for n in info["size"])
    place = info.get("geoTransform")
    if points:
        return [size, name, f"{len(points)} control points", ""]
    if place is None:
        return [size, name, "none", ""]
    turned = f", turned {place[2]:.6g}, {place[4]:.6g}" if place[2] or place[4] else ""
    return [size, name, f"{place[0]:.9g}, {place[3]:.9g}", f"{place[1]:.9g}, {place[5]:.9g}{turned}"]


def _valid(path: Path) -> float:
    """The share of a scene's pixels that are data, by its mask, alpha or nodata value as plain rasterio tells it."""
    from tasks.raster.gdal import rasterio

    with rasterio.open(path) as source:
        if source.colorinterp[0].name != "palette" and source.nodata is not None:
            colours = [i for i, c in zip(source.indexes, source.colorinterp, strict=True) if c.name != "alpha"]
            return float((source.read(colours) != source.nodata).any(axis=0).mean())
        return float((source.dataset_mask() > 0).mean())


if __name__ == "__main__":
    main()
