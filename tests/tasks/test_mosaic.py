"""Products are made of a whole prediction, once."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from flows import steps
from infra.errors import UnusableInput
from infra.ledger import Ledger
from infra.progress import Silent
from infra.store import open_store
from tasks.params import MosaicParams
from tasks.raster.gdal import rasterio
from tasks.raster.probability import open_probability

BESIDE = {"classes.qml", "classes.tif.aux.xml", "item.json", "map.qgs"}


def mosaic(workspace, *names):
    params = MosaicParams(products=names) if names else MosaicParams()
    return steps.mosaic(str(workspace), params, progress=Silent())


def times(workspace):
    return {p.name: p.stat().st_mtime_ns for p in (Path(workspace) / "products").iterdir()}


def test_the_products_are_what_was_predicted(predicted, pixels):
    done = mosaic(predicted)
    assert set(done.products) == {"classes", "probability"}
    assert (done.units_total, done.units_run) == (2, 2)
    stored = np.asarray(open_probability(open_store(predicted).zarr("probability.zarr"))[:])
    with rasterio.open(done.products["probability"]) as source:
        np.testing.assert_array_equal(source.read(), stored)
    with rasterio.open(done.products["classes"]) as source:
        classes = source.read(1)
    valid = stored[0] != 255
    np.testing.assert_array_equal(classes[valid], stored.argmax(0)[valid])
    assert (classes[~valid] == 255).all()
    assert done.valid_share == pytest.approx(valid.mean()) == pytest.approx(pixels[1].mean())
    assert set(times(predicted)) == {*BESIDE, "classes.tif", "probability.tif"}, "nothing else lies there"


def test_uncertainty_is_the_entropy_of_the_probabilities(predicted):
    done = mosaic(predicted, "uncertainty")
    stored = np.asarray(open_probability(open_store(predicted).zarr("probability.zarr"))[:])
    valid = stored[0] != 255
    p = stored[:, valid] / 254
    entropy = -np.where(p > 0, p * np.log(np.maximum(p, 1e-9)), 0).sum(axis=0) / np.log(len(stored))
    with rasterio.open(done.products["uncertainty"]) as source:
        found = source.read(1)
        assert (source.descriptions, source.scales, source.nodata) == (("uncertainty",), (1 / 254,), 255)
    assert (found[~valid] == 255).all()
    assert np.abs(found[valid] / 254 - entropy).max() <= 0.51 / 254


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed (apt-get install gdal-bin)")
def test_gdalinfo_reads_class_names_and_statistics(predicted):
    done = mosaic(predicted)
    told = {}
    for name, path in done.products.items():
        run = subprocess.run(["gdalinfo", "-json", path], capture_output=True, text=True, check=True)
        told[name] = json.loads(run.stdout)
    (band,) = told["classes"]["bands"]
    with rasterio.open(done.products["classes"]) as source:
        names, classes = source.tags()["CLASS_NAMES"].split(","), source.read(1)
    assert band["categories"] == names
    table = told["classes"]["rat"]["row"]
    assert [row["f"][:2] for row in table] == [[n, name] for n, name in enumerate(names)]
    assert float(band["metadata"][""]["STATISTICS_VALID_PERCENT"]) == pytest.approx(100 * (classes != 255).mean())
    with rasterio.open(done.products["probability"]) as source:
        for n, band in enumerate(told["probability"]["bands"], 1):
            plane = source.read(n, masked=True)
            found = {k.removeprefix("STATISTICS_"): float(v) for k, v in band["metadata"][""].items()}
            assert (found["MINIMUM"], found["MAXIMUM"]) == (plane.min(), plane.max())
            assert found["MEAN"] == pytest.approx(plane.mean())
            assert found["STDDEV"] == pytest.approx(plane.std())


def test_what_is_written_is_not_written_again(predicted):
    mosaic(predicted)
    before = times(predicted)
    again = mosaic(predicted)
    assert again.units_run == 0
    assert times(predicted) == before


def test_one_product_is_written_alone_and_again_where_it_is_gone(predicted):
    assert mosaic(predicted, "classes").units_run == 1
    first = times(predicted)
    assert set(first) == {*BESIDE, "classes.tif"}
    assert mosaic(predicted).units_run == 1
    second = times(predicted)
    assert second["classes.tif"] == first["classes.tif"]
    (Path(predicted) / "products/classes.tif").unlink()
    assert mosaic(predicted).units_run == 1
    assert times(predicted)["probability.tif"] == second["probability.tif"]


def test_an_incomplete_prediction_is_refused(predicted):
    ledger = Ledger(open_store(predicted), "predict")
    ledger.forget(["2_0"])
    with pytest.raises(UnusableInput, match=r"not complete \(8 of 9 blocks are done\); run 'geoloom predict' again"):
        mosaic(predicted)
    assert not (Path(predicted) / "products").exists()


def test_a_prediction_of_which_an_entry_is_damaged_is_refused_and_healed(predicted, engine, golden, tiny_model):
    entry = next((Path(predicted) / "ledger/predict").glob("1_2.*.json"))
    entry.write_bytes(entry.read_bytes()[:100])
    with pytest.raises(UnusableInput, match=r"not complete \(8 of 9"):
        mosaic(predicted)
    assert engine.predict(predicted, tiny_model).units_run == 1
    assert engine.products(predicted) == golden["products"]


def test_a_prediction_that_was_begun_anew_is_refused_until_it_is_whole(predicted, engine, tiny_model, tmp_path):
    """Nine blocks stand in the ledger, and one is of another plan than what the prediction says it is of."""
    from infra.ledger import Entry

    mosaic(predicted)
    ledger = Ledger(open_store(predicted), "predict")
    entry = next(e for e in ledger.entries() if e.unit == "0_1")
    ledger.forget(["0_1"])
    ledger.record(Entry("0_1", "f" * 32, entry.checksum, facts=entry.facts))
    with pytest.raises(UnusableInput, match="not complete"):
        mosaic(predicted)


def test_another_prediction_makes_other_products(predicted, engine, tiny_model, tmp_path):
    import torch

    from models.card import load_card
    from models.checkpoint import save_model
    from models.registry import build

    mosaic(predicted)
    before = times(predicted)
    torch.manual_seed(9)
    save_model(tmp_path / "other", build("tiny", {}, bands=3, classes=6), load_card(tiny_model))
    engine.predict(predicted, tmp_path / "other")
    assert mosaic(predicted).units_run == 2
    assert {name for name, when in before.items() if times(predicted)[name] == when} == {"map.qgs"}


def test_products_follow_a_scene_that_turns_out_to_lie_elsewhere(scene, pixels, engine, tiny_model, tmp_path):
    """The pixels are the same, and so is every block of the prediction."""
    path = tmp_path / "scene.tif"
    path.write_bytes(scene.read_bytes())
    workspace = engine.ingest(path, tmp_path / "ws")
    engine.predict(workspace, tiny_model)
    mosaic(workspace)
    engine.write_scene(path, *pixels, west=451_000)
    engine.ingest(path, tmp_path / "ws")
    engine.predict(workspace, tiny_model)
    assert mosaic(workspace).units_run == 2
    for name in ("classes", "probability"):
        with rasterio.open(f"{workspace}/products/{name}.tif") as product:
            assert product.bounds.left == 451_000


def test_a_prediction_of_other_pixels_is_refused(scene, pixels, engine, tiny_model, tmp_path):
    path = tmp_path / "scene.tif"
    path.write_bytes(scene.read_bytes())
    workspace = engine.ingest(path, tmp_path / "ws")
    engine.predict(workspace, tiny_model)
    image, valid = pixels
    engine.write_scene(path, 255 - image // 2, valid)
    engine.ingest(path, tmp_path / "ws")
    with pytest.raises(UnusableInput, match="is of other pixels than its cube's; run 'geoloom predict' again"):
        mosaic(workspace)


def test_what_is_no_product_is_refused(predicted):
    with pytest.raises(UnusableInput, match="no product 'castles'; choose from classes, probability"):
        mosaic(predicted, "classes", "castles")
    assert not (Path(predicted) / "products").exists()


def test_without_a_prediction_the_command_is_named(ingested):
    with pytest.raises(UnusableInput, match=r"There is no .*probability\.zarr; make it with 'geoloom predict'"):
        mosaic(ingested)


def test_a_killed_mosaic_leaves_no_half_product(predicted, engine, golden):
    engine.die(f"steps.mosaic({predicted!r}, progress=Dying())", units=3)
    assert not [name for name in times(predicted) if not name.startswith(".")]
    assert Ledger(open_store(predicted), "mosaic").done() == {}
    assert engine.products(predicted) == golden["products"]
    assert set(times(predicted)) == {*BESIDE, "classes.tif", "probability.tif"}, "what the killed one left is swept"
