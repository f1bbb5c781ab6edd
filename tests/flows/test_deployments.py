"""Orchestration as users run it: a server, a process worker, every flow deployed, a run asked for, one on schedule."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.gpu_pool import run_on_gpu_pool
from tasks.params import PredictParams

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = {
    "map-scenes/nightly", "map-scenes/cpu", "ingest-scenes/cpu", "label-scene/cpu", "train-model/cpu",
    "train-model/gpu", "predict-scene/cpu", "predict-scene/gpu", "mosaic-scene/cpu", "vectorize-map/cpu",
    "evaluate-map/cpu",
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(420)]


def prefect(*words, env):
    command = [sys.executable, "-m", "prefect", *words]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Prefect server with the two work pools, every flow deployed and a worker of the cpu pool; its environment."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "GEOLOOM_HOME": str(ROOT),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10",
        "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "3",
    }
    started = []

    def start(log, *words, **more):
        with (home / log).open("w") as out:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "prefect", *words],
                    env=env | more,
                    cwd=ROOT,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            )
        return started[-1]

    try:
        start("server.log", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        for _ in range(120):
            try:
                with urllib.request.urlopen(env["PREFECT_API_URL"] + "/health", timeout=1):
                    break
            except OSError:
                time.sleep(1)
        else:
            pytest.fail((home / "server.log").read_text())
        prefect("work-pool", "create", "cpu", "--type", "process", env=env)
        prefect("work-pool", "create", "gpu", "--type", "process", env=env)
        prefect("work-pool", "set-concurrency-limit", "gpu", "1", env=env)
        prefect("--no-prompt", "deploy", "--all", env=env)
        start("worker.log", "worker", "start", "--pool", "cpu")
        yield env | {"start": start}
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def call(env, path, document=None, method=None):
    """Ask Prefect's API."""
    request = urllib.request.Request(
        env["PREFECT_API_URL"] + path,
        data=None if document is None else json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
        method=method or ("GET" if document is None else "POST"),
    )
    for _ in range(20):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            # The server answers so while its SQLite file is locked; Prefect's own client asks again too.
            if error.code != 503:
                pytest.fail(f"{path}: {error.code} {error.read().decode()}")
            time.sleep(1)
    pytest.fail(f"the server is unavailable: {path}")


def parameters(out, world, model):
    return {
        "out": str(out),
        "ingest": {"scenes": [world.scene]},
        "predict": {"model": [str(model)]},
        "evaluate": {"truth": world.truth},
    }


def wait(env, run_id):
    for _ in range(180):
        run = call(env, f"/flow_runs/{run_id}")
        if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            return run
        time.sleep(1)
    pytest.fail(f"the run is still {run['state_name']}")


