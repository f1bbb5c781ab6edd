"""What a cluster does when its scheduler, its workers or its flow is not what it should be, or is gone."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from cluster_jobs import count_at_once, give, hoard, see_gpus, tiles

from infra import stopping
from infra.cluster import Job, open_cluster
from infra.errors import GeoloomError, UnusableInput

HERE = Path(__file__).parent
ONE = ("--nworkers", "1", "--nthreads", "1")


def no_matter(*_):
    """A callback for those who want none."""


def refused(kind, **options):
    """What a user is told where a cluster does not open."""
    with pytest.raises(UnusableInput) as caught, open_cluster(kind, **options):
        pytest.fail("it opened")
    return str(caught.value)


def until(true, seconds=60):
    """Wait for something; False where it never was so."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_workers_whose_memory_is_full_are_not_waited_for(dask_processes):
    """Dask pauses a worker at 85 % of its limit, and where nothing under way frees any it never goes on."""
    with dask_processes() as processes:
        _, address = processes.scheduler("127.0.0.1")
        processes.workers(address, *ONE, "--memory-limit", "600 MB")
        with open_cluster(address, patience=30) as cluster:
            jobs = [Job("hoard", hoard, (440,)), *(Job(f"{n}", tiles, (processes.folder, n, 0)) for n in range(9))]
            with pytest.raises(GeoloomError, match=r"full.*--memory-limit"):
                cluster.run(jobs, done=no_matter)


def profiled():
    """In a worker: how many stacks Dask has kept."""
    from distributed import get_worker

    time.sleep(2.5)  # it keeps one a second
    return len(get_worker().profile_history)


def test_workers_keep_no_profiles():
    """They would grow for as long as a run lasts."""
    told = []
    with open_cluster("processes", workers=1) as cluster:
        cluster.run([Job("look", profiled)], done=lambda _, kept: told.append(kept))
    assert told == [0]


def test_a_worker_that_is_killed_as_it_starts_is_started_again():
    killed = []

    def kill_the_first():
        def workers():
            found = psutil.Process().children(recursive=True)
            return [p for p in found if p.is_running() and "spawn_main" in " ".join(p.cmdline())]

        for process in until(workers)[:1]:
            process.kill()
            killed.append(process.pid)

    thread = threading.Thread(target=kill_the_first)
    thread.start()
    told = []
    with open_cluster("processes", workers=2) as cluster:
        thread.join()
        cluster.run([Job(f"{n}", give, (n,)) for n in range(8)], done=lambda _, result: told.append(result))
    assert killed
    assert len(told) == 8


# The flow dies.


@pytest.fixture
def flow(tmp_path):
    """Starts flow.py in a process group of its own: the process, and its workers as soon as all jobs are at work."""
    started = []

    def start(call):
        command = [sys.executable, str(HERE / "flow.py"), call, str(tmp_path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[2])])}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        workers = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert len(workers) == 2, process.stderr.read()
        assert until(lambda: len(list(tmp_path.glob("at-work-*"))) >= 2)
        return process, workers, psutil.Process(process.pid).children(recursive=True)

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_workers_die_with_a_flow_that_is_killed(flow):
    """Even where none of a worker's own threads can notice."""
    process, workers, everyone = flow("hold")
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    assert psutil.wait_procs(everyone, timeout=30)[1] == []


@pytest.mark.slow
def test_an_interrupt_of_the_whole_group_ends_all_and_the_workers_say_nothing(flow, tmp_path):
    process, _, everyone = flow("tiles")
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - begun < 30
    assert process.returncode in {1, 130, -signal.SIGINT}
    assert errors.strip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1, errors
    assert psutil.wait_procs(everyone, timeout=30)[1] == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_another_thread_is_stopped_by_name_or_all_at_once(tmp_path):
    """Where the interrupted thread is not the one that runs."""
    ended = []

    def run(cluster, folder):
        folder.mkdir()
        try:
            cluster.run([Job(f"{n}", tiles, (folder, n)) for n in range(9)], done=no_matter)
        except BaseException as error:  # noqa: BLE001
            ended.append(type(error))

    with open_cluster(workers=1) as lanes, open_cluster("processes", workers=1) as processes:
        threads = [
            threading.Thread(target=run, args=(cluster, tmp_path / f"{n}"))
            for n, cluster in enumerate([lanes, processes])
        ]
        for thread in threads:
            thread.start()
        assert until(lambda: all(list((tmp_path / f"{n}").glob("*")) for n in range(2)))
        stopping.stop()
        for thread in threads:
            thread.join(60)
    assert ended == [stopping.Stopped] * 2
    assert list(tmp_path.glob("*/*")) == []
    stopping.check()  # this thread works for none of them


