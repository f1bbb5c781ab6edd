"""The ledger says of each unit what was last recorded, from the names of its entries alone."""

import json
import signal
import subprocess
import sys
import uuid
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.folder import Folder
from infra.ledger import Entry, Ledger
from infra.store import open_store

ROOT = Path(__file__).resolve().parents[2]

UNITS = ["0_0", "0_1", "10_10", "classes-1"]
MARKS = ["aa", "bb"]


def test_what_is_recorded_comes_back(store):
    ledger = Ledger(store, "predict")
    assert (ledger.done(), ledger.short(), ledger.entries()) == ({}, {}, [])
    facts = {"lost": [[1, 2]], "share": 0.1 + 0.2, "town": "مدينة", "none": None}
    whole = Entry("0_1", "aa", "f00d", facts=facts)
    short = Entry("0_0", "bb", "cafe", short=True)
    ledger.record(whole)
    ledger.record(short)
    assert ledger.done() == {"0_1": "aa"}
    assert ledger.short() == {"0_0": "bb"}
    assert ledger.entries() == [short, whole]
    assert ledger.read("0_1", "aa") == whole
    assert ledger.read("0_0", "bb") == short
    assert ledger.read("0_1", "bb") is None
    assert [ledger.has(*unit) for unit in (("0_1", "aa"), ("0_1", "bb"), ("0_0", "bb"))] == [True, False, False]
    assert store.keys() == ["ledger/predict/0_0.bb.short.json", "ledger/predict/0_1.aa.json"]
    with pytest.raises(FrozenInstanceError):
        whole.short = True


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(
                st.just("record"),
                st.builds(Entry, st.sampled_from(UNITS), st.sampled_from(MARKS), st.just("0"), st.booleans()),
            ),
            st.tuples(st.just("forget"), st.lists(st.sampled_from(UNITS), max_size=2)),
        ),
        min_size=3,
        max_size=12,
    )
)
def test_it_agrees_with_a_dictionary(place, steps):
    ledger = Ledger(open_store(f"{place}/{uuid.uuid4().hex}"), "predict")
    oracle = {}  # unit to fingerprint to the last entry
    for step, what in steps:
        if step == "record":
            ledger.record(what)
            oracle.setdefault(what.unit, {})[what.fingerprint] = what
        else:
            ledger.forget(what)
            oracle = {unit: marks for unit, marks in oracle.items() if unit not in what}
    sure = [next(iter(marks.values())) for marks in oracle.values() if len(marks) == 1]
    assert ledger.done() == {e.unit: e.fingerprint for e in sure if not e.short}
    assert ledger.short() == {e.unit: e.fingerprint for e in sure if e.short}
    for unit in UNITS:
        for mark in MARKS:
            entry = oracle.get(unit, {}).get(mark)
            assert ledger.read(unit, mark) == entry
            assert ledger.has(unit, mark) == (entry is not None and not entry.short)
    everything = [e for marks in oracle.values() for e in marks.values()]
    assert sorted(ledger.entries(), key=str) == sorted(everything, key=str)


def test_a_unit_of_two_fingerprints_is_not_done(store):
    """Nobody forgot the old one: the results may be of either."""
    ledger = Ledger(store, "predict")
    ledger.record(Entry("0_0", "aa", "1"))
    ledger.record(Entry("0_0", "bb", "1"))
    ledger.record(Entry("0_1", "aa", "1"))
    assert ledger.done() == {"0_1": "aa"}
    assert ledger.short() == {}
    ledger.forget(["0_0"])
    assert store.keys() == ["ledger/predict/0_1.aa.json"]


