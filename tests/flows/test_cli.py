"""The command line from outside: what it prints, what it writes, how it ends."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from infra.errors import UnusableInput
from tasks.label_params import LabelParams
from tasks.params import IngestParams, MosaicParams, PredictParams, TrainParams
from tasks.raster.gdal import rasterio
from tasks.raster.zarrays import open_group


@pytest.fixture(scope="module")
def mapped(geoloom, world, tiny_model, tmp_path_factory):
    """A world ingested, predicted with a tiny network, and mosaicked; the workspace and each step's report."""
    out = tmp_path_factory.mktemp("mapped") / "map"
    reports = {
        "ingest": geoloom("ingest", world.scene, "--out", out)[0],
        "predict": geoloom("predict", out, "--model", tiny_model)[0],
        "mosaic": geoloom("mosaic", out)[0],
        "evaluate": geoloom("evaluate", out, "--truth", world.truth)[0],
    }
    return out, reports


def test_every_step_reports_as_json(mapped):
    _, reports = mapped
    for name, report in reports.items():
        assert report["command"] == name
        assert report["status"] == "done"
        assert report["wall_s"] > 0
        assert 50 < report["peak_rss_mb"] < 2000
        assert all(Path(path).exists() for path in report["outputs"].values())
    assert reports["predict"]["tiles_run"] == reports["predict"]["tiles_total"] > 1
    assert reports["ingest"]["mpix"] == pytest.approx(0.589824)


def test_the_products_lie_where_the_scene_lies(mapped, world):
    out, _ = mapped
    with rasterio.open(world.scene) as scene, rasterio.open(out / "products" / "classes.tif") as product:
        assert product.crs == scene.crs
        assert product.transform == scene.transform
        assert product.shape == scene.shape
        assert product.nodata == 255
        tags = product.tags()
        assert tags["CLASS_NAMES"] == "other,building,road,land,vegetation,water"
        assert tags["GEOLOOM_SCENES"] == Path(world.scene).name
        assert tags["GEOLOOM_PARAMETERS"].startswith("tile 256, margin 8, ramp 8, ")
        assert ((product.read(1) == 255) == (scene.read(4) == 0)).all()
    with rasterio.open(out / "products" / "probability.tif") as product:
        planes = product.read()
        assert product.descriptions == ("other", "building", "road", "land", "vegetation", "water")
        assert product.scales == (1 / 254,) * 6
    valid = planes[0] != 255
    assert (planes[:, valid].sum(0, dtype=int) == 254).all()


def test_scores_agree_with_scikit_learn(mapped, world):
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, jaccard_score

    out, _ = mapped
    with rasterio.open(world.truth) as source:
        truth = source.read(1)
    with rasterio.open(out / "products" / "classes.tif") as source:
        prediction = source.read(1)
    known = (truth != 255) & (prediction != 255)
    truth, prediction = truth[known], prediction[known]
    scores = json.loads((out / "products" / "scores.json").read_text())
    present = np.unique(truth)
    assert np.allclose(
        [scores["iou"][c] for c in present], jaccard_score(truth, prediction, labels=present, average=None)
    )
    assert scores["mean_iou"] == pytest.approx(jaccard_score(truth, prediction, labels=present, average="macro"))
    assert scores["pixel_accuracy"] == pytest.approx(accuracy_score(truth, prediction))
    both = np.union1d(truth, prediction)
    table = np.array(scores["confusion"])[np.ix_(both, both)]
    assert (table == confusion_matrix(truth, prediction, labels=both)).all()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are predicted and never true
        assert scores["mean_recall"] == pytest.approx(balanced_accuracy_score(truth, prediction))


def test_vector_truth_collapses_what_it_cannot_tell(geoloom, mapped, world, tmp_path):
    out = shutil.copytree(mapped[0], tmp_path / "map")
    report, _ = geoloom("evaluate", out, "--truth", world.vectors)
    scores = report["scores"]
    assert scores["truth"][3:] == [0, 0, 0]
    assert scores["prediction"][3:] == [0, 0, 0]


