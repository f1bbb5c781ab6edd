"""What a workspace says of itself, at every stage, without being touched."""

from pathlib import Path

import pytest
from holding import held

from flows import steps
from infra.errors import UnusableInput
from infra.ledger import Entry, Ledger
from infra.store import open_store
from tasks.status import Progressed, lost_tiles, read_status

ROOT = Path(__file__).resolve().parents[2]


def told(workspace):
    return {
        name: (step.done, step.short, step.total) for name, step in read_status(open_store(workspace)).steps.items()
    }


def test_nothing_is_no_workspace(tmp_path):
    with pytest.raises(UnusableInput, match="not a workspace; make one with 'geoloom ingest"):
        read_status(open_store(tmp_path / "none"))
    assert not (tmp_path / "none").exists(), "looking makes nothing"


def test_every_stage_is_told(ingested, engine, tiny_model):
    fresh = {"ingest": (4, 0, 4), "label": (0, 0, None), "predict": (0, 0, None), "mosaic": (0, 0, None)} | {
        "vectorize": (0, 0, None)
    }
    assert told(ingested) == fresh
    assert steps.status(ingested).lines() == [
        "ingest    4 of 4 units", "label     not begun", "predict   not begun", "mosaic    not begun",
        "vectorize not begun", "strips    0",
        "at work   nobody",
    ]  # fmt: skip
    engine.predict(ingested, tiny_model, keep_strips=True)
    assert told(ingested) == fresh | {"predict": (9, 0, 9), "mosaic": (0, 0, 2)}
    strips = read_status(open_store(ingested)).strips
    assert strips == len([p for p in (Path(ingested) / "strips").rglob("*") if p.is_file()]) > 0
    engine.products(ingested)
    assert told(ingested)["mosaic"] == (2, 0, 2)
    assert f"strips    {strips}" in steps.status(ingested).lines()


def test_labels_are_counted_in_blocks_of_their_own(ingested, scene):
    from infra.progress import Silent
    from tasks.label_params import LabelParams
    from tasks.params import RunParams

    params = LabelParams(method="truth", truth=str(scene), truth_classes=("other", *["building"] * 254))
    steps.label(params, ingested, run=RunParams(device="cpu"), progress=Silent())
    assert told(ingested)["label"] == (4, 0, 4)


def test_an_interrupted_ingest_is_told_though_it_is_no_workspace_yet(scene, engine, tmp_path):
    out = tmp_path / "ws"
    call = (
        f"steps.ingest(IngestParams(scenes=({str(scene)!r},)), {str(out)!r}, run=ClusterParams(workers=1),"
        " progress=Dying())"
    )
    engine.die(call, units=1)
    done = len(Ledger(open_store(out), "ingest").done())
    assert 1 <= done < 4
    assert told(out)["ingest"] == (done, 0, 4)
    assert f"ingest    {done} of 4 units" in steps.status(str(out)).lines()
    assert read_status(open_store(out)).holder is None, "the dead hold nothing"


def test_units_with_holes_are_told_apart(predicted):
    ledger = Ledger(open_store(predicted), "predict")
    mark = ledger.done()["1_1"]
    ledger.record(Entry("1_1", mark, "x", short=True))
    assert read_status(open_store(predicted)).steps["predict"] == Progressed(8, 1, 9)
    assert "predict   9 of 9 units, 1 with holes" in steps.status(predicted).lines()


def test_who_is_at_work_is_named_and_not_disturbed(ingested):
    with held(ingested) as process:
        before = {str(p): p.stat().st_mtime_ns for p in Path(ingested).rglob("*") if p.suffix != ".beat"}
        said = steps.status(ingested).lines()[-1]
        after = {str(p): p.stat().st_mtime_ns for p in Path(ingested).rglob("*") if p.suffix != ".beat"}
    assert said.startswith(f"at work   'geoloom predict' (process {process.pid} on ")
    assert {k: v for k, v in before.items() if "lease" not in k} == {k: v for k, v in after.items() if "lease" not in k}
    assert steps.status(ingested).lines()[-1] == "at work   nobody"


def test_tiles_that_failed_are_named_once_though_several_blocks_lack_them(predicted):
    store = open_store(predicted)
    ledger = Ledger(store, "predict")
    assert lost_tiles(store) == []
    marks = ledger.done()
    ledger.record(Entry("1_1", marks["1_1"], "x", short=True, facts={"lost": [[10, 3], [2, 3]]}))
    ledger.record(Entry("0_1", marks["0_1"], "x", short=True, facts={"lost": [[2, 3]]}))
    assert lost_tiles(store) == ["tile 2, 3", "tile 10, 3"]
    assert steps.lost_tiles(predicted) == lost_tiles(store)
