"""The tile engine from outside: what is said of a workspace, and how a command ends that cannot end well."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import holding
import numpy as np
import psutil
import pytest

from flows import steps
from flows.terminal import command
from infra.progress import Silent
from tasks.params import ClusterParams, IngestParams, PredictParams, RunParams
from tasks.raster.gdal import rasterio

ROOT = Path(__file__).resolve().parents[2]
SIDE = 2048
MEAN = 127
"""What the models below take for the mean."""


def write_scene(path, image):
    profile = {
        "driver": "GTiff", "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint8", "crs": "EPSG:32632",
        "transform": rasterio.Affine(0.5, 0, 450_000, 0, -0.5, 5_400_000), "tiled": True, "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(image)


def write_model(folder, architecture, *, overflowing=False, **about):
    """A network of random weights; so large ones, if asked for, that only pixels of the mean leave numbers finite."""
    import torch

    from models.card import ModelCard
    from models.checkpoint import save_model
    from models.registry import build
    from tasks.raster.classes import DEFAULT_CLASSES

    torch.manual_seed(0)
    classes = DEFAULT_CLASSES
    card = ModelCard(
        architecture=architecture, bands=("b1", "b2", "b3"), mean=(float(MEAN),) * 3, std=(64.0,) * 3,
        classes=classes.names, colours=tuple(c.colour for c in classes.classes), **about,
    )  # fmt: skip
    network = build(architecture, {}, bands=3, classes=len(classes))
    if overflowing:
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.data.mul_(1e18)
    save_model(folder, network, card)
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A scene of 16 tiles of 512 and more, full of data."""
    path = tmp_path_factory.mktemp("noise") / "scene.tif"
    write_scene(path, np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8))
    return path


def ingest(scene, out):
    steps.ingest(IngestParams(scenes=(str(scene),)), str(out), run=ClusterParams(), progress=Silent())
    return out


@pytest.fixture(scope="module")
def cube_only(noise, tmp_path_factory):
    return ingest(noise, tmp_path_factory.mktemp("cube") / "ws")


@pytest.fixture
def ws(cube_only, tmp_path):
    """A workspace with that scene's cube."""
    shutil.copytree(cube_only, tmp_path / "ws")
    return tmp_path / "ws"


@pytest.fixture(scope="module")
def quick_model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("quick"), "tiny", stride=1, tile=512, margin=8, ramp=8)


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory):
    """A network that takes about a second a tile."""
    return write_model(tmp_path_factory.mktemp("slow"), "unet", stride=16, tile=256, margin=32, ramp=16)


def files(folder):
    found = {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()}
    return {name for name in found if not name.startswith("lease/")}


def test_a_plan_is_told_and_nothing_is_written(geoloom, ws, quick_model):
    before = files(ws)
    report, _ = geoloom("predict", ws, "--model", quick_model, "--plan", "--precision", "float32", "--tile", "512")
    assert report["status"] == "done"
    assert report["outputs"] == {}
    assert (report["plan"]["tile"], report["plan"]["margin"], report["plan"]["ramp"]) == (512, 8, 8)
    assert (report["tiles_run"], report["units_run"]) == (0, 0)
    expected = report["estimate"]
    assert expected["tiles"] == expected["tiles_left"] == report["tiles_total"] == 25
    assert expected["blocks"] == report["units_total"] == 4
    assert 0 < expected["memory"] < expected["memory_there"]
    assert 0 < expected["disk"] < expected["disk_there"]
    assert expected["seconds"] > 0
    assert files(ws) == before


def test_the_status_says_what_each_step_has_done(geoloom, ws, quick_model):
    report, _ = geoloom("status", ws)
    none = {"done": 0, "short": 0, "total": None}
    assert report["steps"] == {
        "ingest": {"done": 1, "short": 0, "total": 1}, "label": none, "predict": none, "mosaic": none,
        "vectorize": none,
    }  # fmt: skip
    assert (report["holder"], report["strips"]) == (None, 0)
    params = PredictParams(model=str(quick_model), precision="float32", keep_strips=True)
    steps.predict(params, str(ws), run=RunParams(device="cpu"), progress=Silent())
    report, _ = geoloom("status", ws)
    assert report["steps"]["predict"] == {"done": 4, "short": 0, "total": 4}
    strips = report["strips"]
    assert strips > 0
    report, _ = geoloom("clean", ws)
    assert report["strips"] == strips
    assert geoloom("status", ws)[0]["strips"] == 0


@pytest.mark.parametrize(
    "words", [("status",), ("predict",), ("mosaic",), ("vectorize",), ("clean",), ("label", "--truth", "x.tif")]
)
def test_a_mistyped_workspace_is_refused_and_not_made(geoloom, tmp_path, words):
    name, *options = words
    _, said = geoloom(name, tmp_path / "typo", *options, code=2)
    assert "is not a workspace" in said
    assert not (tmp_path / "typo").exists()


def test_holes_end_a_command_with_three(capsys):
    def body():
        with command("predict", as_json=True, quiet=True, debug=False) as (outcome, _):
            outcome.outputs["probability"] = "ws/probability.zarr"
            outcome.holes([f"tile 0, {n}: lost" for n in range(7)])

    with pytest.raises(SystemExit) as ended:
        body()
    assert ended.value.code == 3
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == "partial"
    assert len(report["lost"]) == 7
    assert report["outputs"] == {"probability": "ws/probability.zarr"}


