"""All contenders give the same classes where a network needs no context: each pixel's brightest band."""

from importlib import import_module

import numpy as np
import pytest
import torch

from benchmarks import limit
from benchmarks.networks import CLASSES, save_identity, save_unet
from benchmarks.scenes import write_rgb
from models.checkpoint import load_model
from tasks.raster.gdal import rasterio

# The libraries of others warn as they are imported and run.
pytestmark = pytest.mark.filterwarnings("ignore")

SIZE, TILE, MARGIN, RAMP = 320, 64, 4, 8
OVERLAP = 2 * MARGIN + RAMP
NEEDS = {"monai": "monai", "toolbelt": "pytorch_toolbelt", "patchly": "patchly", "loop": "rasterio"}


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(5).integers(0, 256, (3, SIZE, SIZE), np.uint8)


@pytest.fixture(scope="module")
def scene(pixels, tmp_path_factory):
    return write_rgb(tmp_path_factory.mktemp("scene") / "scene.tif", pixels)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_identity(tmp_path_factory.mktemp("models") / "identity", tile=TILE, margin=MARGIN, ramp=RAMP)


@pytest.mark.parametrize("size", [SIZE, 3 * TILE])  # patchly works by chunks, and without
@pytest.mark.parametrize("name", NEEDS)
def test_a_peer_gives_the_brightest_band(name, size, pixels, model, tmp_path):
    pytest.importorskip(NEEDS[name], reason="the extra bench is not installed")
    peer_loops = import_module("benchmarks.peer_loops")
    network, card = load_model(model)
    plan = peer_loops.Plan(TILE, OVERLAP, 2, len(CLASSES), card.mean, card.std)
    part = np.ascontiguousarray(pixels[:, :size, :size])
    out = tmp_path / "classes.tif"
    with torch.inference_mode():
        tiles = peer_loops.LOOPS[name](
            write_rgb(tmp_path / "scene.tif", part), out, lambda batch: network(batch).softmax(dim=1), plan=plan
        )
    assert tiles == len([*range(0, size - TILE, TILE - OVERLAP), 0]) ** 2
    with rasterio.open(out) as made:
        assert made.compression.name == "deflate"
        assert np.array_equal(made.read(1), part.argmax(axis=0))


def test_geoloom_gives_the_brightest_band(scene, pixels, model, tmp_path):
    from benchmarks.mapping import map_scene
    from tasks.params import PredictParams

    params = PredictParams(model=str(model), precision="float32", tile=TILE, margin=MARGIN, ramp=RAMP)
    done = map_scene(scene, tmp_path / "workspace", params)
    assert done.seconds > 0
    with rasterio.open(done.products / "classes.tif") as made:
        assert made.compression.name == "deflate"
        assert np.array_equal(made.read(1), pixels.argmax(axis=0))


def test_the_real_network_tells_classes_apart(tmp_path):
    network, _ = load_model(save_unet(tmp_path / "unet", tile=128, margin=8, ramp=16))
    with torch.inference_mode():
        logits = network(limit.tiles_in_memory(2, tile=128))
    best = logits.softmax(dim=1).amax(dim=1)
    assert best.median() > 0.6
    assert len(logits.argmax(dim=1).unique()) == len(CLASSES)


def test_the_limit_runs_every_form():
    network = torch.nn.Conv2d(3, 3, 1)
    found = limit.fastest(network, limit.tiles_in_memory(4, tile=32))
    assert len(found) == 16
    assert [s for _, s in found] == sorted(s for _, s in found)
    assert len({str(form) for form, _ in found}) == 16
