"""One suite over every kind of cluster that runs here: lanes, processes, tcp, TLS, and hosts of their own."""

import gc
import os
import signal
import threading
import time
import weakref
from contextlib import contextmanager

import pytest
from cluster_jobs import after, count_tasks, die, die_once, fail_at, give, tiles
from dask_machines import SCHEDULERS

from infra.cluster import Job, cores, open_cluster
from infra.errors import GeoloomError, UnusableInput


@contextmanager
def named(kind):
    yield kind


KINDS = {
    "lanes": lambda *_: named("lanes"),
    "processes": lambda *_: named("processes"),
    **SCHEDULERS,
}
DASK = [kind for kind in KINDS if kind != "lanes"]


@pytest.fixture(scope="module", params=list(KINDS))
def cluster(request, dask_processes, certificate, showing):
    with KINDS[request.param](dask_processes, certificate, showing) as kind:
        workers = 2 if request.param in {"lanes", "processes"} else None
        with open_cluster(kind, workers=workers) as found:
            if request.param not in {"lanes", "processes"}:
                until = time.monotonic() + 20
                while len(found.everywhere(os.getpid)) < 2 and time.monotonic() < until:
                    time.sleep(0.1)
            found.kind = request.param
            yield found


def no_matter(*_):
    """A callback for those who want none."""


def test_jobs_run_once_after_those_they_name_and_are_told_here(cluster, tmp_path):
    before = {n: [b for b in (n - 3, n - 1) if n % 4 and b >= 0] for n in range(24)}
    jobs = (Job(f"{n}", after, (n, tmp_path, before[n]), tuple(map(str, before[n]))) for n in range(24))
    told = []

    def done(job, result):
        assert threading.current_thread() is here
        told.append((job.key, result))

    here = threading.current_thread()
    cluster.run(jobs, done=done)
    assert sorted(told, key=lambda t: int(t[0])) == [(str(n), (n, before[n])) for n in range(24)]
    cluster.run([], done=done)
    assert len(told) == 24


def test_a_cluster_says_what_it_can_take(cluster):
    assert cluster.workers >= 2
    assert cluster.lanes == {"lanes": 2, "processes": 1}.get(cluster.kind, 2)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 10_000_000 < cluster.memory <= total
    if cluster.kind in {"tcp", "tls"}:
        assert cluster.memory == int(2**31 * 0.8)
    if cluster.kind == "processes":
        assert cluster.memory <= total / 2


def test_everywhere_is_once_in_each_process(cluster):
    pids = cluster.everywhere(os.getpid)
    if cluster.kind == "lanes":
        assert pids == [os.getpid()]
    else:
        assert len(set(pids)) == len(pids) == 2
        assert os.getpid() not in pids
    assert cluster.everywhere(divmod, 7, 2) == [(3, 1)] * len(pids)
    with pytest.raises(ZeroDivisionError):
        cluster.everywhere(divmod, 7, 0)


def test_a_long_iterable_is_taken_as_it_goes_and_no_result_stays(cluster):
    taken, ended, ahead, held, kept = 0, 0, [], [], []

    def jobs():
        nonlocal taken
        for n in range(200):
            taken += 1
            yield Job(f"give-{n}", give, (n,))

    def done(_job, result):
        nonlocal ended
        ended += 1
        ahead.append(taken - ended)
        kept.append(weakref.ref(result))
        if ended % 20 == 0 and cluster.kind != "lanes":
            held.append(cluster._client.run_on_scheduler(count_tasks))

    cluster.run(jobs(), done=done)
    assert taken == ended == 200
    room = 4 if cluster.kind == "lanes" else 2 * 4 + 2
    assert 1 < max(ahead) <= room
    # The scheduler is told of a result's end a moment after it is read here.
    assert all(tasks <= 2 * room for tasks in held)
    gc.collect()
    assert [ref() for ref in kept] == [None] * 200
    if cluster.kind != "lanes":
        until = time.monotonic() + 5
        while (left := cluster._client.run_on_scheduler(count_tasks)) and time.monotonic() < until:
            time.sleep(0.05)
        assert left == 0


def test_an_error_starts_no_other_job_and_is_raised_as_it_is(cluster, tmp_path):
    told = []
    with pytest.raises(ZeroDivisionError, match="tile 3"):
        cluster.run((Job(f"{n}", fail_at, (n, 3, tmp_path)) for n in range(500)), done=lambda j, r: told.append(r))
    assert len(list(tmp_path.iterdir())) < 40
    assert len(told) < 40
    assert 3 not in told
    cluster.run([Job("3", fail_at, (7, 3, tmp_path))], done=lambda j, r: told.append((j.key, r)))
    assert told[-1] == ("3", 7)


