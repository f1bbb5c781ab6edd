"""What tests let clusters run: workers import it, as they import the steps."""

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from infra.stopping import check


def after(number, folder, before):
    """Write down that a job ran, and what had run before it."""
    time.sleep(0.01 * (5 - number % 5))
    seen = sorted({int(p.name) for p in folder.iterdir()} & set(before))
    (folder / str(number)).touch(exist_ok=False)
    return number, seen


class Pixels:
    """A result that would be seen if it stayed."""


def give(_):
    return Pixels()


def hoard(megabytes):
    """Take memory and keep it."""
    KEPT.append(bytearray(megabytes * 10**6))


KEPT = []


def count_tasks(dask_scheduler):
    return len(dask_scheduler.tasks)


def fail_at(number, bad, folder):
    (folder / f"{number}").touch()
    if number == bad:
        raise ZeroDivisionError("tile 3")
    return number


def tiles(folder, number, seconds=120):
    """A long job that asks between tiles whether it is still wanted, and can be seen while it is at work."""
    seen = Path(folder) / f"at-work-{number}"
    seen.touch()
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            check()
            time.sleep(0.02)
    finally:
        seen.unlink()


def die_once(number, folder):
    """The first time that job 4 runs, its process is gone in the middle of it."""
    if number == 4:
        with suppress(FileExistsError):
            (folder / "died").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return number


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hold_the_lock(folder, number):
    """A library that never lets Python's other threads run, for a while."""
    (Path(folder) / f"at-work-{number}").touch()
    ctypes.PyDLL(None).sleep(20)


def count_at_once(folder, number):
    """How many jobs of this kind were at work in this process while this one was, and the process."""
    seen = folder / f"{os.getpid()}-{number}"
    seen.touch()
    most = 0
    for _ in range(10):
        time.sleep(0.02)
        most = max(most, len(list(folder.glob(f"{os.getpid()}-*"))))
    seen.unlink()
    return os.getpid(), most


def see_gpus(_number):
    """Which GPUs this process may use."""
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]