def test_a_kill_between_the_two_writes_of_a_record_does_not_make_a_unit_whole(store):
    """A short entry and a whole one of one fingerprint: the holes may still be there."""
    ledger = Ledger(store, "predict")
    ledger.record(Entry("0_0", "aa", "1"))
    whole = store.read("ledger/predict/0_0.aa.json")
    ledger.record(Entry("0_0", "aa", "1", short=True))
    store.write("ledger/predict/0_0.aa.json", whole)
    assert ledger.done() == {}
    assert ledger.short() == {"0_0": "aa"}
    assert not ledger.has("0_0", "aa")
    assert ledger.read("0_0", "aa").short


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"unit": "0_0"}', b"\xff\xfe", b'{"unit": "../x"}'])
def test_a_damaged_entry_counts_as_not_there(store, data):
    ledger = Ledger(store, "predict")
    ledger.record(Entry("0_1", "aa", "1"))
    ledger.record(Entry("0_0", "aa", "1"))
    store.write("ledger/predict/0_0.aa.json", data)
    assert ledger.read("0_0", "aa") is None
    assert [e.unit for e in ledger.entries()] == ["0_1"]
    ledger.forget(["0_0"])
    assert ledger.done() == {"0_1": "aa"}


def test_steps_keep_apart_and_strange_files_are_none_of_it(store):
    one, two = Ledger(store, "predict"), Ledger(store, "predict2")
    one.record(Entry("0_0", "aa", "1"))
    two.record(Entry("0_0", "bb", "1"))
    for name in ("notes.txt", "0_1.json", "0_1.aa.bb.json", "0_1.aa.short"):
        store.write(f"ledger/predict/{name}", b"{}")
    assert one.done() == {"0_0": "aa"}
    one.forget(["0_1", "0_0"])
    assert one.done() == {}
    assert store.exists("ledger/predict/notes.txt")
    one.forget_all()
    assert store.keys() == ["ledger/predict2/0_0.bb.json"]


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "..", "a b", "é"])
def test_names_that_would_not_come_back_are_refused(store, name):
    ledger = Ledger(store, "predict")
    for make in (
        lambda: Entry(name, "aa", "1"),
        lambda: Entry("0_0", name, "1"),
        lambda: Ledger(store, name),
        lambda: ledger.read(name, "aa"),
        lambda: ledger.has("0_0", name),
    ):
        with pytest.raises(ValueError, match="cannot stand in the ledger"):
            make()


def test_a_listing_alone_says_what_is_done(tmp_path, monkeypatch):
    ledger = Ledger(Folder(tmp_path), "predict")
    for number in range(20):
        ledger.record(Entry(f"{number}_0", "aa", "1", short=number % 2 == 1))
    monkeypatch.setattr(Folder, "read", lambda *_: pytest.fail("an entry was read"))
    assert len(ledger.done()) == len(ledger.short()) == 10


def test_a_kill_leaves_whole_entries_only(tmp_path):
    """A process records one unit after the other until it is killed, five times."""
    writing = """
import pathlib, sys
from infra.folder import Folder
from infra.ledger import Entry, Ledger
ledger = Ledger(Folder(pathlib.Path(sys.argv[1])), "predict")
for number in range(10**6):
    ledger.record(Entry(f"{sys.argv[2]}_{number}", "aa", "1", facts={"text": "x" * 5000}))
    print(number, flush=True)
"""
    ledger = Ledger(Folder(tmp_path), "predict")
    for turn in range(5):
        command = [sys.executable, "-c", writing, str(tmp_path), str(turn)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(20 + turn):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            told = max([told, *map(int, process.stdout.read().split())])
        done = [unit for unit in ledger.done() if unit.startswith(f"{turn}_")]
        # What it told is there, and at most one more.
        assert told + 1 <= len(done) <= told + 2
    entries = ledger.entries()
    assert len(entries) == len(ledger.done())
    assert all(e.facts == {"text": "x" * 5000} for e in entries)


def test_an_entry_is_readable_json(store):
    Ledger(store, "predict").record(Entry("0_0", "aa", "f00d", facts={"tiles": 3}))
    document = json.loads(store.read("ledger/predict/0_0.aa.json"))
    assert document == {"unit": "0_0", "fingerprint": "aa", "checksum": "f00d", "short": False, "facts": {"tiles": 3}}
