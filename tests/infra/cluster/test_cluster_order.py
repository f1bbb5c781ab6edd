"""Jobs come out in their order, as soon as those they wait for have ended, and are taken no sooner than needed."""

import random
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cluster import Job
from infra.job_order import JobOrder, feed
from infra.lanes import Lanes


def job(number, after=()):
    return Job(str(number), str, (number,), tuple(str(n) for n in after))


@st.composite
def graphs(draw):
    """For each job, which earlier ones it waits for (some named twice)."""
    size = draw(st.integers(0, 24))
    return [draw(st.lists(st.integers(0, n - 1), max_size=4)) if n else [] for n in range(size)]


@given(graphs(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_earliest_job_that_may_start_is_the_next(graph, dice, room):
    order = JobOrder(job(n, after) for n, after in enumerate(graph))
    waiting, under_way, ended = list(range(len(graph))), [], set()
    while waiting or under_way:
        while len(under_way) < room:
            ready = [n for n in waiting if set(graph[n]) <= ended]
            found = order.next()
            assert (found and int(found.key)) == (ready[0] if ready else None)
            if found is None:
                break
            waiting.remove(int(found.key))
            under_way.append(int(found.key))
        one = under_way.pop(dice.randrange(len(under_way)))
        ended.add(one)
        order.ended(str(one))
    assert order.next() is None


def test_jobs_that_wait_are_taken_up_to_the_window_and_no_further():
    taken = []

    def chain():
        for n in range(100):
            taken.append(n)
            yield job(n, [n - 1] if n else [])

    order = JobOrder(chain(), window=10)
    assert order.next().key == "0"
    assert order.next() is None
    assert len(taken) == 11
    for n in range(100):
        order.ended(str(n))
        found = order.next()
        assert (found and found.key) == (str(n + 1) if n < 99 else None)
        assert len(taken) <= n + 12


def test_what_has_ended_is_forgotten_but_for_its_key():
    order = JobOrder(job(n, [n - 1, n - 2] if n > 1 else []) for n in range(1000))
    for n in range(1000):
        assert order.next().key == str(n)
        order.ended(str(n))
    assert not order._followers
    assert not order._waiting
    assert not order._ready


@pytest.mark.parametrize("after", [["7"], ["1"], ["2"]])
def test_a_job_that_waits_for_none_before_it_is_a_fault(after):
    order = JobOrder([job(0), Job("1", str, (), tuple(after)), job(2)])
    order.next()
    with pytest.raises(KeyError, match=rf"job 1 waits for {after[0]}, which did not come before it"):
        order.next()


def test_a_key_that_comes_twice_is_a_fault_even_after_the_first_has_ended():
    order = JobOrder([job(0), job(0)])
    order.next()
    order.ended("0")
    with pytest.raises(ValueError, match="two jobs have the key 0"):
        order.next()


def test_a_hundred_thousand_jobs_in_rows_cost_little():
    """A wave: each waits for its left, upper and upper left neighbours, row by row."""
    rows, columns = 250, 400
    dice, under_way, told = random.Random(0), [], []

    def jobs():
        for r in range(rows):
            for c in range(columns):
                near = [(r, c - 1), (r - 1, c), (r - 1, c - 1)]
                yield job(r * columns + c, [y * columns + x for y, x in near if y >= 0 and x >= 0])

    def wait():
        one = under_way.pop(dice.randrange(len(under_way)))
        return one, len(under_way) + 1

    begun = time.process_time()
    feed(jobs(), most=lambda: 16, start=under_way.append, wait=wait, done=lambda _, width: told.append(width))
    assert len(told) == rows * columns
    assert time.process_time() - begun < 10
    assert sorted(told)[len(told) // 10] >= 8  # nearly all the time there is work for many


def test_an_error_of_the_iterable_is_raised_when_those_under_way_have_ended():
    ended = threading.Event()

    def slow():
        time.sleep(0.2)
        ended.set()

    def jobs():
        yield Job("slow", slow)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Lanes(1).run(jobs(), done=lambda *_: None)
    assert ended.is_set()


def test_a_cluster_of_lanes_starts_without_dask():
    import subprocess

    code = (
        "import sys; from infra.cluster import open_cluster\nwith open_cluster(): print('distributed' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False"]