def test_processes_and_lanes_give_the_same_bytes(geoloom, mapped, tiny_model, tmp_path):
    out, _ = mapped
    other = tmp_path / "other"
    shutil.copytree(out, other)
    for name in ("probability.zarr", "products"):
        shutil.rmtree(other / name)
    geoloom("predict", other, "--model", tiny_model, "--cluster", "processes", "--workers", "2")
    geoloom("mosaic", other)
    for name in ("classes.tif", "probability.tif"):
        assert (out / "products" / name).read_bytes() == (other / "products" / name).read_bytes()


def listing(folder):
    """All names below a folder but the lease's: who was at work there may be known."""
    names = [p.relative_to(folder) for p in folder.rglob("*")] if folder.exists() else []
    return sorted(n.name for n in names if n.parts[0] != "lease")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_text("no picture"), "is not a raster"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: None, "There is no file"),
    ],
    ids=["text", "empty", "missing"],
)
def test_what_is_no_raster_is_refused_and_leaves_nothing(geoloom, tmp_path, make, words):
    make(tmp_path / "scene.tif")
    report, said = geoloom("ingest", tmp_path / "scene.tif", "--out", tmp_path / "ws", code=2)
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert report["status"] == "failed"
    assert listing(tmp_path / "ws") == []


def test_a_scene_that_cannot_be_read_is_named_and_the_others_are_taken(geoloom, world, tmp_path):
    (tmp_path / "bad.tif").write_bytes(b"no raster")
    report, said = geoloom("ingest", world.scene, tmp_path / "bad.tif", "--out", tmp_path / "ws", code=3)
    assert report["status"] == "partial"
    assert str(tmp_path / "bad.tif") in report["left_out"][0]
    assert f"Left out: {tmp_path / 'bad.tif'} is not a raster" in said
    assert "workspace.json" in listing(tmp_path / "ws")


