"""What a prediction will take is said before, and what cannot fit is refused."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from infra.errors import UnusableInput
from infra.memory import resident_memory
from infra.store import open_store
from models.malloc import keep_freed_memory
from tasks.prediction_estimate import estimate


@dataclass(frozen=True)
class Machine:
    """What an estimate asks of a cluster."""

    workers: int = 2
    lanes: int = 2
    memory: int = 8 * 10**9


@pytest.fixture(scope="module")
def plan(scene, tiny_model, engine, tmp_path_factory):
    """A plan as it is made for a scene, with a rate that is known."""
    workspace = engine.ingest(scene, tmp_path_factory.mktemp("planned") / "ws")
    return replace(
        engine.predict(workspace, tiny_model, plan=True).plan, seconds=0.5, activation=100_000_000, held=10**9
    )


def expect(plan, folder, shape=(2500, 2300), *, classes=6, left=None, **machine):
    tiling = plan.cut(shape)
    left = len(list(tiling.blocks())) if left is None else left
    return estimate(plan, tiling, Machine(**machine), classes=classes, itemsize=1, left=left, store=open_store(folder))


def test_all_of_it_at_first_and_nothing_at_the_end(plan, tmp_path):
    whole, none = expect(plan, tmp_path), expect(plan, tmp_path, left=0)
    assert (whole.blocks, whole.blocks_left) == (9, 9)
    assert whole.tiles == whole.tiles_left == plan.cut((2500, 2300)).count
    assert whole.seconds == pytest.approx(whole.tiles * 0.5 / 2)
    assert (none.blocks_left, none.tiles_left, none.seconds) == (0, 0, 0)
    assert none.disk < whole.disk, "the products may have to be written again all the same"


def test_more_workers_take_less_time_and_more_lanes_more_memory(plan, tmp_path):
    one, two = expect(plan, tmp_path, workers=1, lanes=1), expect(plan, tmp_path, workers=2, lanes=2)
    assert one.seconds == 2 * two.seconds
    assert one.memory < two.memory < 2 * one.memory
    assert expect(plan, tmp_path, workers=8, lanes=1).memory == one.memory, "that of a process"


def test_memory_depends_on_the_block_and_the_classes_and_not_on_the_scene(plan, tmp_path):
    small, large = expect(plan, tmp_path), expect(plan, tmp_path, (40_000, 40_000))
    assert large.memory == small.memory
    assert large.disk > 200 * small.disk
    assert expect(plan, tmp_path, classes=60).memory > small.memory
    wider = replace(plan, block=2 * plan.block)
    assert expect(wider, tmp_path, (40_000, 40_000)).memory > small.memory


def test_memory_holds_at_least_what_is_surely_there(plan, tmp_path):
    """For every thread (one more than lanes) a block's sums in int32, and the network's own for every lane."""
    found = expect(plan, tmp_path, classes=6, lanes=2)
    assert found.memory > 3 * 6 * 4 * plan.block**2 + 2 * plan.activation


def test_what_cannot_fit_is_refused_with_the_numbers(plan, tmp_path):
    found = expect(plan, tmp_path)
    found.refuse_what_cannot_fit()
    tight = replace(found, memory_there=found.memory - 1)
    with pytest.raises(UnusableInput, match=f"needs about {found.memory / 1e6:.0f} MB .* smaller --tile"):
        tight.refuse_what_cannot_fit()
    full = replace(found, disk_there=found.disk - 1)
    with pytest.raises(UnusableInput, match=f"need about {found.disk / 1e6:.0f} MB and .* MB are free; make room"):
        full.refuse_what_cannot_fit()
    replace(full, disk_there=None).refuse_what_cannot_fit()  # a bucket's end is unknown


def test_it_is_told_in_lines(plan, tmp_path):
    found = replace(expect(plan, tmp_path, left=3), disk_there=10**9)
    assert found.lines() == [
        "blocks  3 of 9 left",
        f"tiles   {found.tiles_left} of {found.tiles} left (tiles without data are skipped)",
        f"memory  {found.memory / 1e6:.0f} MB a process, of 8000 MB",
        f"disk    {found.disk / 1e6:.0f} MB of 1000 MB free",
        f"time    {found.seconds:.0f} s",
    ]
    assert replace(found, disk_there=None).lines()[3] == f"disk    {found.disk / 1e6:.0f} MB"


def test_the_plan_says_of_a_real_folder_what_is_free(plan, tmp_path):
    import shutil

    found = expect(plan, tmp_path).disk_there
    assert found == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)


def test_memory_that_earlier_work_freed_is_not_counted(scene, tiny_model, engine, tmp_path):
    """A process that runs for weeks keeps what it frees (models.malloc) and has it for this work."""
    workspace = engine.ingest(scene, tmp_path / "ws")
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    earlier = np.ones(400_000_000, np.uint8)
    full = resident_memory()
    del earlier
    assert resident_memory() > full - 100_000_000, "it is kept"
    assert engine.predict(workspace, tiny_model, plan=True).plan.held < full - 300_000_000
