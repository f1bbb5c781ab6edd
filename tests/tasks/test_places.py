"""A workspace in a bucket is a workspace; a disk that fills up is named, and nothing wrong is left."""

import shutil
import subprocess

import numpy as np
import pytest
from dask_machines import SCHEDULERS

from infra.errors import UnwritableOutput
from infra.store import open_store


def test_the_whole_chain_in_a_bucket_gives_the_same_bits(bucket, scene, engine, golden, tiny_model, world):
    workspace = engine.ingest(scene, f"s3://{bucket}/maps/one")
    done = engine.predict(workspace, tiny_model)
    assert done.tiles_run == golden["tiles"]
    assert engine.bits(workspace) == golden["bits"]
    again = engine.predict(workspace, tiny_model)
    assert again.units_run == 0

    from flows import steps
    from infra.progress import Silent

    made = steps.mosaic(workspace, progress=Silent()).products
    store = open_store(workspace)
    names = {"classes.tif", "classes.tif.aux.xml", "classes.qml", "probability.tif", "item.json", "map.qgs"}
    assert {key.removeprefix("products/") for key in store.keys("products")} == names
    assert set(made.values()) <= {f"{store.url}/products/{name}" for name in names}
    with (
        store.fetched("products/classes.tif") as here,
        open_store(golden["workspace"]).fetched("products/classes.tif") as there,
    ):
        assert here.read_bytes() == there.read_bytes()
    assert not store.keys("strips")


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_whole_chain_on_a_running_scheduler_gives_the_same_bits(
    kind, dask_processes, certificate, showing, scene, engine, golden, tiny_model, tmp_path
):
    """Workers are processes of their own; with `hosts`, each on a host of its own, reached by TLS alone."""
    with SCHEDULERS[kind](dask_processes, certificate, showing) as address:
        run = {"cluster": address, "workers": None}
        workspace = engine.ingest(scene, tmp_path / "ws", **run)
        done = engine.predict(workspace, tiny_model, **run)
        assert done.tiles_run == golden["tiles"]
        assert engine.bits(workspace) == golden["bits"]
        assert engine.products(workspace) == golden["products"]
        assert engine.predict(workspace, tiny_model, **run).units_run == 0


def test_labels_in_a_bucket(bucket, world, engine):
    from flows import steps
    from infra.progress import Silent
    from tasks.label_params import LabelParams
    from tasks.params import RunParams

    workspace = engine.ingest(world.scene, f"s3://{bucket}/labelled")
    params = LabelParams(method="truth", truth=str(world.truth))
    first = steps.label(params, workspace, run=RunParams(), progress=Silent())
    assert first.units_run == first.units_total
    assert first.labelled > 0.9
    again = steps.label(params, workspace, run=RunParams(), progress=Silent())
    assert again.units_run == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_while_predicting(small_disk, engine, tiny_model, tmp_path, monkeypatch):
    """The estimate would refuse; without it the disk fills up half way, and after room is made the rerun completes."""
    from infra.folder import Folder
    from tasks.prediction_estimate import Estimate

    small = np.random.default_rng(0).integers(1, 255, (3, 70, 70), dtype=np.uint8)
    scene = tmp_path / "plain.tif"
    engine.write_scene(scene, small.repeat(32, axis=1).repeat(32, axis=2), np.ones((2240, 2240), bool))
    undisturbed = engine.ingest(scene, tmp_path / "golden")
    engine.predict(undisturbed, tiny_model)

    monkeypatch.setattr(Folder, "free", lambda _: None)
    monkeypatch.setattr(Estimate, "refuse_what_cannot_fit", lambda _: None)
    workspace = engine.ingest(scene, small_disk / "ws")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(max(shutil.disk_usage(small_disk).free - 600_000, 0)))
    with pytest.raises(UnwritableOutput, match="disk is full"):
        engine.predict(workspace, tiny_model)
    filler.unlink()
    engine.predict(workspace, tiny_model)
    assert engine.bits(workspace) == engine.bits(undisturbed)
    assert engine.products(workspace) == engine.products(undisturbed)


def test_a_disk_that_is_too_small_is_refused_before_work(small_disk, scene, engine):
    (small_disk / "filler").write_bytes(bytes(10_000_000))
    with pytest.raises(UnwritableOutput, match="MB are free"):
        engine.ingest(scene, small_disk / "ws")