# The scheduler, or its workers, are not there, or go.


def test_no_scheduler_at_the_address_is_told():
    assert "No Dask scheduler answers at tcp://127.0.0.1:9" in refused("tcp://127.0.0.1:9", patience=1)


def test_a_cluster_without_workers_and_then_with_and_then_without_its_scheduler(dask_processes):
    with dask_processes() as processes:
        scheduler, address = processes.scheduler("127.0.0.1")
        assert f"No worker of --cluster {address} came within 1 s" in refused(address, patience=0.6)

        first = processes.workers(address, *ONE, "--no-nanny")
        with open_cluster(address, patience=120) as cluster:
            assert cluster.workers == cluster.lanes == 1
        assert "has the resource GPU; start them with 'dask worker --resources GPU=1'" in refused(
            address, device="cuda"
        )

        # All workers go in the middle, and none comes back.
        with (
            open_cluster(address, patience=2) as cluster,
            pytest.raises(GeoloomError, match=r"No worker of the Dask scheduler at tcp://.* for \d s"),
        ):
            cluster.run((Job(f"{n}", give, (n,)) for n in range(10**6)), done=lambda *_: first.kill())

        # Another comes, and takes part in a run that has begun.
        processes.workers(address, *ONE, "--no-nanny")
        told = []
        with open_cluster(address, patience=120) as cluster:
            cluster.run([Job("a", give, (0,))], done=lambda *_: told.append("a"))

            begun = []

            def done(*_):
                if not begun:
                    begun.append(time.monotonic())
                    scheduler.kill()

            with pytest.raises(GeoloomError, match=r"scheduler at tcp://.* is gone; start it again"):
                cluster.run((Job(f"{n}", give, (n,)) for n in range(10**6)), done=done)
            assert time.monotonic() - begun[0] < 30
        assert time.monotonic() - begun[0] < 60
        assert told == ["a"]


def test_workers_at_most_are_under_way_on_a_scheduler_that_others_use(dask_processes, tmp_path):
    with dask_processes() as processes:
        _, address = processes.scheduler("127.0.0.1")
        processes.workers(address, "--nworkers", "1", "--nthreads", "4")
        with open_cluster(address, workers=2) as cluster:
            assert (cluster.workers, cluster.lanes) == (2, 4)
            told = []
            jobs = [Job(f"{n}", count_at_once, (tmp_path, n)) for n in range(8)]
            cluster.run(jobs, done=lambda _, r: told.append(r[1]))
            assert max(told) == 2

        with open_cluster(address, device="auto") as cluster:
            assert cluster.workers == 4, "no GPU is there, so that all take jobs"

        # A GPU worker takes two jobs, for one network at a time; others take none.
        gpu = processes.workers(address, "--nworkers", "1", "--nthreads", "4", "--resources", "GPU=1", "--no-nanny")
        with open_cluster(address) as cluster:
            assert until(lambda: len(cluster.everywhere(os.getpid)) == 2)
        with open_cluster(address, device="auto") as cluster:
            assert cluster.everywhere(os.getpid) == [gpu.pid]
        with open_cluster(address, device="cuda") as cluster:
            assert (cluster.workers, cluster.lanes) == (1, 1)
            assert cluster.everywhere(os.getpid) == [gpu.pid]
            told = []
            jobs = [Job(f"{n}", count_at_once, (tmp_path, n)) for n in range(8)]
            cluster.run(jobs, done=lambda _, r: told.append(r))
            assert {pid for pid, _ in told} == {gpu.pid}
            assert max(most for _, most in told) == 2


