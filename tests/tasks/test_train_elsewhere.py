"""A training on a worker of a cluster is the training, and goes on where a worker died."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import safetensors.numpy
import torch

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from tasks.label_params import LabelParams
from tasks.params import IngestParams, RunParams, TrainParams

CORNER = (450_000, 5_399_808, 450_192, 5_400_000)
RECIPE = {
    "architecture": "tiny", "start": "random", "chip": 64, "batch": 2, "threads": 1, "precision": "float32",
    "validation_share": 0, "keep": "last",
}  # fmt: skip


@pytest.fixture(scope="module")
def labelled(world, tmp_path_factory):
    workspace = str(tmp_path_factory.mktemp("elsewhere") / "ws")
    steps.ingest(IngestParams(scenes=(world.scene,), bounds=CORNER), workspace, run=RunParams(), progress=Silent())
    steps.label(LabelParams(method=("truth",), truth=world.truth), workspace, run=RunParams(), progress=Silent())
    return workspace


@pytest.fixture(scope="module")
def scheduler(dask_processes):
    """A scheduler with one worker, and no GPU."""
    with dask_processes() as processes:
        _, address = processes.scheduler("127.0.0.1")
        worker = processes.workers(address, "--nworkers", "1", "--nthreads", "1")
        yield address, worker


SILENT = Silent()


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def train(workspace, out, run, progress=SILENT, **recipe):
    steps.train(TrainParams(**RECIPE | recipe), [workspace], out, run=run, progress=progress)
    return safetensors.numpy.load_file(out / "weights.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def test_a_worker_makes_the_model_that_this_process_makes(labelled, scheduler, tmp_path):
    recipe = {"steps": 6, "loss": {"lovasz": 1.0}, "weigh_confidence": True}
    here = train(labelled, tmp_path / "here", RunParams(device="cpu"), **recipe)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "training.safetensors").write_bytes(b"of an older training")
    notes = Notes()
    run = RunParams(device="cpu", cluster=scheduler[0])
    there = train(labelled, tmp_path / "there", run, notes, **recipe)
    assert same(here, there)
    assert any("--weigh-confidence has no part in that term" in text for text in notes.texts)
    assert not list((tmp_path / "there").glob("*.job"))


def test_an_older_state_outlives_a_training_that_is_refused(labelled, scheduler, tmp_path):
    state = tmp_path / "training.safetensors"
    state.write_bytes(b"of an older training")
    with pytest.raises(UnusableInput, match="'none' is not known"):
        train(labelled, tmp_path, RunParams(device="cpu", cluster=scheduler[0]), steps=2, architecture="none")
    assert state.read_bytes() == b"of an older training"


@pytest.mark.slow
def test_a_worker_that_dies_is_followed_by_one_that_goes_on(labelled, scheduler, tmp_path):
    address, nanny = scheduler
    out = tmp_path / "out"
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(train, labelled, out, RunParams(device="cpu", cluster=address), steps=600)
        until = time.monotonic() + 120
        while not (out / "training.safetensors").exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert not coming.done()
        busiest = max(psutil.Process(nanny.pid).children(recursive=True), key=lambda p: p.memory_info().rss)
        os.kill(busiest.pid, signal.SIGKILL)
        there = coming.result(timeout=240)
    here = train(labelled, tmp_path / "here", RunParams(device="cpu"), steps=600)
    assert same(here, there)


def test_a_gpu_is_asked_for_where_none_is(labelled, scheduler, tmp_path):
    with pytest.raises(UnusableInput, match="resource GPU"):
        train(labelled, tmp_path / "out", RunParams(device="cuda", cluster=scheduler[0]), steps=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_cluster_of_gpus_is_asked_for_where_none_is(labelled, tmp_path):
    with pytest.raises(UnusableInput, match="--device cpu"):
        train(labelled, tmp_path / "out", RunParams(cluster="cuda"), steps=2)


def test_several_processes_are_refused(labelled, scheduler, tmp_path):
    with pytest.raises(UnusableInput, match="--processes was 2 and a worker"):
        train(labelled, tmp_path / "out", RunParams(device="cpu", cluster=scheduler[0]), steps=2, processes=2)