def test_tiles_that_fail_are_named_and_are_holes_in_the_map(geoloom, tmp_path):
    """A network whose numbers overflow wherever a pixel is not the mean: in one corner of this scene."""
    image = np.full((3, SIDE, SIDE), MEAN, np.uint8)
    image[:, 1300:1310, 600:610] = 200
    write_scene(tmp_path / "scene.tif", image)
    broken = write_model(tmp_path / "broken", "tiny", overflowing=True, stride=1, tile=512, margin=8, ramp=8)
    ws = tmp_path / "ws"
    ingest(tmp_path / "scene.tif", ws)
    report, _ = geoloom("predict", ws, "--model", broken, "--precision", "float32", "--tile", "512", code=3)
    assert report["status"] == "partial"
    assert report["tiles_total"] == 25
    assert len(report["lost"]) == 1
    assert report["lost"][0].startswith("tile 2, 1: ")
    assert "do not sum to 1" in report["lost"][0]
    assert report["outputs"]["probability"] == f"{ws}/probability.zarr"
    state = steps.status(str(ws)).steps["predict"]
    assert (state.done + state.short, state.total) == (4, 4)
    assert state.short > 0

    made = steps.mosaic(str(ws), progress=Silent())  # there is a map, with a hole
    with rasterio.open(made.products["classes"]) as source:
        hole = source.read(1) == 255
    rows, cols = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    assert hole[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].all()
    assert hole[1300:1310, 600:610].all()
    assert hole.mean() < 0.1


@pytest.fixture
def held(ws):
    """The workspace, at which another process is at work; and that process."""
    with holding.held(ws) as process:
        yield ws, process


LOADED = """
import atexit, sys
HEAVY = {"prefect", "torch", "rasterio", "zarr"}
atexit.register(lambda: print("loaded", *HEAVY & set(sys.modules), file=sys.stderr))
from flows.cli import main
sys.argv = ["geoloom", *sys.argv[1:]]
main()
"""


STEPS = ("ingest", "label", "predict", "mosaic", "vectorize")


@pytest.mark.parametrize("name", [*STEPS, "map", "evaluate", "clean", "export"])
def test_who_comes_second_leaves_at_once(held, noise, name):
    ws, process = held
    words = {
        "map": ("map", noise, "--out", ws),
        "ingest": ("ingest", noise, "--out", ws),
        "label": ("label", ws, "--with", "truth", "--truth", noise),
        "export": ("export", ws, "--cog"),
        "evaluate": ("evaluate", ws, "--truth", noise),
    }.get(name, (name, ws))
    before = files(ws)
    began = time.monotonic()
    line = [sys.executable, "-c", LOADED, *map(str, words), "--json"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    assert done.returncode == 4, done.stdout + done.stderr
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report["status"] == "failed"
    assert f"{ws} is in use by 'geoloom predict' (process {process.pid} on " in report["message"]
    assert report["message"] in done.stderr
    assert "loaded\n" in done.stderr, "neither Prefect nor any network is started for that"
    assert seconds < 20
    assert files(ws) == before


def test_who_looks_only_is_told_who_works(held, geoloom):
    ws, process = held
    report, _ = geoloom("status", ws)
    assert f"process {process.pid} " in report["holder"]


@pytest.fixture
def under_way(request, noise, ws, slow_model, tmp_path):
    """A command in the middle of its tiles; killed at the end if it has not ended by then."""
    words, cluster = request.param
    log, home = tmp_path / "tiles", tmp_path / "prefect"
    options = {
        "predict": (ws, "--model", slow_model, "--precision", "float32", "--tile", "256"),
        "map": (noise, "--out", ws, "--model", slow_model, "--predict.precision", "float32", "--predict.tile", "256"),
    }[words]
    end = ("--cluster", cluster, "--workers", "2", "--device", "cpu")
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", words, *map(str, options), *end, "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"GEOLOOM_TILE_LOG": str(log), "PREFECT_HOME": str(home), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and len(log.read_text().splitlines()) >= 3:
                break
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()
        yield ws, process, log
    finally:
        process.kill()
        process.communicate()


STOPS = [
    pytest.param(("predict", "lanes"), signal.SIGTERM, 143, id="lanes, terminated"),
    pytest.param(("predict", "lanes"), signal.SIGINT, 130, id="lanes, interrupted", marks=pytest.mark.slow),
    pytest.param(("predict", "processes"), signal.SIGTERM, 143, id="processes, terminated", marks=pytest.mark.slow),
    pytest.param(("map", "lanes"), signal.SIGTERM, 143, id="map, terminated", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("under_way", "sent", "code"), STOPS, indirect=["under_way"])
def test_a_command_that_is_stopped_ends_soon_and_can_be_gone_on_with(under_way, sent, code):
    ws, process, _ = under_way
    children = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(sent)
    out, said = process.communicate(timeout=120)
    seconds = time.monotonic() - began
    assert process.returncode == code, said
    assert sent == signal.SIGINT or seconds < 25, "who terminates a process kills it soon after"
    assert "Traceback" not in said
    assert "; run the same command again.\n" in said
    assert json.loads(out.strip().splitlines()[-1])["status"] == "interrupted"
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    state = steps.status(str(ws))
    assert state.holder is None
    assert state.steps["ingest"].done == 1
    assert not [p for p in ws.rglob(".part*") if p.is_file()]
