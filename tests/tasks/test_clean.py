"""Clean removes what nobody will ask for, and nothing that somebody will."""

from pathlib import Path

import pytest

from flows import steps
from infra.errors import UnusableInput
from infra.ledger import Ledger
from infra.progress import Silent
from infra.store import open_store


def clean(workspace):
    return steps.clean(str(workspace), progress=Silent())


def files(workspace):
    found = {str(p.relative_to(workspace)) for p in Path(workspace).rglob("*") if p.is_file()}
    return {name for name in found if not name.startswith("lease/")}


def test_strips_into_finished_blocks_go(ingested, engine, golden, tiny_model):
    engine.predict(ingested, tiny_model, keep_strips=True)
    before = files(ingested)
    strips = {name for name in before if name.startswith("strips/")}
    assert strips
    assert clean(ingested).strips == len(strips)
    assert files(ingested) == before - strips
    again = engine.predict(ingested, tiny_model)
    assert (again.units_run, again.tiles_run) == (0, 0)
    assert engine.bits(ingested) == golden["bits"]
    assert clean(ingested).strips == 0


def test_strips_into_a_block_that_is_to_be_done_stay(ingested, engine, golden, tiny_model):
    """They are tiles that need not be run again."""
    engine.predict(ingested, tiny_model, keep_strips=True)
    Ledger(open_store(ingested), "predict").forget(["1_1"])
    kept = {name for name in files(ingested) if name.startswith("strips/1_1/")}
    clean(ingested)
    assert {name for name in files(ingested) if name.startswith("strips/")} == kept
    done = engine.predict(ingested, tiny_model)
    assert done.units_run == 1
    Ledger(open_store(ingested), "predict").forget(["1_1"])
    assert engine.predict(ingested, tiny_model).tiles_run > done.tiles_run, "without strips it takes more tiles"
    assert engine.bits(ingested) == golden["bits"]


def test_what_killed_runs_left_goes_and_the_rest_stays(ingested):
    before = files(ingested)
    leftovers = [
        ".part4242.abcdef0.workspace.json", "products/.part4242.abcdef1.classes.tif",
        f"cube.zarr/image/c/0/0/0.{'0' * 32}.partial",
    ]  # fmt: skip
    for name in leftovers:
        path = Path(ingested) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    (Path(ingested) / "notes.txt").write_text("mine")
    clean(ingested)
    assert files(ingested) == before | {"notes.txt"}


def test_only_a_workspace_is_cleaned(tmp_path):
    (tmp_path / ".part4242.abcdef0.thesis.doc").write_text("mine")
    with pytest.raises(UnusableInput, match="not a workspace"):
        clean(tmp_path)
    assert (tmp_path / ".part4242.abcdef0.thesis.doc").exists()
