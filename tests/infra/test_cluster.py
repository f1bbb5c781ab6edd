"""Lanes and processes run the same tasks to the same results."""

import os
import socket
import threading
import time

import pytest
from dask import delayed

from infra.cluster import Lanes, cores, open_cluster
from infra.errors import UnusableInput


@pytest.fixture(params=["lanes", "processes"])
def cluster(request):
    with open_cluster(request.param, workers=2) as found:
        assert found.workers == 2
        yield found


def after(number, folder, *earlier):
    """Write down that a task ran, and what had run before it."""
    time.sleep(0.01 * (5 - number % 5))
    (folder / f"{number}-{os.getpid()}-{threading.get_ident()}").touch()
    return number, sorted({int(p.name.split("-")[0]) for p in folder.iterdir()} & set(earlier))


def chain(folder, count=12):
    """Task n waits for n - 3 and n - 1, as blocks wait for those above and left of them."""
    jobs = []
    for number in range(count):
        before = [n for n in (number - 3, number - 1) if n >= 0]
        ready = delayed(lambda *results: len(results), pure=False)(*(jobs[n] for n in before))
        jobs.append(delayed(run_after, pure=False)(ready, number, folder, before))
    return jobs


def run_after(_, number, folder, before):
    return after(number, folder, *before)


def fail(number):
    if number == 3:
        raise ZeroDivisionError("tile 3")
    return number


# A cluster's processes cannot import this file, so what runs there travels by value.
@pytest.fixture(autouse=True, scope="module")
def by_value():
    import sys

    import cloudpickle

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def test_every_kind_keeps_its_promises(cluster, tmp_path):
    # Results come in the order of the jobs, each task ran once, after those it depends on.
    ticks = []
    results = cluster.run(chain(tmp_path), done=lambda: ticks.append(threading.get_ident()))
    assert [number for number, _ in results] == list(range(12))
    assert [seen for _, seen in results] == [[n for n in (i - 3, i - 1) if n >= 0] for i in range(12)]
    assert sorted(int(p.name.split("-")[0]) for p in tmp_path.iterdir()) == list(range(12))
    assert len(ticks) == 12

    assert cluster.run([], done=lambda: ticks.append(0)) == []
    assert len(ticks) == 12

    # A task's error comes out as it is, and the cluster is of use afterwards.
    with pytest.raises(ZeroDivisionError, match="tile 3"):
        cluster.run([delayed(fail, pure=False)(n) for n in range(6)], done=lambda: None)
    assert cluster.run([delayed(fail, pure=False)(7)], done=lambda: None) == [7]


def test_lanes_run_side_by_side_and_no_more_than_there_are():
    running, most, lock = 0, 0, threading.Lock()
    meeting = threading.Barrier(2, timeout=10)

    def work(number):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if number < 2:
            meeting.wait()  # only passes where two run at once
        time.sleep(0.005)
        with lock:
            running -= 1

    Lanes(2).run([delayed(work, pure=False)(n) for n in range(10)], done=lambda: None)
    assert most == 2


def test_an_error_in_the_callback_is_not_lost():
    def done():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Lanes(1).run([delayed(fail, pure=False)(0)], done=done)


def test_by_default_there_is_a_worker_a_core():
    with open_cluster() as cluster:
        assert cluster.workers == cores()
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:8786", "tcp://scheduler:8786", "tcp://0.0.0.0:8786", "tcp://[::]:1"]
)
def test_a_plain_address_of_another_machine_is_refused(address):
    with pytest.raises(UnusableInput, match="anyone who reaches a plain tcp:// scheduler"), open_cluster(address):
        pytest.fail("it opened")


@pytest.mark.parametrize("kind", ["", "threads", "http://localhost:8786"])
def test_another_kind_is_refused(kind):
    with pytest.raises(UnusableInput, match="expected lanes, processes, or the address"), open_cluster(kind):
        pytest.fail("it opened")


def test_no_scheduler_at_the_address_is_told(monkeypatch):
    import distributed

    real = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: real(address, timeout=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(UnusableInput, match=f"No Dask scheduler answers at tcp://127.0.0.1:{port}"),
        open_cluster(f"tcp://127.0.0.1:{port}"),
    ):
        pytest.fail("it opened")


def test_a_running_scheduler_is_used():
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp"
        ) as local,
        open_cluster(local.scheduler_address) as cluster,
    ):
        assert cluster.workers == 2
        assert cluster.run([delayed(fail, pure=False)(n) for n in (4, 5)], done=lambda: None) == [4, 5]
