"""One run holds a workspace: real processes start at once, are killed, fall silent, wake up late."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from infra import lease as leases
from infra.bucket import Bucket
from infra.errors import UnwritableOutput, WorkspaceBusy
from infra.folder import Folder
from infra.holder import Holder
from infra.lease import Grip, hold, holder
from infra.store import open_store

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import sys, time
from infra import lease
from infra.errors import WorkspaceBusy
from infra.store import open_store
lease.SILENCE_S = float(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    began = time.monotonic()
    try:
        with lease.hold(open_store(line.strip()), command="predict") as held:
            print("holds", held.token, flush=True)
            sys.stdin.readline()
        print("released", flush=True)
    except WorkspaceBusy as error:
        print("busy", time.monotonic() - began, error, flush=True)
"""
"""A run: for each line it holds the workspace named there until the next."""


class Run:
    """A process that holds workspaces."""

    def __init__(self, silence=30.0):
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(silence)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def say(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().split(maxsplit=2)

    def hold(self, url):
        """Hold it, and give the token."""
        self.say(url)
        word, token = self.hear()
        assert word == "holds"
        return token

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def runs():
    """Starts runs; all end with the test."""
    started = []

    def start(count=1, **options):
        new = [Run(**options) for _ in range(count)]
        started.extend(new)
        assert [run.hear() for run in new] == [["ready"]] * count
        return new[0] if count == 1 else new

    yield start
    for run in started:
        run.end()


@pytest.fixture
def short_silence(monkeypatch):
    monkeypatch.setattr(leases, "SILENCE_S", 1.5)


def elsewhere(store, number=1, **changes):
    """A lease of a process on another machine."""
    who = replace(Holder.here("map"), host="other-machine", boot="another-boot", pid=4711, **changes)
    assert store.create(f"lease/{number}.json", who.packed())
    return who


@contextmanager
def beating(store, number=1, *, after=0.0, every=0.3):
    """Somebody keeps a lease alive."""
    done = threading.Event()

    def beat():
        count = 0
        if done.wait(after):
            return
        while not done.wait(every):
            count += 1
            store.write(f"lease/{number}.beat", str(count).encode(), durable=False)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def numbers(store):
    return {int(key.removeprefix("lease/").split(".")[0]) for key in store.keys("lease")}


def beat_of(store, number=1):
    return int(store.read(f"lease/{number}.beat"))


def wait_for(what, seconds=30.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_of_two_that_start_at_once_one_wins(place, runs):
    one, other = runs(2)
    for turn in range(20):
        url = f"{place}/{turn}"
        one.say(url)
        other.say(url)
        said = {run: run.hear() for run in (one, other)}
        assert sorted(words[0] for words in said.values()) == ["busy", "holds"]
        winner, loser = sorted(said, key=lambda run: said[run][0], reverse=True)
        _, seconds, sentence = said[loser]
        assert float(seconds) < 15
        assert f"{url} is in use by 'geoloom predict' (process {winner.process.pid} on" in sentence
        assert "wait until that has ended, or stop it" in sentence
        winner.say("")
        assert winner.hear() == ["released"]


def test_whoever_comes_after_a_release_begins_at_once(place, store, runs):
    run = runs()
    assert run.hold(place).startswith("1:")
    run.say("")
    assert run.hear() == ["released"]
    began = time.monotonic()
    for number in range(2, 7):
        with hold(store, command="label") as lease:
            assert lease.number == number
            assert len(numbers(store)) <= 2
    assert time.monotonic() - began < 15
    assert numbers(store) == {6}


def test_whoever_was_killed_is_succeeded_at_once(place, store, runs):
    run = runs()
    token = run.hold(place)
    if isinstance(store, Folder):
        left = store.root / "products" / ".part99.abcdef0.classes.tif"
        left.parent.mkdir()
        left.touch()
    run.process.send_signal(signal.SIGKILL)
    wait_for(lambda: not holder(store))  # nobody has asked for its end yet: it is a zombie
    began = time.monotonic()
    with hold(store, command="label") as lease:
        assert time.monotonic() - began < 15
        assert (token.split(":")[0], lease.number) == ("1", 2)
        lease.check()
        with pytest.raises(WorkspaceBusy, match=r"was taken over by 'geoloom label' \(process \d+ on .*run the same"):
            Grip(store, 1).check()
    if isinstance(store, Folder):
        assert not left.exists()


def test_after_a_clean_release_nothing_is_swept(tmp_path):
    store = open_store(tmp_path)
    with hold(store, command="label"):
        pass
    (tmp_path / ".part99.abcdef0.of-somebody").touch()
    with hold(store, command="label"):
        pass
    assert (tmp_path / ".part99.abcdef0.of-somebody").exists()


def test_another_machine_s_run_that_lives_is_found_so_in_seconds(store):
    """However wrong the clocks are: they are not read."""
    elsewhere(store)
    with beating(store):
        began = time.monotonic()
        with (
            pytest.raises(WorkspaceBusy, match=r"'geoloom map' \(process 4711 on other-machine\)"),
            hold(store, command="predict"),
        ):
            pass
        assert time.monotonic() - began < 15
        assert str(holder(store)) == "'geoloom map' (process 4711 on other-machine)"
    assert numbers(store) == {1}


def test_another_machine_s_run_that_falls_silent_is_succeeded(store, short_silence):
    elsewhere(store)
    store.write("lease/1.beat", b"17")
    began = time.monotonic()
    with hold(store, command="predict") as lease:
        assert 1.5 < time.monotonic() - began < 15
        assert lease.number == 2
    with pytest.raises(WorkspaceBusy):
        Grip(store, 1).check()


def test_silence_is_measured_by_our_own_time_and_clocks_may_jump(store, short_silence, monkeypatch):
    real, calls = time.time, []

    def jumping():
        calls.append(1)
        return real() + 3600 * (-1) ** len(calls)

    monkeypatch.setattr(time, "time", jumping)
    elsewhere(store)
    began = time.monotonic()
    with hold(store, command="predict") as lease:
        assert 1.5 < time.monotonic() - began < 15
        assert lease.number == 2
        lease.check()
        elsewhere(store, 3)
        with beating(store, 3), pytest.raises(WorkspaceBusy):
            lease.check()


def test_a_run_that_is_slow_to_show_its_first_sign_lives(store, short_silence):
    elsewhere(store)
    with beating(store, after=0.8), pytest.raises(WorkspaceBusy), hold(store, command="predict"):
        pass


def test_a_release_is_noticed_while_waiting(store):
    elsewhere(store)
    threading.Timer(0.7, store.write, ("lease/1.released", b"")).start()
    began = time.monotonic()
    with hold(store, command="predict") as lease:
        assert lease.number == 2
    assert time.monotonic() - began < 15


def test_of_several_that_wait_for_a_silent_one_one_succeeds_it(place, store, runs):
    elsewhere(store)
    waiting = runs(3, silence=1.0)
    for run in waiting:
        run.say(place)
    words = [run.hear() for run in waiting]
    assert sorted(word[0] for word in words) == ["busy", "busy", "holds"]
    assert next(word[1] for word in words if word[0] == "holds").startswith("2:")


def test_a_container_on_the_same_machine_is_another_machine(store, short_silence):
    """Its process numbers are its own: that ours has no such process says nothing."""
    here = Holder.here("map")
    for number, change in enumerate(({"namespace": "pid:[1]"}, {"boot": ""}, {"host": "other"}), 1):
        assert replace(here, **change).lives() is None
        with beating(store, number):
            store.write(f"lease/{number}.json", replace(here, **change).packed())
            with pytest.raises(WorkspaceBusy), hold(store, command="predict"):
                pass
        store.write(f"lease/{number}.released", b"")


def test_a_machine_that_does_not_say_when_it_started_proves_nothing(monkeypatch):
    here = Holder.here("map")
    assert here.lives() is True
    assert replace(here, pid=2**22 + 1).lives() is False  # above Linux's highest
    monkeypatch.setattr("infra.holder._boot", lambda: "")
    assert Holder.here("map").lives() is None


def test_a_process_number_that_came_round_again_is_not_the_holder(store):
    parent = replace(Holder.here("map"), pid=os.getppid(), started="12345")
    assert parent.lives() is False
    store.create("lease/1.json", parent.packed())
    began = time.monotonic()
    with hold(store, command="predict") as lease:
        assert lease.number == 2
    assert time.monotonic() - began < 15


def test_a_process_that_could_not_release_succeeds_itself(store):
    store.create("lease/1.json", Holder.here("map").packed())
    with hold(store, command="predict") as lease:
        assert lease.number == 2


@pytest.mark.parametrize("data", [b"", b'{"pid": 1}'])
def test_a_damaged_lease_is_waited_for(store, short_silence, data):
    store.write("lease/7.json", data)
    with beating(store, 7), pytest.raises(WorkspaceBusy, match="in use by another run"), hold(store, command="predict"):
        pass
    with hold(store, command="predict") as lease:
        assert lease.number == 8


GRIP = """
import pickle, sys
from infra.errors import WorkspaceBusy
grip = pickle.loads(bytes.fromhex(sys.argv[1]))
for _ in sys.stdin:
    try:
        grip.check()
        print("ours", flush=True)
    except WorkspaceBusy as error:
        print("lost", error, flush=True)
"""


def test_a_worker_learns_that_the_lease_is_lost(store):
    with hold(store, command="predict") as lease:
        assert lease.grip == pickle.loads(pickle.dumps(lease.grip)) == Grip(store, 1)
        packed = pickle.dumps(lease.grip).hex()
        with subprocess.Popen(
            [sys.executable, "-c", GRIP, packed], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as worker:

            def ask():
                worker.stdin.write("?\n")
                worker.stdin.flush()
                return worker.stdout.readline()

            assert ask() == "ours\n"
            elsewhere(store, 2)
            assert ask().startswith("lost ")
            worker.stdin.close()
        with pytest.raises(WorkspaceBusy, match=r"taken over by 'geoloom map' \(process 4711 on other-machine\)"):
            lease.check()
        with pytest.raises(WorkspaceBusy), hold(store, command="predict"):
            pass


def test_a_run_that_slept_through_two_others_learns_it(store):
    """The next number's file is gone by then."""
    grip = Grip(store, 1)
    elsewhere(store, 1)
    grip.check()
    elsewhere(store, 3)
    store.delete(["lease/1.json"])
    with pytest.raises(WorkspaceBusy):
        grip.check()
    # Nor is the workspace its own when it is gone altogether.
    store.delete_all("lease")
    with pytest.raises(WorkspaceBusy, match="taken over by another run"):
        grip.check()


def test_who_looked_long_ago_does_not_take_a_number_twice(store, monkeypatch):
    """Between its look and its file, two others came and went, and the file of its number with them."""
    elsewhere(store, 1)
    store.write("lease/1.released", b"")
    looks = []
    real = leases._newest

    def newest(seen):
        found = real(seen)
        looks.append(found)
        if len(looks) == 1:
            elsewhere(store, 3)
            store.write("lease/3.released", b"")
            store.delete(["lease/1.json", "lease/1.released"])
        return found

    monkeypatch.setattr(leases, "_newest", newest)
    with hold(store, command="predict") as lease:
        assert looks[0] == (1, False)
        assert lease.number == 4
    assert numbers(store) == {4}


def test_a_lost_answer_does_not_make_a_run_wait_for_itself(proxy, bucket, monkeypatch):
    store, real = open_store(f"s3://{bucket}/maps"), Bucket.create

    def create(self, key, data):
        proxy.loses_answers = True
        return real(self, key, data)

    monkeypatch.setattr(Bucket, "create", create)
    began = time.monotonic()
    with hold(store, command="predict") as lease:
        lease.check()
    assert proxy.lost == 1
    assert time.monotonic() - began < 15


def test_holds_nest_within_a_process(place, store, runs):
    run = runs()
    with hold(store, command="map") as outer:
        with hold(open_store(place), command="predict") as inner:
            assert inner is outer
        with ThreadPoolExecutor(1) as pool:

            def step():
                with hold(store, command="mosaic") as inner:
                    return inner is outer

            assert pool.submit(step).result()
        run.say(place)
        assert run.hear()[0] == "busy"
        outer.check()
    assert run.hold(place).startswith("2:")
    with pytest.raises(WorkspaceBusy, match=f"process {run.process.pid} "), hold(store, command="map"):
        pass


def test_a_failing_body_releases(place, store, runs):
    with pytest.raises(KeyboardInterrupt), hold(store, command="map"):
        raise KeyboardInterrupt
    assert holder(store) is None
    assert runs().hold(place).startswith("2:")


def test_a_step_in_another_process_works_under_the_lease(place, store, runs):
    run = runs()
    token = run.hold(place)
    with hold(store, command="predict", under=token) as lease:
        assert (lease.token, lease.grip) == (token, Grip(store, 1))
        lease.check()
        with hold(store, command="predict") as inner:
            assert inner is lease
        assert not [t for t in threading.enumerate() if t.name.startswith("lease-")]
    assert str(holder(store)).startswith(f"'geoloom predict' (process {run.process.pid} on")
    for wrong in ("1:0123456789abcdef", f"2:{token.split(':')[1]}", "", "nonsense"):
        with (
            pytest.raises(WorkspaceBusy, match="no longer held by the run that this step belongs to"),
            hold(store, command="predict", under=wrong),
        ):
            pass
    run.say("")
    assert run.hear() == ["released"]
    with pytest.raises(WorkspaceBusy, match="no longer held"), hold(store, command="predict", under=token):
        pass


def test_a_step_of_the_same_process_may_be_told_its_own_token(store):
    with hold(store, command="map") as outer, hold(store, command="predict", under=outer.token) as inner:
        assert inner is outer


def test_who_holds_it_can_be_asked(place, store, runs):
    assert holder(store) is None
    run = runs()
    run.hold(place)
    before = store.keys()
    found = holder(store)
    assert (found.command, found.pid) == ("predict", run.process.pid)
    run.process.kill()
    wait_for(lambda: holder(store) is None)
    assert store.keys() == before  # asking changed nothing
    elsewhere(store, 2)
    assert holder(store) is None


def test_the_heart_beats(store):
    with hold(store, command="predict"):
        wait_for(lambda: beat_of(store) >= 2)
    assert store.exists("lease/1.released")


def test_a_full_disk_stops_neither_the_heart_nor_the_release(small_disk, runs):
    store = Folder(small_disk)
    ballast = small_disk / "ballast"

    def fill():
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    with hold(store, command="predict"):
        wait_for(lambda: beat_of(store) >= 1)
        fill()
        seen = beat_of(store)
        time.sleep(2.5)
        assert beat_of(store) == seen
        ballast.unlink()
        wait_for(lambda: beat_of(store) >= seen + 3)  # it counted on
        fill()
    assert store.exists("lease/1.released")  # an empty file needs no room
    # A new one is refused for want of room, and leaves nothing.
    with pytest.raises(UnwritableOutput, match="The disk is full"), hold(store, command="predict"):
        pass
    assert numbers(store) == {1}
    ballast.unlink()
    assert runs().hold(small_disk).startswith("2:")


def test_a_release_that_cannot_be_written_is_tried_again(place, store, runs, monkeypatch):
    refused, real = [], type(store).write

    def write(self, key, data, **options):
        if key.endswith("released") and len(refused) < 2:
            refused.append(key)
            raise UnwritableOutput("no")
        real(self, key, data, **options)

    monkeypatch.setattr(type(store), "write", write)
    monkeypatch.setattr(leases, "FAREWELL_S", 0.1)
    with hold(store, command="predict"):
        pass
    run = runs()
    run.say(place)
    assert run.hear()[0] == "busy"  # a living process has not released it
    wait_for(lambda: store.exists("lease/1.released"))
    assert len(refused) == 2
    assert run.hold(place).startswith("2:")


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "taken").touch()
    with (
        pytest.raises(UnwritableOutput, match=r"taken/maps.* cannot be written"),
        hold(open_store(tmp_path / "taken" / "maps"), command="map"),
    ):
        pass


def test_a_workspace_that_is_removed_is_not_made_again_by_its_heart(tmp_path):
    store = open_store(tmp_path / "maps")
    with hold(store, command="map"):
        store.delete_all("")
        time.sleep(1.5)
        assert not (tmp_path / "maps").exists()
    assert not (tmp_path / "maps").exists()