class Terminated(BaseException):
    """What SIGTERM becomes in a command."""


def terminate(*_):
    raise Terminated


@pytest.fixture
def terminated_when(monkeypatch):
    """Interrupts this thread by a signal as soon as something is true."""
    previous = signal.signal(signal.SIGUSR1, terminate)
    threads = []

    def arm(true):
        def watch():
            until = time.monotonic() + 20
            while not true() and time.monotonic() < until:
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGUSR1)

        threads.append(threading.Thread(target=watch))
        threads[-1].start()

    yield arm
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGUSR1, previous)


def test_an_interrupt_ends_jobs_within_a_tile(cluster, tmp_path, terminated_when):
    terminated_when(lambda: len(list(tmp_path.iterdir())) >= 2)
    begun = time.monotonic()
    with pytest.raises(Terminated):
        cluster.run([Job(f"{n}", tiles, (tmp_path, n)) for n in range(20)], done=no_matter)
    assert time.monotonic() - begun < 30
    assert list(tmp_path.iterdir()) == []  # they had ended when it was raised
    # The next run does not remember.
    cluster.run([Job("0", tiles, (tmp_path, 0, 0.1))], done=no_matter)


def test_an_error_ends_the_jobs_beside_it_within_a_tile(cluster, tmp_path):
    jobs = [Job("long", tiles, (tmp_path, 0)), Job("wrong", fail_at, (3, 3, tmp_path))]
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        cluster.run(jobs, done=no_matter)
    assert time.monotonic() - begun < 30
    assert not list(tmp_path.glob("at-work-*"))


def test_an_error_in_the_callback_is_not_lost(cluster, tmp_path):
    def done(_job, _result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster.run([Job("a", fail_at, (0, 3, tmp_path)), Job("b", tiles, (tmp_path, 0))], done=done)
    assert not list(tmp_path.glob("at-work-*"))


def test_a_job_that_waits_for_none_that_came_is_a_fault(cluster, tmp_path):
    with pytest.raises(KeyError, match="b, which did not come before it"):
        cluster.run([Job("a", fail_at, (0, 3, tmp_path), ("b",)), Job("b", tiles, (tmp_path, 0))], done=no_matter)


def test_a_worker_that_is_killed_costs_its_jobs_a_second_run_and_no_more(cluster, tmp_path):
    if cluster.kind == "lanes":
        pytest.skip("a lane is this process")
    before = set(cluster.everywhere(os.getpid))
    told = []
    cluster.run([Job(f"{n}", die_once, (n, tmp_path)) for n in range(12)], done=lambda j, r: told.append(r))
    assert sorted(told) == list(range(12))
    assert (tmp_path / "died").exists()
    until = time.monotonic() + 60
    while len(now := set(cluster.everywhere(os.getpid))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    assert len(now - before) == 1  # Dask's nanny has started another


def test_a_job_that_kills_every_worker_is_named():
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        open_cluster("processes", workers=1) as cluster,
        pytest.raises(GeoloomError, match=r"died 2 times at job poison, .*most often memory ran out"),
    ):
        cluster.run([Job("poison", die)], done=no_matter)


def test_lanes_run_side_by_side_and_are_one_thread_more_than_networks():
    running, most, lock = 0, 0, threading.Lock()
    meeting = threading.Barrier(3, timeout=60)

    def work(number):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if number < 3:
            meeting.wait()  # only passes where three run at once
        time.sleep(0.005)
        with lock:
            running -= 1

    with open_cluster(workers=2) as lanes:
        lanes.run([Job(f"{n}", work, (n,)) for n in range(12)], done=no_matter)
    assert most == 3


def test_by_default_there_is_a_lane_a_core():
    with open_cluster() as cluster:
        assert cluster.workers == cluster.lanes == cores()
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:8786", "tcp://scheduler:8786", "tcp://0.0.0.0:8786", "tcp://[::]:1"]
)
def test_a_plain_address_of_another_machine_is_refused(address):
    with pytest.raises(UnusableInput, match="anyone who reaches a plain tcp:// scheduler"), open_cluster(address):
        pytest.fail("it opened")


@pytest.mark.parametrize("kind", ["", "threads", "http://localhost:8786"])
def test_another_kind_is_refused(kind):
    with pytest.raises(UnusableInput, match="expected lanes, processes, cuda, kubernetes, slurm"), open_cluster(kind):
        pytest.fail("it opened")
