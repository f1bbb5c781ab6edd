"""Processes that do one thing together: the first tells, and where one fails or their parent is killed, all end."""

import importlib
import multiprocessing
import os
import subprocess
import sys
import time

import psutil
import pytest

from infra.crew import work_together
from infra.errors import GeoloomError, UnusableInput
from infra.progress import Silent

JOBS = """
import os, signal, socket, time
from infra.errors import UnusableInput
from infra.progress import counting

def tell(number, port, progress, words):
    progress.note(f"{words} of {number}")
    with counting(progress, "work", total=3, unit="steps") as bar:
        for _ in range(3):
            bar.advance()
        bar.say("done")
    return {"number": number, "port": port > 0} if number == 0 else None

def refuse(number, port, progress):
    if number == 1:
        raise UnusableInput("The second cannot.")
    time.sleep(600)

class Odd(Exception):
    def __reduce__(self):
        raise TypeError("it cannot travel")

def odd(number, port, progress):
    raise Odd("strange")

def die(number, port, progress):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)

def wait(number, port, progress, folder):
    open(f"{folder}/{os.getpid()}", "w").close()
    time.sleep(600)
"""


class Heard(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.texts = []

    def start(self, name, *, total, unit):
        self.texts.append((name, total, unit))
        return self

    def advance(self, amount=1.0):
        self.texts.append(amount)

    def say(self, text):
        self.texts.append(text)

    def finish(self, task):
        assert task is self
        self.texts.append("finished")

    def note(self, text):
        self.texts.append(text)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    (tmp_path / "crew_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("crew_jobs")
    sys.modules.pop("crew_jobs")
    assert not multiprocessing.active_children()


def test_the_first_tells_and_returns(jobs):
    heard = Heard()
    assert work_together(jobs.tell, ("word",), members=3, progress=heard) == {"number": 0, "port": True}
    assert heard.texts == ["word of 0", ("work", 3, "steps"), 1.0, 1.0, 1.0, "done", "finished"]


def test_where_one_cannot_all_end(jobs):
    began = time.monotonic()
    with pytest.raises(UnusableInput, match="The second cannot"):
        work_together(jobs.refuse, (), members=2, progress=Silent())
    assert time.monotonic() - began < 60


def test_an_error_that_cannot_travel_is_told_in_words(jobs):
    with pytest.raises(GeoloomError, match="Odd: strange"):
        work_together(jobs.odd, (), members=1, progress=Silent())


def test_where_one_is_killed_all_end(jobs):
    with pytest.raises(GeoloomError, match=r"ended \(exit code -9\)"):
        work_together(jobs.die, (), members=2, progress=Silent())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux's")
def test_a_killed_parent_takes_all_with_it(jobs, tmp_path):
    (tmp_path / "out").mkdir()
    code = (
        "import sys; from infra.crew import work_together; from infra.progress import Silent; import crew_jobs\n"
        f"if __name__ == '__main__': work_together(crew_jobs.wait, ({str(tmp_path / 'out')!r},), members=2, "
        "progress=Silent())"
    )
    (tmp_path / "main.py").write_text(code)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], env=_with_path())
    end = time.monotonic() + 60
    while len(list((tmp_path / "out").iterdir())) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    members = [psutil.Process(int(path.name)) for path in (tmp_path / "out").iterdir()]
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(members, timeout=10)
    assert not alive


def _with_path():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