def check(env, run, out):
    """The products are in the workspace; progress, table, image and links are in Prefect."""
    logs = call(env, "/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
    assert run["state_type"] == "COMPLETED", "\n".join(entry["message"] for entry in logs)
    names = {p.name for p in (out / "products").iterdir()}
    vectors = {name for name in names if name.startswith(("buildings.", "roads.", "roads_nodes."))}
    assert {"buildings.gpkg", "buildings.parquet", "roads.gpkg", "roads.parquet"} <= vectors
    assert names - vectors == {
        "classes.qml",
        "classes.tif",
        "classes.tif.aux.xml",
        "item.json",
        "map.qgs",
        "probability.tif",
        "evaluation.html",
        "scores.json",
        "preview.png",
    }
    found = call(env, "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    kinds = [a["type"] for a in found]
    assert kinds.count("progress") == 1
    assert kinds.count("table") == 1
    assert kinds.count("image") == 1
    assert kinds.count("markdown") == 2 + len(vectors)  # a link to each product
    progress = next(a for a in found if a["type"] == "progress")
    assert float(progress["data"]) == 100.0
    table = json.loads(next(a for a in found if a["type"] == "table")["data"])
    assert {row["class"] for row in table} >= {"building", "road", "mean"}
    tasks = call(env, "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert len(tasks) <= 10


def test_every_flow_is_deployed(server):
    flows = {f["id"]: f["name"] for f in call(server, "/flows/filter", {})}
    found = {f"{flows[d['flow_id']]}/{d['name']}": d for d in call(server, "/deployments/filter", {})}
    assert set(found) == DEPLOYMENTS
    nightly = found["map-scenes/nightly"]["schedules"]
    assert [s["schedule"]["cron"] for s in nightly] == ["0 2 * * *"]
    schema = found["map-scenes/cpu"]["parameter_openapi_schema"]
    ingest = schema["definitions"]["IngestParams"]["properties"]
    assert ingest["scenes"]["description"]
    assert schema["properties"]["out"]["description"].startswith("The workspace; on a path or in a bucket")


def test_a_run_that_was_asked_for(server, world, tiny_model, tmp_path):
    out = tmp_path / "asked"
    deployment = call(server, "/deployments/name/map-scenes/cpu")
    run = call(
        server, f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters(out, world, tiny_model)}
    )
    check(server, wait(server, run["id"]), out)


def test_a_run_on_schedule(server, world, tiny_model, tmp_path):
    """The nightly deployment, its schedule brought forward: the server's own scheduler makes the run."""
    out = tmp_path / "scheduled"
    deployment = call(server, "/deployments/name/map-scenes/nightly")
    place = f"/deployments/{deployment['id']}"
    call(server, place, {"parameters": parameters(out, world, tiny_model)}, method="PATCH")
    soon = {"schedule": {"interval": timedelta(seconds=20).total_seconds()}, "active": True}
    made = call(server, f"{place}/schedules", [soon])
    try:
        for _ in range(120):
            runs = call(server, "/flow_runs/filter", {"deployments": {"id": {"any_": [deployment["id"]]}}})
            started = [r for r in runs if r["state_type"] in {"RUNNING", "COMPLETED", "FAILED", "CRASHED"}]
            if started:
                break
            time.sleep(1)
        else:
            pytest.fail("no scheduled run was made")
    finally:
        call(server, f"{place}/schedules/{made[0]['id']}", method="DELETE")
    assert started[0]["auto_scheduled"]
    check(server, wait(server, started[0]["id"]), out)


def _ready(env, pool):
    for _ in range(60):
        if call(env, f"/work_pools/{pool}")["status"] == "READY":
            return
        time.sleep(1)
    pytest.fail(f"no worker of {pool} is online")


def test_a_run_that_no_worker_begins_is_taken_back(server, world, tmp_path):
    """The worker stands still, as on a machine that was switched off, before it looks for work again."""
    worker = server["start"]("still.log", "worker", "start", "--pool", "gpu", PREFECT_WORKER_HEARTBEAT_SECONDS="2")
    _ready(server, "gpu")
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"]}):
            assert not run_on_gpu_pool("predict-scene", {"out": str(tmp_path), "params": PredictParams()})
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
    assert _runs(server, "predict-scene/gpu") == [("CANCELLED", "gpu")]


def test_training_and_inference_go_to_the_gpu_pool_where_a_worker_of_it_is_online(server, world, tmp_path):
    """By a recipe's file, whose options are those of the training there; what fails there fails here as what it is."""
    server["start"]("gpu-worker.log", "worker", "start", "--pool", "gpu")
    _ready(server, "gpu")
    out, recipe = tmp_path / "split", tmp_path / "recipe.toml"
    recipe.write_text(
        'architecture = "tiny"\nstart = "random"\nsteps = 3\nbatch = 2\nchip = 64\ntile = 128\n[loss]\ndice = 0.25\n'
    )
    asked = parameters(out, world, "trained here") | {
        "label": {"with": ["truth"], "truth": world.truth}, "train": {"recipe": str(recipe)},
    }  # fmt: skip
    deployment = call(server, "/deployments/name/map-scenes/cpu")
    start = f"/deployments/{deployment['id']}/create_flow_run"
    check(server, wait(server, call(server, start, {"parameters": asked})["id"]), out)
    learnt = json.loads((out / "model" / "model.json").read_text())["lineage"]["recipe"]
    assert (learnt["architecture"], learnt["steps"], learnt["loss"]["dice"]) == ("tiny", 3, 0.25)
    assert _runs(server, "train-model/gpu") == [("COMPLETED", "gpu")]
    assert _runs(server, "predict-scene/gpu").count(("COMPLETED", "gpu")) == 1

    asked = parameters(tmp_path / "failed", world, tmp_path / "none")
    failed = wait(server, call(server, start, {"parameters": asked})["id"])
    assert failed["state_type"] == "FAILED"
    assert "UnusableInput: predict-scene failed on the work pool 'gpu' (flow run " in failed["state"]["message"]
    assert f"There is no model '{tmp_path / 'none'}'" in failed["state"]["message"]


def _runs(env, deployment):
    """State and pool of every run of a deployment."""
    there = call(env, f"/deployments/name/{deployment}")
    runs = call(env, "/flow_runs/filter", {"deployments": {"id": {"any_": [there["id"]]}}})
    return [(run["state_type"], run["work_pool_name"]) for run in runs]
