"""Batch queues and Kubernetes: the scripts they are given, and a whole run through a queue that runs them at once."""

import gc
import os
import sys
import time
from pathlib import Path

import dask
import psutil
import pytest

from infra.cluster import QUEUES, Job, open_cluster
from infra.dask_queues import CLASSES, certificates, queue_options, queued_workers
from infra.errors import UnusableInput
from infra.settings import settings


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Settings whose cache is in a folder of this test, and a site's configuration of Slurm."""
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")  # it loads its own defaults first
    monkeypatch.setenv("GEOLOOM_CACHE_DIR", str(tmp_path / "cache"))
    settings.cache_clear()
    with dask.config.set({"jobqueue.slurm.cores": 2, "jobqueue.slurm.processes": 1, "jobqueue.slurm.memory": "1 GiB"}):
        yield tmp_path
    settings.cache_clear()


def refused(kind, **options):
    with pytest.raises(UnusableInput) as caught, open_cluster(kind, **options):
        pytest.fail("it opened")
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "library", "extra"),
    [
        ("slurm", "dask-jobqueue", "hpc"),
        ("oar", "dask-jobqueue", "hpc"),
        ("kubernetes", "dask-kubernetes", "kubernetes"),
    ],
)
def test_a_library_that_is_not_installed_is_told(monkeypatch, kind, library, extra):
    for name in ("dask_jobqueue", "dask_kubernetes", "dask_kubernetes.operator"):
        monkeypatch.setitem(sys.modules, name, None)
    assert refused(kind, workers=1) == f"--cluster {kind} needs {library}; install geoloom[{extra}]."


def test_every_queue_is_known_to_the_library():
    library = pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    assert set(CLASSES) == set(QUEUES)
    assert all(hasattr(library, name) for name in CLASSES.values())


def test_a_queue_must_be_told_how_many_and_what_a_job_gets(home):
    assert refused("slurm") == "--cluster slurm needs --workers N: how many worker processes to ask for."
    with dask.config.set({"jobqueue.slurm.cores": None}):
        told = refused("slurm", workers=2)
    assert told.startswith("--cluster slurm needs jobqueue.slurm.cores, what one job gets")


def test_the_job_script_speaks_tls_with_keys_that_only_this_user_can_read(home):
    import dask_jobqueue as library

    with certificates("slurm") as pair, library.SLURMCluster(**queue_options("slurm", pair)) as cluster:
        script = cluster.job_script()
        assert cluster.scheduler_address.startswith("tls://")
        assert f"{sys.executable} -m distributed.cli.dask_worker tls://" in script
        assert "--nthreads 2 --memory-limit 1.00GiB" in script
        words = script.split()
        for option in ("--tls-ca-file", "--tls-cert", "--tls-key"):
            path = words[words.index(option) + 1]
            assert path.startswith(str(home / "cache" / "tls"))
            assert Path(path).parent.stat().st_mode & 0o077 == 0
        assert cluster.scheduler.http_server.address == "127.0.0.1"
    assert list((home / "cache" / "tls").iterdir()) == []


def test_the_job_script_shows_the_sites_own_certificates(home, certificate):
    import dask_jobqueue as library

    paths = certificate()
    parts = {
        f"{role}.{part}": str(paths[part]) for role in ("scheduler", "worker", "client") for part in ("cert", "key")
    }
    site = {f"distributed.comm.tls.{name}": value for name, value in parts.items()}
    with (
        dask.config.set(site | {"distributed.comm.tls.ca-file": str(paths["ca-file"])}),
        certificates("slurm") as pair,
        library.SLURMCluster(**queue_options("slurm", pair)) as cluster,
    ):
        assert f"--tls-key {paths['key']}" in cluster.job_script()
        assert cluster.scheduler_address.startswith("tls://")


SBATCH = """#!/bin/sh
cp "$1" "{home}/job-$$.sh"
setsid sh "{home}/job-$$.sh" > "{home}/job-$$.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -9 -- "-$1"
"""


@pytest.fixture
def queue(home, monkeypatch):
    """A queue with room: `sbatch` keeps the script, which is gone when it returns, and runs it; `scancel` kills it."""
    commands = home / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(text.format(home=home))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(commands), os.environ["PATH"]]))


@pytest.mark.usefixtures("queue")
def test_a_run_through_a_queue():
    with open_cluster("slurm", workers=2, patience=120) as cluster:
        assert (cluster.workers, cluster.lanes) == (4, 2)
        assert cluster.memory <= 2**30
        told = []
        cluster.run([Job(f"{n}", divmod, (n, 7)) for n in range(20)], done=lambda _, r: told.append(r))
        assert sorted(told) == [divmod(n, 7) for n in range(20)]
        workers = [psutil.Process(pid) for pid in cluster.everywhere(os.getpid)]
        assert workers
    assert psutil.wait_procs(workers, timeout=30)[1] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its half-made cluster is not closed
def test_kubernetes_out_of_reach_is_told(tmp_path, monkeypatch):
    pytest.importorskip("dask_kubernetes.operator", reason="dask-kubernetes is not installed")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    begun = time.monotonic()
    assert refused("kubernetes", workers=2).startswith("--cluster kubernetes could not be opened (")
    assert time.monotonic() - begun < 60
    gc.collect()


def test_kubernetes_is_asked_for_these_workers(monkeypatch):
    operator = pytest.importorskip("dask_kubernetes.operator", reason="dask-kubernetes is not installed")
    asked = operator.make_cluster_spec(name="geoloom", image="site/geoloom", n_workers=3)
    assert asked["spec"]["worker"]["replicas"] == 3
    with pytest.raises(UnusableInput, match="needs --workers N"), queued_workers("kubernetes", None):
        pytest.fail("it opened")