def test_a_process_of_its_own_for_each_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-first,GPU-second")
    with open_cluster("cuda", device="cuda") as cluster:
        assert (cluster.workers, cluster.lanes) == (2, 1)
        told = []
        cluster.run([Job(f"{n}", see_gpus, (n,)) for n in range(8)], done=lambda _, r: told.append(r))
    assert len({pid for pid, _ in told}) == len(set(told)) == 2
    assert {gpu for _, gpu in told} == {"GPU-first", "GPU-second"}


def test_gpus_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert refused("cuda", workers=2) == "--cluster cuda wants 2 GPU(s) and this machine shows 1."
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert refused("cuda") == "--cluster cuda wants 1 GPU(s) and this machine shows 0."
    assert "give --cluster cuda" in refused("processes", device="cuda")


# Their installation is another.


@pytest.mark.parametrize("preload", ["fake_version", "no_geoloom"])
def test_a_scheduler_with_another_installation_is_refused(dask_processes, preload):
    from importlib.metadata import version

    with dask_processes() as processes:
        _, address = processes.scheduler("127.0.0.1", "--preload", str(HERE / f"{preload}.py"))
        told = refused(address)
    if preload == "fake_version":
        assert told.startswith(f"The Dask scheduler has geoloom 0.0.9 and this process has {version('geoloom')}")
    else:
        assert told.startswith("The Dask scheduler has no geoloom like this one")


def test_a_worker_with_another_installation_is_refused(dask_processes):
    with dask_processes() as processes:
        _, address = processes.scheduler("127.0.0.1")
        wrong = processes.workers(address, *ONE, "--no-nanny", "--preload", str(HERE / "fake_version.py"))
        assert refused(address).startswith("The Dask worker tcp://127.0.0.1:")
        assert "has geoloom 0.0.9 and this process has" in refused(address)
        wrong.kill()
        wrong.wait()
        processes.workers(address, *ONE, "--no-nanny", "--preload", str(HERE / "no_geoloom.py"))
        assert "has no geoloom like this one" in refused(address)


# Certificates.


def test_certificates_that_do_not_fit_are_told(dask_processes, certificate, showing, tmp_path):
    ours, theirs = certificate(), certificate()
    with dask_processes(theirs) as processes:
        _, address = processes.scheduler("127.0.0.1")
        assert "Dask finds no certificate to show (there is none); set ca-file" in refused(address)
        with showing(ours | {"key": tmp_path / "none.pem"}):
            assert "certificate to show ([Errno 2] No such file or directory)" in refused(address)
        with showing(ours):
            assert "do not accept each other's certificates" in refused(address, patience=5)
        with showing(ours | {"ca-file": theirs["ca-file"]}):  # here theirs would do, there ours does not
            assert "do not accept each other's certificates" in refused(address, patience=5)
        assert "No Dask scheduler answers at tcp://" in refused(address.replace("tls", "tcp"), patience=2)
        with showing(theirs):
            assert "No worker of --cluster tls://" in refused(address, patience=0.5)


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl here")
def test_the_recipe_of_the_docs(dask_processes, tmp_path, monkeypatch):
    page = (HERE.parents[2] / "docs" / "clusters.md").read_text()
    commands = [line for line in page.splitlines() if line.startswith("    openssl ")]
    assert len(commands) == 3
    for command in commands:
        subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    text = page.split("```yaml\n")[1].split("```")[0].replace("/home/me/tls", str(tmp_path))
    (tmp_path / "tls.yaml").write_text(text)
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "tls.yaml"))
    code = (
        "import sys; from infra.cluster import *\n"
        "with open_cluster(sys.argv[1]) as c: c.run([Job('a', pow, (2, 5))], done=lambda _, r: print(r))"
    )
    with dask_processes() as processes:
        _, address = processes.scheduler("127.0.0.1", "--protocol", "tls")
        assert address.startswith("tls://")
        processes.workers(address, *ONE)
        told = subprocess.run(
            [sys.executable, "-c", code, address], cwd=HERE.parents[2], capture_output=True, text=True, check=True
        )
    assert told.stdout.split() == ["32"]