def test_a_truncated_raster_is_refused_and_makes_no_workspace(geoloom, world, tiny_model, tmp_path):
    """What was read of it stays for the rerun with the whole file, and is of no use before."""
    content = Path(world.scene).read_bytes()
    (tmp_path / "scene.tif").write_bytes(content[: len(content) * 6 // 10])
    _, said = geoloom("ingest", tmp_path / "scene.tif", "--out", tmp_path / "ws", code=2)
    assert "truncated or corrupt" in said
    assert "workspace.json" not in listing(tmp_path / "ws")
    _, said = geoloom("predict", tmp_path / "ws", "--model", tiny_model, code=2)
    assert "is not a workspace" in said
    (tmp_path / "scene.tif").write_bytes(content)
    report, _ = geoloom("ingest", tmp_path / "scene.tif", "--out", tmp_path / "ws")
    assert report["units_run"] == report["units_total"]


def test_a_model_of_other_bands_is_refused(geoloom, world, tiny_model, tmp_path):
    geoloom("ingest", world.scene, "--out", tmp_path / "ws", "--bands", "red")
    _, said = geoloom("predict", tmp_path / "ws", "--model", tiny_model, code=2)
    assert "3 bands red, green, blue" in said
    assert "1 bands red" in said
    assert "probability.zarr" not in listing(tmp_path / "ws")
    assert not [n for n in listing(tmp_path / "ws") if n.startswith(".part")]


def test_truth_of_another_place_is_refused(geoloom, mapped, tmp_path):
    from tasks.make_world import make_world  # noqa: F401 - the module must import without a cluster

    out, _ = mapped
    elsewhere = tmp_path / "elsewhere.tif"
    with rasterio.open(
        elsewhere, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(0.5, 0, 900_000, 0, -0.5, 5_000_000),
    ) as target:  # fmt: skip
        target.update_tags(CLASS_NAMES="other,building")
        target.write(np.ones((1, 8, 8), np.uint8))
    _, said = geoloom("evaluate", out, "--truth", elsewhere, code=2)
    assert "does not overlap the scene" in said


def test_unknown_class_names_are_refused(geoloom, mapped, world, tmp_path):
    out, _ = mapped
    _, said = geoloom("evaluate", out, "--truth", world.truth, "--truth-classes", "other,castle", code=2)
    assert "There is no class 'castle'" in said
    _, said = geoloom("ingest", world.scene, "--out", tmp_path / "ws", "--classes", "building,road", code=2)
    assert "does not begin with 'other'" in said


def test_an_unwritable_output_is_refused(geoloom, world, tmp_path):
    (tmp_path / "file").write_text("")
    _, said = geoloom("ingest", world.scene, "--out", tmp_path / "file" / "ws", code=2)
    assert "cannot be written" in said


def test_a_full_disk_is_named_and_leaves_nothing(geoloom, world, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=False).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    try:
        _, said = geoloom("ingest", world.scene, "--out", small / "ws", code=2)
        assert "make room" in said
        assert "cube.zarr" not in listing(small / "ws")
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


def test_a_workspace_of_another_version_is_refused(geoloom, mapped, tmp_path):
    out, _ = mapped
    document = json.loads((out / "workspace.json").read_text())
    (tmp_path / "workspace.json").write_text(json.dumps(document | {"format_version": 99}))
    for words in (("mosaic", tmp_path), ("predict", tmp_path)):
        _, said = geoloom(*words, code=2)
        assert "version 99" in said


def test_usage_errors_are_one_sentence(geoloom, mapped, tmp_path):
    for words, expected in (
        (("ingest", "a.tif", "--out", tmp_path, "--dtype", "foo"), "--dtype was 'foo'"),
        (("ingest", "a.tif"), "--out"),
        (("weave",), "Unknown command"),
        (("predict", mapped[0], "--cluster", "tcp://10.1.2.3:8786"), "use tls://"),
    ):
        _, said = geoloom(*words, code=2)
        assert expected in said
        assert len(said.strip().splitlines()) == 1


def test_labels_made_from_the_truth_are_not_scored_against_it(geoloom, world, tmp_path):
    ws = tmp_path / "ws"
    geoloom("ingest", world.scene, "--out", ws)
    report, _ = geoloom("label", ws, "--with", "truth", "--truth", world.truth)
    assert report["labelled"] == pytest.approx(1.0)
    assert open_group(ws / "labels.zarr", made_by="label").attrs["from_truth"]
    _, said = geoloom("evaluate", ws, "--truth", world.truth, "--what", "labels", code=2)
    assert "--ablation" in said
    report, _ = geoloom("evaluate", ws, "--truth", world.truth, "--what", "labels", "--ablation")
    assert report["scores"]["pixel_accuracy"] == 1.0


@pytest.mark.slow
def test_map_runs_the_prefect_flow_without_a_server(geoloom, world, tiny_model, tmp_path):
    home = {"PREFECT_HOME": str(tmp_path / "prefect")}
    words = ("map", world.scene, "--out", tmp_path / "map", "--model", tiny_model, "--evaluate.truth", world.truth)
    more = ("--mosaic.products", "classes,probability,uncertainty")
    report, _ = geoloom(*words, *more, **home)
    vectors = {name for name in report["outputs"] if name.startswith(("buildings.", "roads.", "roads_nodes."))}
    assert {"buildings.gpkg", "roads.gpkg"} <= vectors
    assert set(report["outputs"]) - vectors == {
        "workspace",
        "classes",
        "probability",
        "uncertainty",
        "scores",
        "picture",
    }
    assert all(Path(path).exists() for path in report["outputs"].values())
    _, said = geoloom("map", tmp_path / "nothing.tif", "--out", tmp_path / "other", code=2, **home)
    last = said.strip().splitlines()[-1]
    assert last.startswith("geoloom map: There is no file")
    assert not (tmp_path / "other" / "cube.zarr").exists()


@pytest.mark.parametrize(
    ("out", "label", "words"),
    [
        ("s3://maps/one", LabelParams(truth="truth.tif"), "'geoloom train s3://maps/one --out DIR'"),
        ("ws", None, "say how to label too"),
    ],
)
def test_a_map_that_cannot_be_is_refused_before_any_work(world, tmp_path, monkeypatch, out, label, words):
    from flows.map_scenes import map_scenes

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnusableInput, match="geoloom predict ws --plan"):
        map_scenes.fn("ws", IngestParams(scenes=(world.scene,)), predict=PredictParams(plan=True))
    with pytest.raises(UnusableInput, match=r"A map always has its probability; --mosaic\.products may add"):
        map_scenes.fn("ws", IngestParams(scenes=(world.scene,)), mosaic=MosaicParams(products=("classes",)))
    products = MosaicParams(products=("classes", "probability", "certainty"))
    with pytest.raises(UnusableInput, match="no product 'certainty'; --mosaic"):
        map_scenes.fn("ws", IngestParams(scenes=(world.scene,)), mosaic=products)
    with pytest.raises(UnusableInput, match=words):
        map_scenes.fn(out, IngestParams(scenes=(world.scene,)), label=label, train=TrainParams(steps=1))
    assert listing(tmp_path) == []


@pytest.mark.slow
def test_map_runs_in_a_bucket_as_in_a_folder(geoloom, mapped, world, tiny_model, bucket, tmp_path):
    """The bytes of both products are those of the folder."""
    from infra.store import open_store

    home, out = {"PREFECT_HOME": str(tmp_path / "prefect")}, f"s3://{bucket}/maps/one"
    words = ("map", world.scene, "--out", out, "--model", tiny_model, "--evaluate.truth", world.truth)
    report, _ = geoloom(*words, **home)
    assert report["outputs"]["picture"] == f"{out}/products/preview.png"
    store = open_store(out)
    for name in ("classes.tif", "probability.tif"):
        assert store.read(f"products/{name}") == (mapped[0] / "products" / name).read_bytes()
    scores = json.loads(store.read("products/scores.json"))
    assert scores == json.loads((mapped[0] / "products" / "scores.json").read_text())
    assert geoloom("status", out)[0]["steps"]["mosaic"] == {"done": 2, "short": 0, "total": 2}


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is missing: apt-get install gdal-bin")
@pytest.mark.parametrize("name", ["world", "vegas"])
def test_gdalinfo_sees_the_product_where_it_sees_the_scene(geoloom, name, mapped, world, tiny_model, tmp_path, request):
    out, scene = mapped[0], Path(world.scene)
    if name == "vegas":
        scene = request.getfixturevalue("data") / "spacenet" / "RGB-PanSharpen_AOI_2_Vegas_img0.tif"
        out = tmp_path / "vegas"
        geoloom("ingest", scene, "--out", out)
        geoloom("predict", out, "--model", tiny_model)
        geoloom("mosaic", out)

    def described(path):
        done = subprocess.run(["gdalinfo", "-json", path], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    before = described(scene)
    for product in ("classes.tif", "probability.tif"):
        after = described(out / "products" / product)
        assert after["size"] == before["size"]
        assert after["geoTransform"] == before["geoTransform"]
        assert after["stac"]["proj:epsg"] == before["stac"]["proj:epsg"]


def test_a_world_is_not_written_over_a_folder(geoloom, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("mine")
    _, said = geoloom("world", "--size", "256", "--out", tmp_path / "kept", code=2)
    assert "ends in .tif" in said
    assert (tmp_path / "kept" / "file").read_text() == "mine"


def test_a_missing_truth_is_named(geoloom, mapped, tmp_path):
    for what in ("map", "labels"):
        _, said = geoloom("evaluate", mapped[0], "--truth", tmp_path / "none.tif", "--what", what, code=2)
        assert "There is no" in said
