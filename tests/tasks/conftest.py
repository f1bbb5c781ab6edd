"""Workspaces to predict in: a scene of several blocks, with holes, and what a first run makes of it."""

import hashlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dask_machines import certificate, dask_processes, showing  # noqa: F401 - fixtures


def write_scene(path, image, valid, *, west=450_000):
    """A GeoTIFF of (band, y, x) uint8 whose invalid pixels are nodata 0."""
    from affine import Affine

    from tasks.raster.gdal import rasterio

    profile = {
        "driver": "GTiff", "count": len(image), "height": image.shape[1], "width": image.shape[2], "dtype": "uint8",
        "crs": "EPSG:32632", "transform": Affine(0.5, 0, west, 0, -0.5, 5_400_000), "nodata": 0, "tiled": True,
        "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.where(valid, np.maximum(image, 1), 0).astype(np.uint8))


def soft_noise(shape, seed):
    """Blobs, so that a network's classes are regions and not dust."""
    rng = np.random.default_rng(seed)
    small = rng.integers(1, 255, (3, shape[0] // 16 + 2, shape[1] // 16 + 2), dtype=np.uint8)
    large = small.repeat(16, axis=1).repeat(16, axis=2)[:, : shape[0], : shape[1]]
    return (large // 2 + rng.integers(0, 120, (3, *shape), dtype=np.uint8)).astype(np.uint8)


def ingest(scene, folder, **options):
    from flows import steps
    from infra.progress import Silent
    from tasks.params import ClusterParams, IngestParams

    steps.ingest(IngestParams(scenes=(str(scene),)), str(folder), run=ClusterParams(**options), progress=Silent())
    return str(folder)


@pytest.fixture(scope="session")
def before_sam(tmp_path_factory):
    """Makes a (3, y, x) uint8 picture, 0 = no data, a workspace without CRS; skips where SAM's weights are not."""
    from infra.errors import UnusableInput
    from infra.progress import Silent
    from tasks.fetch_model import fetch_model
    from tasks.raster.gdal import rasterio

    try:
        fetch_model("sam-vit-t", progress=Silent())
    except UnusableInput as error:
        pytest.skip(f"SAM's weights cannot be had here: {error}")

    def made(picture):
        folder = tmp_path_factory.mktemp("seen")
        height, width = picture.shape[1:]
        profile = {"driver": "GTiff", "width": width, "height": height, "count": 3, "nodata": 0}
        with rasterio.open(folder / "scene.tif", "w", dtype="uint8", **profile) as target:
            target.write(picture)
        return ingest(folder / "scene.tif", folder / "ws")

    return made


def predict(workspace, model, *, cluster="lanes", workers=2, **params):
    from flows import steps
    from infra.progress import Silent
    from tasks.params import PredictParams, RunParams

    chosen = {"model": str(model), "precision": "float32", "tile": 256} | params
    run = RunParams(cluster=cluster, workers=workers, device="cpu")
    return steps.predict(PredictParams(**chosen), workspace, run=run, progress=Silent())


def bits(workspace):
    """What must never depend on workers, order or crashes: the stored prediction, decoded."""
    from infra.store import open_store
    from tasks.raster.probability import open_probability

    array = open_probability(open_store(workspace).zarr("probability.zarr"))
    return hashlib.sha256(np.asarray(array[:]).tobytes()).hexdigest()


def products(workspace):
    """The bytes of both GeoTIFFs."""
    from flows import steps
    from infra.progress import Silent

    made = steps.mosaic(workspace, progress=Silent()).products
    return {name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in made.items()}


DYING = """
import os, signal
from flows import steps
from infra.progress import Silent
from tasks.label_params import *
from tasks.params import *

class Dying(Silent):
    left = {units}

    def start(self, name, **_):
        return self

    def advance(self, amount=1.0):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

{call}
"""


def die(call, units):
    """A step in a process of its own, `steps...(progress=Dying())`, killed as soon as so many units are done."""
    code = DYING.format(units=units, call=call)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr


ROOT = Path(__file__).resolve().parents[2]
SHAPE = (2500, 2300)


@pytest.fixture(scope="session")
def pixels():
    """Image (3, y, x) and valid (y, x) of a scene of 3 x 3 blocks with a hole over a corner where blocks meet."""
    valid = np.ones(SHAPE, bool)
    valid[900:1300, 800:1200] = False
    valid[:64] = False
    return soft_noise(SHAPE, 1), valid


@pytest.fixture(scope="session")
def scene(pixels, tmp_path_factory):
    """The scene as a GeoTIFF."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    write_scene(path, *pixels)
    return path


@pytest.fixture(scope="session")
def engine():
    """Steps and looks at their results, as plain calls."""
    return SimpleNamespace(
        ingest=ingest, predict=predict, bits=bits, products=products, write_scene=write_scene, die=die
    )


def copied(workspace, folder, *without):
    """A copy of a workspace that may be spoilt."""
    shutil.copytree(workspace, folder, ignore=lambda place, _: [n for n in without if Path(place) == Path(workspace)])
    return str(folder)


@pytest.fixture(scope="session")
def cube_only(scene, tmp_path_factory):
    """A workspace with the scene's cube, to be looked at."""
    return ingest(scene, tmp_path_factory.mktemp("cube") / "ws")


@pytest.fixture
def ingested(cube_only, tmp_path):
    """A workspace with the scene's cube."""
    return copied(cube_only, tmp_path / "ws", "lease")


@pytest.fixture(scope="session")
def golden(scene, tiny_model, tmp_path_factory):
    """One lane, undisturbed: bits, products, and how many tiles that took."""
    workspace = ingest(scene, tmp_path_factory.mktemp("golden") / "ws", workers=1)
    done = predict(workspace, tiny_model, workers=1)
    return {"bits": bits(workspace), "products": products(workspace), "tiles": done.tiles_run, "workspace": workspace}


@pytest.fixture
def predicted(golden, tmp_path):
    """A workspace in which all is predicted and nothing mosaicked."""
    workspace = copied(golden["workspace"], tmp_path / "ws", "lease", "products")
    shutil.rmtree(Path(workspace) / "ledger" / "mosaic")
    return workspace
