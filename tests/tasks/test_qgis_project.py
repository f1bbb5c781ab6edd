"""map.qgs opens in QGIS as it is, and paints each thing where it is in its colour (apt-get install python3-qgis)."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from predictions import put_prediction

from flows import steps
from infra.progress import Silent
from tasks.params import ClusterParams, MosaicParams, VectorizeParams
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.gdal import rasterio

RENDER = Path(__file__).parents[1] / "support" / "qgis_render.py"
ROWS, COLUMNS = 300, 400
COLOURS = {one.name: np.array(one.colour) for one in DEFAULT_CLASSES.classes}
PLACES = {
    "nowhere": {},
    "metres": {"crs": "EPSG:32636", "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)},
    "degrees": {"crs": "EPSG:4326", "transform": rasterio.Affine(4e-6, 0, -115.1, 0, -4e-6, 36.2)},
    "world file": {"transform": rasterio.Affine(0.5, 0, 100, 0, -0.5, 900)},
}


def labels():
    """A building in the upper left, a road down the right, water along the bottom, other everywhere else."""
    found = np.zeros((ROWS, COLUMNS), np.uint8)
    found[30:100, 40:140] = DEFAULT_CLASSES.id("building")
    found[:250, 300:316] = DEFAULT_CLASSES.id("road")
    found[260:, :] = DEFAULT_CLASSES.id("water")
    return found


@pytest.fixture(params=PLACES)
def mapped(request, tmp_path, engine):
    """A workspace with all products of a map whose pixels are known, and its scene as a GeoTIFF."""
    pixels = np.full((3, ROWS, COLUMNS), 90, np.uint8)
    pixels[:, 0, :2] = 0, 255
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        count=3,
        height=ROWS,
        width=COLUMNS,
        dtype="uint8",
        **PLACES[request.param],
    ) as target:
        target.write(pixels)
    workspace = engine.ingest(tmp_path / "a.tif", tmp_path / "ws")
    numbers = np.arange(len(DEFAULT_CLASSES))[:, None, None]
    put_prediction(workspace, np.where(numbers == labels(), 254 - 4 * (len(numbers) - 1), 4).astype(np.uint8))
    steps.mosaic(workspace, MosaicParams(products=("classes", "probability", "uncertainty")), progress=Silent())
    steps.vectorize(VectorizeParams(), workspace, run=ClusterParams(), progress=Silent())
    return Path(workspace), request.param


def painted(workspace, png, *only):
    """What QGIS says of a project, and what it paints, (y, x, 3)."""
    python = "/usr/bin/python3"
    probe = subprocess.run([python, "-c", "import qgis.core"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("QGIS is not installed (apt-get install python3-qgis)")
    words = [
        python,
        str(RENDER),
        str(workspace / "products/map.qgs"),
        str(png),
        str(COLUMNS),
        str(ROWS),
        *only,
    ]
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("GDAL_", "OGR_", "PYTHON"))}
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=bare | {"QT_QPA_PLATFORM": "offscreen"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1]), np.asarray(Image.open(png).convert("RGB")).astype(int)


def near(picture, row, col, colour, *, by=40):
    return np.abs(picture[row, col] - colour).max() <= by


def test_it_lists_what_there_is_by_relative_paths(mapped):
    workspace, place = mapped
    text = (workspace / "products/map.qgs").read_text()
    assert str(workspace) not in text
    root = ET.fromstring(text)
    sources = {node.findtext("layername"): node.findtext("datasource") for node in root.iter("maplayer")}
    assert sources["classes"] == "./classes.tif"
    assert {"buildings", "roads", "roads_nodes", "uncertainty", "probability of water"} <= set(sources)
    files = [source.removeprefix("./").partition("|")[0] for source in sources.values() if source.startswith("./")]
    assert all((workspace / "products" / file).is_file() for file in files)
    assert sources["buildings"].startswith("?layer_ref=" if place == "nowhere" else "./buildings.gpkg")


def test_it_is_not_written_again_where_nothing_changed(mapped):
    path = mapped[0] / "products/map.qgs"
    when = path.stat().st_mtime_ns
    steps.mosaic(str(mapped[0]), MosaicParams(products=("classes",)), progress=Silent())
    assert path.stat().st_mtime_ns == when


def test_qgis_opens_it_and_paints_each_thing_where_it_is(mapped, tmp_path):
    workspace, place = mapped
    steps.export_cog(str(workspace), progress=Silent())
    moved = tmp_path / "elsewhere"
    shutil.move(workspace, moved)
    told, picture = painted(moved, tmp_path / "map.png")
    assert told["opened"]
    assert told["errors"] == []
    assert [layer["name"] for layer in told["layers"] if not layer["valid"]] == []
    assert told["crs"] == PLACES[place].get("crs", "")
    features = {layer["name"]: layer["features"] for layer in told["layers"]}
    assert (features["buildings"], features["roads"]) == (1, 1)
    assert near(picture, 65, 90, COLOURS["building"], by=80)
    assert near(picture, 125, 308, COLOURS["road"])
    blue = picture[280, 200]
    assert blue[2] > blue[0] + 20
    grey = picture[150, 200]
    assert np.ptp(grey) <= 3

    _, picture = painted(moved, tmp_path / "classes.png", "classes")
    white = np.array([255, 255, 255])
    for (row, col), name in {(65, 90): "building", (125, 308): "road", (280, 200): "water"}.items():
        assert np.abs(picture[row, col] - (COLOURS[name] + white) / 2).max() <= 2
    _, picture = painted(moved, tmp_path / "building.png", "probability of building")
    assert near(picture, 65, 90, COLOURS["building"])
    assert near(picture, 150, 200, white, by=12)
    for name in ("buildings", "roads"):
        _, picture = painted(moved, tmp_path / f"{name}.png", name)
        drawn = np.abs(picture - white).max(axis=2) > 60
        want = labels() == DEFAULT_CLASSES.id(name.removesuffix("s"))
        assert (drawn & want).sum() / (drawn | want).sum() > 0.85
