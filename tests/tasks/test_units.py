"""What is to be done is what the ledger does not vouch for, and it vouches for nothing while that is overwritten."""

import pytest

from infra.errors import UnusableInput, WorkspaceBusy
from infra.lease import hold
from infra.ledger import Entry, Ledger
from infra.store import open_store
from tasks.units import read_entries, replacing_shards, to_do


@pytest.fixture
def ledger(tmp_path):
    return Ledger(open_store(tmp_path / "ws"), "weave")


def test_everything_is_to_be_done_at_first_in_the_order_it_was_wanted(ledger):
    assert to_do(ledger, {"b": "1", "a": "2", "c": "3"}, places=()) == ["b", "a", "c"]
    assert to_do(ledger, {}, places=()) == []


def test_what_killed_workers_left_is_removed_where_the_step_writes_and_nowhere_else(ledger, tmp_path):
    left = ".part1.abcdef0.left"
    for folder in ("ledger/weave", "cloth/c", "products"):
        (tmp_path / "ws" / folder).mkdir(parents=True)
        (tmp_path / "ws" / folder / left).touch()
    to_do(ledger, {"a": "1"}, places=("cloth",))
    assert [p.parent.name for p in tmp_path.rglob(left)] == ["products"]


def test_what_is_done_stays_and_what_is_stale_is_forgotten(ledger):
    ledger.record(Entry("same", "f1", "x"))
    ledger.record(Entry("stale", "f1", "x"))
    assert to_do(ledger, {"new": "f9", "same": "f1", "stale": "f2"}, places=()) == ["new", "stale"]
    assert ledger.done() == {"same": "f1"}
    assert ledger.store.keys("ledger") == ["ledger/weave/same.f1.json"]


def test_a_unit_with_holes_is_to_be_done_again(ledger):
    ledger.record(Entry("holes", "f1", "x", short=True))
    assert to_do(ledger, {"holes": "f1"}, places=()) == ["holes"]
    assert ledger.store.keys("ledger") == []


def test_units_that_nobody_wants_are_forgotten(ledger):
    """As after a change of the grid: their entries would be counted as results."""
    ledger.record(Entry("mine", "f1", "x"))
    ledger.record(Entry("stranger", "f1", "x"))
    ledger.record(Entry("hollow", "f1", "x", short=True))
    assert to_do(ledger, {"mine": "f1"}, places=()) == []
    assert ledger.store.keys("ledger") == ["ledger/weave/mine.f1.json"]


def test_a_unit_of_two_fingerprints_is_done_again(ledger):
    """Nobody can say whose results it has."""
    for mark in ("f1", "f2"):
        ledger.record(Entry("both", mark, "x"))
    assert to_do(ledger, {"both": "f1"}, places=()) == ["both"]
    assert ledger.store.keys("ledger") == []


def test_another_step_s_entries_are_none_of_its_business(ledger):
    other = Ledger(ledger.store, "weaver")
    other.record(Entry("a", "f1", "x"))
    to_do(ledger, {"a": "f2"}, places=())
    assert other.done() == {"a": "f1"}


def shards(store):
    """Two stored shards of a group and one beside them."""
    for name in ("a/c/0/0", "a/c/0/1", "a/c/1/0"):
        store.write(f"cube.zarr/{name}", b"old")
    return ["a/c/0/0", "a/c/0/1"]


def test_shards_go_before_they_are_written(tmp_path):
    store = open_store(tmp_path / "ws")
    names = shards(store)
    with hold(store, command="test") as lease, replacing_shards(lease.grip, "cube.zarr", names):
        assert store.keys("cube.zarr") == ["cube.zarr/a/c/1/0"]
        store.write("cube.zarr/a/c/0/1", b"new")
    assert store.read("cube.zarr/a/c/0/1") == b"new"
    assert not store.exists("cube.zarr/a/c/0/0"), "a shard that is all fill is not written, and must not stay"


def take_over(store, number):
    store.write(f"lease/{number}.json", b"{}")


def test_who_has_lost_the_workspace_touches_nothing(tmp_path):
    store = open_store(tmp_path / "ws")
    names = shards(store)
    with hold(store, command="test") as lease:
        take_over(store, lease.number + 1)
        with (
            pytest.raises(WorkspaceBusy, match="taken over"),
            replacing_shards(lease.grip, "cube.zarr", names),
        ):
            pytest.fail("it went on")
    assert len(store.keys("cube.zarr")) == 3


def test_who_loses_it_while_writing_is_told_before_the_ledger_is(tmp_path):
    store = open_store(tmp_path / "ws")
    names = shards(store)
    with (
        hold(store, command="test") as lease,
        pytest.raises(WorkspaceBusy, match="taken over"),
        replacing_shards(lease.grip, "cube.zarr", names),
    ):
        take_over(store, lease.number + 1)


def test_what_was_written_is_flushed_before_the_ledger_s_entry_is(tmp_path):
    """The kernel is asked: the order of fsync and of the names that they are for."""
    import shutil
    import subprocess
    import sys

    if shutil.which("strace") is None:
        pytest.skip("strace is missing: apt-get install strace")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from infra.lease import hold\n"
        "from infra.ledger import Entry, Ledger\n"
        "from infra.store import open_store\n"
        "from tasks.units import replacing_shards\n"
        "store = open_store(sys.argv[1])\n"
        "with hold(store, command='test') as lease:\n"
        "    with replacing_shards(lease.grip, 'cube.zarr', ['a/c/0/0']):\n"
        "        shard = Path(sys.argv[1]) / 'cube.zarr/a/c/0/0'\n"
        "        shard.parent.mkdir(parents=True)\n"
        "        shard.write_bytes(b'new')\n"
        "    Ledger(store, 'weave').record(Entry('0_0', 'f1', 'x'))\n"
    )
    log, place = tmp_path / "trace", tmp_path / "ws"
    command = ["strace", "-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-c", code, str(place)], capture_output=True, text=True, timeout=120, check=False
    )
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip(f"no process may be traced here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()

    def first(*words):
        return next(n for n, call in enumerate(calls) if all(word in call for word in words))

    flushed, named = first("fsync", "cube.zarr/a/c/0/0>"), first("fsync", "cube.zarr/a/c/0>")
    entry = first("rename", "ledger/weave/0_0.f1.json")
    assert max(flushed, named) < entry
    assert first("fsync", ".0_0.f1.json>") < entry


def test_a_damaged_entry_is_removed_and_its_unit_done_again(ledger):
    wanted = {"a": "f1", "b": "f1"}
    for unit, mark in wanted.items():
        ledger.record(Entry(unit, mark, "x", facts={"pixels": 3}))
    assert {unit: entry.facts for unit, entry in read_entries(ledger, wanted).items()} == {
        "a": {"pixels": 3}, "b": {"pixels": 3}
    }  # fmt: skip
    ledger.store.write("ledger/weave/b.f1.json", b'{"unit": "b", "finger')
    assert to_do(ledger, wanted, places=()) == [], "a listing cannot tell"
    with pytest.raises(UnusableInput, match=r"was damaged \(b\) .* run the same command again"):
        read_entries(ledger, wanted)
    assert to_do(ledger, wanted, places=()) == ["b"]
