"""How threads are kept to themselves."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
import torch
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from models.machine import as_a_lane, one_thread_for_numpy


def most():
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


@pytest.fixture
def two_threads():
    """Of BLAS; the limit is left to other threads to change."""
    with threadpool_limits(2, user_api="blas"):
        if most() < 2:
            pytest.skip("this machine's BLAS has one thread")
        for pool in ThreadpoolController().lib_controllers:
            if hasattr(pool, "clear_controlling_thread"):
                pool.clear_controlling_thread(force=True)
        yield


@pytest.mark.usefixtures("two_threads")
def test_lanes_that_overlap_keep_to_one_thread_and_give_it_back():
    """The first comes and goes while the second is at work."""
    both, left = Event(), Event()

    def first():
        with one_thread_for_numpy():
            assert both.wait(10)
        left.set()

    def second():
        with one_thread_for_numpy():
            both.set()
            assert left.wait(10)
            return most()

    with ThreadPoolExecutor(2) as pool:
        going = pool.submit(first)
        assert pool.submit(second).result() == 1
        going.result()
    assert most() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_thread_that_computed_as_a_lane_goes_on_as_before():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with as_a_lane("cpu"):
            assert (torch.get_num_threads(), most()) == (1, 1)
        assert (torch.get_num_threads(), most()) == (2, 2)
    finally:
        torch.set_num_threads(before)


def test_numbers_below_1e_38_are_numbers_again_after_a_lane():
    small = np.float32([1e-40])
    with as_a_lane("cpu"):
        assert small * 0.5 == 0
    assert small * 0.5 > 0
