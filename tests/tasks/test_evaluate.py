"""An evaluation window by window says what the whole arrays say, and nothing of what nobody knows."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from tasks.evaluate import _named
from tasks.raster.classes import class_map
from tasks.truth_params import EvaluateParams

NAMES = "other,building,road,land,vegetation,water"


@pytest.fixture(scope="module")
def mapped(golden, tmp_path_factory):
    """A mapped workspace and a truth that differs from the map, with what nobody knows in it."""
    import rasterio

    folder = tmp_path_factory.mktemp("evaluate")
    shutil.copytree(golden["workspace"], folder / "ws", ignore=shutil.ignore_patterns("lease"))
    steps.mosaic(str(folder / "ws"), progress=Silent())
    with rasterio.open(folder / "ws" / "products" / "classes.tif") as source:
        prediction, profile = source.read(1), source.profile
    truth = np.roll(prediction, (3, 5), axis=(0, 1))
    truth[:, 1000:1400] = (truth[:, 1000:1400] + 1) % 6
    truth[2000:2100] = 255
    write_truth(folder / "truth.tif", truth, profile)
    return folder, prediction, truth, profile


def write_truth(path, truth, profile):
    import rasterio

    plain = {k: profile[k] for k in ("driver", "width", "height", "count", "dtype", "crs", "transform")}
    with rasterio.open(path, "w", **(plain | {"driver": "GTiff", "nodata": 255, "compress": "deflate"})) as file:
        file.write(truth, 1)
        file.update_tags(CLASS_NAMES=NAMES)


def evaluate(workspace, truth, **params):
    done = steps.evaluate(EvaluateParams(truth=str(truth), **params), str(workspace), progress=Silent())
    return json.loads(Path(done.report).read_text()), Path(done.page).read_text()


@pytest.fixture(scope="module")
def scored(mapped):
    return evaluate(mapped[0] / "ws", mapped[0] / "truth.tif")


def test_scores_by_pixels_are_scikit_learns(mapped, scored):
    _, prediction, truth, _ = mapped
    known = (truth != 255) & (prediction != 255)
    t, p = truth[known], prediction[known]
    document, _ = scored
    assert document["confusion"] == sk.confusion_matrix(t, p, labels=range(6)).tolist()
    assert document["pixel_accuracy"] == pytest.approx(sk.accuracy_score(t, p))
    rows = [row for row in document["confusion_by_truth"] if row[0] is not None]
    assert [sum(row) for row in rows] == pytest.approx([1] * len(rows))
    low, high = document["intervals"]["mean_iou"]
    assert low < document["mean_iou"] < high


def test_windows_cells_and_pieces_change_no_score(mapped, scored, monkeypatch):
    """Everything but the intervals, which are drawn from cells."""
    from tasks import evaluate as module

    monkeypatch.setattr(module, "WINDOW", 700)
    document, _ = evaluate(mapped[0] / "ws", mapped[0] / "truth.tif", cell=350)
    for name in document.keys() - {"intervals", "cells"}:
        assert document[name] == scored[0][name], name
    assert document["intervals"]["cells"] > scored[0]["intervals"]["cells"]


def test_cells_may_be_larger_than_what_is_read_at_once(mapped, scored):
    document, _ = evaluate(mapped[0] / "ws", mapped[0] / "truth.tif", cell=8192, also="pixels")
    assert document["confusion"] == scored[0]["confusion"]
    assert document["intervals"] == {
        "level": 0.95, "cells": 1, "mean_iou": None, "pixel_accuracy": None,
        **dict.fromkeys(("iou", "f1", "precision", "recall"), [None] * 6),
    }  # fmt: skip


def test_every_cell_has_its_scores(mapped, scored):
    _, prediction, truth, _ = mapped
    document, _ = scored
    known = (truth != 255) & (prediction != 255)
    cells = document["cells"]
    side = cells["side"]
    assert sum(cell["pixels"] for cell in cells["scores"]) == np.sum(document["confusion"])
    for cell in cells["scores"][::3]:
        place = slice(cell["row"], cell["row"] + side), slice(cell["column"], cell["column"] + side)
        t, p = (ids[place][known[place]] for ids in (truth, prediction))
        assert (cell["pixels"], cell["wrong"]) == (len(t), int((t != p).sum()))
        there = [n for n in range(6) if (t == n).any()]
        assert cell["mean_iou"] == pytest.approx(sk.jaccard_score(t, p, labels=there, average="macro"))


def test_so_many_cells_as_would_burden_memory_become_larger(mapped, scored, monkeypatch):
    from tasks import evaluate as module

    monkeypatch.setattr(module, "CELLS", 9)
    document, _ = evaluate(mapped[0] / "ws", mapped[0] / "truth.tif", also="pixels", cell=64)
    assert 2 < len(document["cells"]["scores"]) <= 9
    assert document["confusion"] == scored[0]["confusion"]


def test_what_nobody_knows_does_not_count(mapped, scored):
    """Neither what the truth says where the scene has no data, nor what the map says where the truth is silent."""
    folder, prediction, truth, profile = mapped
    other = truth.copy()
    other[prediction == 255] = np.random.default_rng(0).integers(0, 6, int((prediction == 255).sum()))
    write_truth(folder / "other.tif", other, profile)
    document, _ = evaluate(folder / "ws", folder / "other.tif")
    for name in document.keys() - {"truth"}:
        assert document[name] == scored[0][name], name


def whole_objects(mapped, number, confidence=None):
    """The scores of a class's objects, of the whole arrays taken at once."""
    from tasks.raster.scores.instance_scores import score_instances
    from tasks.raster.scores.instances import Instances

    _, prediction, truth, _ = mapped
    objects = Instances(truth.shape[1])
    everything, unknown = tuple(slice(0, n) for n in truth.shape), (truth == 255) | (prediction == 255)
    objects.add(everything, truth == number, prediction == number, ignored=unknown, confidence=confidence)
    return score_instances(objects.met()).to_json()


def test_objects_and_roads_are_scored_and_only_where_the_truth_tells_them(mapped, scored):
    """Those of the whole arrays, taken at once."""
    import rasterio

    from tasks.raster.scores.boundary import Boundaries
    from tasks.raster.scores.calibration import Calibration
    from tasks.raster.scores.precision_recall import PrecisionRecall
    from tasks.raster.scores.relaxed import count_relaxed

    document, _ = scored
    folder, prediction, truth, profile = mapped
    whole, unknown = tuple(slice(0, n) for n in truth.shape), (truth == 255) | (prediction == 255)
    with rasterio.open(folder / "ws" / "products" / "probability.tif") as source:
        planes = source.read()
    assert document["objects"] == whole_objects(mapped, 1, planes[1]) | {"class": "building"}
    assert document["objects"]["truth"] > 10

    roads = (np.where(unknown, 255, ids == 2).astype(np.uint8) for ids in (truth, prediction))
    assert document["roads"]["relaxed"] == count_relaxed(*roads, slack=3).scores().to_json()
    assert document["roads"]["unit"] == "m"
    assert 0 <= document["roads"]["apls"]["apls"] < 1
    boundaries = Boundaries(6, truth.shape, distance=2)
    boundaries.add(whole, truth, prediction)
    assert document["boundaries"] == boundaries.scores().to_json()
    calibration = Calibration(6)
    calibration.add(planes, truth)
    assert document["calibration"] == calibration.scores().to_json()
    curves = PrecisionRecall(6)
    curves.add(planes, truth)
    occur = [n for n in range(6) if (truth[(planes[0] != 255) & (truth != 255)] == n).any()]
    assert list(document["curves"].values()) == [curves.curves()[n].to_json() for n in occur]

    write_truth(folder / "land.tif", np.where(truth == 255, 255, (truth == 3).astype(np.uint8)), profile)
    with rasterio.open(folder / "land.tif", "r+") as file:
        file.update_tags(CLASS_NAMES="other,land")
    document, _ = evaluate(folder / "ws", folder / "land.tif")
    assert "objects" not in document
    assert "roads" not in document
    assert np.sum(document["confusion"]) == np.sum(scored[0]["confusion"])


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rasterio's features and warp
def test_a_truth_in_another_crs_and_one_of_vectors_are_brought_onto_the_grid(mapped, scored):
    import geopandas
    import rasterio
    import rasterio.features
    import rasterio.warp
    import shapely.geometry

    folder, _, truth, profile = mapped
    height, width = truth.shape
    bounds = rasterio.transform.array_bounds(height, width, profile["transform"])
    transform = rasterio.transform.from_bounds(
        *rasterio.warp.transform_bounds(profile["crs"], "EPSG:4326", *bounds), width, height
    )
    turned = np.full((height, width), 255, np.uint8)
    rasterio.warp.reproject(
        truth, turned, src_transform=profile["transform"], src_crs=profile["crs"], dst_transform=transform,
        dst_crs="EPSG:4326", resampling=rasterio.enums.Resampling.nearest, src_nodata=255, dst_nodata=255,
    )  # fmt: skip
    write_truth(
        folder / "degrees.tif", turned,
        profile | {"crs": "EPSG:4326", "transform": transform, "width": width, "height": height},
    )  # fmt: skip
    document, _ = evaluate(folder / "ws", folder / "degrees.tif", also="pixels")
    assert document["pixel_accuracy"] == pytest.approx(scored[0]["pixel_accuracy"], abs=0.02)

    shapes = []
    for top in range(0, height, 256):  # in squares: one polygon over the whole scene would be burnt for every window
        for left in range(0, width, 256):
            part = truth[top : top + 256, left : left + 256]
            moved = profile["transform"] @ rasterio.Affine.translation(left, top)
            drawn = rasterio.features.shapes(part, part == 1, transform=moved)
            shapes += [(shapely.geometry.shape(shape), "building") for shape, _ in drawn]
    frame = geopandas.GeoDataFrame(
        {"class": [c for _, c in shapes]}, geometry=[s for s, _ in shapes], crs=profile["crs"]
    )
    frame.to_crs("EPSG:4326").to_file(folder / "truth.gpkg")
    document, _ = evaluate(folder / "ws", folder / "truth.gpkg", also="objects")
    by_raster = scored[0]["confusion"]
    unsaid = sum(sum(row) for row in by_raster)
    assert document["confusion"][1][1] == pytest.approx(by_raster[1][1], rel=0.02)
    assert np.sum(document["confusion"]) >= unsaid, "vectors are silent nowhere"
    assert document["objects"]["truth"] >= scored[0]["objects"]["truth"], "polygons that touch at a corner are two"


def test_an_unknown_score_is_refused(mapped):
    with pytest.raises(UnusableInput, match="no scores 'beauty'; choose of boundaries, objects"):
        evaluate(mapped[0] / "ws", mapped[0] / "truth.tif", also="roads,beauty")


def test_objects_and_roads_may_have_other_names(mapped, scored):
    words = {"also": "objects,roads", "object_class": "water", "road_class": "building"}
    document, page = evaluate(mapped[0] / "ws", mapped[0] / "truth.tif", **words)
    assert (document["objects"]["class"], document["roads"]["class"]) == ("water", "building")
    assert (scored[0]["objects"]["class"], scored[0]["roads"]["class"]) == ("building", "road")
    assert document["objects"]["panoptic_quality"] == whole_objects(mapped, 5)["panoptic_quality"]
    assert document["objects"]["truth"] == whole_objects(mapped, 5)["truth"]
    assert "<td>water</td>" in page
    assert '<th scope="col">building</th><th scope="col">precision</th>' in page
    with pytest.raises(UnusableInput, match="no 'pool' to score objects of; name one of them with --object-class"):
        evaluate(mapped[0] / "ws", mapped[0] / "truth.tif", object_class="pool")


def test_a_map_without_buildings_and_roads_says_that_none_are_scored():
    texts = []

    class Notes(Silent):
        def note(self, text):
            texts.append(text)

    _named(EvaluateParams(truth="t.tif"), class_map(["other", "house", "road"]), progress=Notes())
    assert texts == [
        "The map's classes are other, house, road: there is no 'building' to score objects of; "
        "--object-class names another."
    ]


def test_pixels_alone_go_without_probabilities(mapped, scored):
    document, page = evaluate(mapped[0] / "ws", mapped[0] / "truth.tif", also="pixels")
    assert document["confusion"] == scored[0]["confusion"]
    assert not document.keys() & {"boundaries", "objects", "roads", "curves", "calibration"}
    assert "Roads as a network" not in page


@pytest.mark.parametrize("kind", ["boundaries", "objects", "roads", "curves", "calibration"])
def test_each_kind_alone_is_what_it_is_among_all(mapped, scored, kind):
    document, _ = evaluate(mapped[0] / "ws", mapped[0] / "truth.tif", also=kind)
    kinds = {"boundaries", "objects", "roads", "curves", "calibration"}
    assert document.keys() & kinds == {kind}
    assert document[kind] == scored[0][kind]


def test_a_truth_that_names_no_road_judges_no_road(mapped):
    """Without `other` it says nothing of what its classes do not cover."""
    import rasterio

    folder, _, truth, profile = mapped
    write_truth(folder / "houses.tif", np.where(truth == 1, 1, 255).astype(np.uint8), profile)
    with rasterio.open(folder / "houses.tif", "r+") as file:
        file.update_tags(CLASS_NAMES="ignore,building")
    document, _ = evaluate(folder / "ws", folder / "houses.tif", also="objects,roads")
    assert "roads" not in document
    assert document["objects"]["truth"] > 10


def test_the_page_needs_no_other_file(mapped, scored):
    _, page = scored
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http://" not in page.replace("http://www.w3.org", "")
    for word in ("Side by side", "What is taken for what", "Where it is worst", "Objects one by one",
                 "Roads as a network", "Other thresholds",
                 "Can the probabilities be believed?", "scene.tif", "truth.tif"):  # fmt: skip
        assert word in page


def test_the_pictures_can_be_swiped_in_a_browser(mapped, scored, tmp_path):
    """The upper picture is cut where the range says; a page of a real browser tells its style."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    _, page = scored
    asking = """<script>
      const range = document.querySelector('.swipe input'); range.value = 25; range.dispatchEvent(new Event('input'));
      const right = document.getElementById('right'); right.value = 'wrong'; right.dispatchEvent(new Event('input'));
      const [below, above] = document.querySelectorAll('.swipe img');
      document.title = [above.style.clipPath, below.src == document.getElementById('picture-wrong').src,
        above.naturalWidth > 0].join('|');
    </script>"""
    (tmp_path / "page.html").write_text(page + asking)
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom",
         (tmp_path / "page.html").as_uri()], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert re.search(r"<title>inset\(0(px)? 75% 0(px)? 0(px)?\)\|true\|true</title>", done.stdout), done.stderr[-500:]


def test_labels_without_ids_are_scored_as_objects_by_their_regions(mapped, tmp_path):
    from tasks.label_params import LabelParams
    from tasks.params import RunParams
    from tasks.raster.scores.instance_scores import score_instances
    from tasks.raster.scores.instances import Instances

    folder, prediction, truth, profile = mapped
    shutil.copytree(folder / "ws", tmp_path / "ws", ignore=shutil.ignore_patterns("lease", "probability.zarr"))
    other = np.roll(truth, 2, axis=1)
    write_truth(tmp_path / "labels.tif", other, profile)
    params = LabelParams(method="truth", truth=str(tmp_path / "labels.tif"))
    steps.label(params, str(tmp_path / "ws"), run=RunParams(device="cpu"), progress=Silent())
    document, page = evaluate(tmp_path / "ws", folder / "truth.tif", what="labels", ablation=True)
    assert document["what"] == "labels"
    regions = Instances(truth.shape[1])  # a class raster gives no ids: what hangs together is one building
    known = (truth != 255) & (other != 255) & (prediction != 255)  # 255 where the scene has no data
    regions.add(tuple(slice(0, n) for n in truth.shape), truth == 1, other == 1, ignored=~known)
    assert document["objects"]["prediction"] == score_instances(regions.met()).prediction > 10
    assert document["mean_iou"] > 0.3
    assert "Labels against truth" in page
    assert open_store(str(tmp_path / "ws")).exists("products/label_evaluation.html")


def test_scenes_of_one_map_are_scored_apart(engine, tiny_model, tmp_path):
    """Two scenes side by side; the truth of the second is wrong everywhere."""
    import rasterio

    from flows.steps import ingest
    from tasks.params import ClusterParams, IngestParams

    rng = np.random.default_rng(0)
    for n in range(2):
        image = rng.integers(1, 255, (3, 600, 600), dtype=np.uint8)
        engine.write_scene(tmp_path / f"s{n}.tif", image, np.ones((600, 600), bool), west=450_000 + 300 * n)
    ws = str(tmp_path / "ws")
    engine.write_scene(tmp_path / "far.tif", image, np.ones((600, 600), bool), west=460_000)  # beyond the bounds
    paths = tuple(str(tmp_path / f"s{n}.tif") for n in range(2))
    with rasterio.open(paths[0]) as first, rasterio.open(paths[1]) as second:
        bounds = (first.bounds.left, first.bounds.bottom, second.bounds.right, first.bounds.top)
    params = IngestParams(scenes=(*paths, str(tmp_path / "far.tif")), bounds=bounds)
    ingest(params, ws, run=ClusterParams(), progress=Silent())
    engine.predict(ws, tiny_model)
    steps.mosaic(ws, progress=Silent())
    with rasterio.open(Path(ws) / "products" / "classes.tif") as source:
        truth, profile = source.read(1), source.profile
    assert truth.shape == (600, 1200)
    truth[:, 600:] = (truth[:, 600:] + 1) % 6
    write_truth(tmp_path / "truth.tif", truth, profile)
    document, page = evaluate(ws, tmp_path / "truth.tif", also="pixels")
    for path, share in zip(paths, (1, 0), strict=True):
        assert document["scenes"][path]["pixel_accuracy"] == share
        assert sum(document["scenes"][path]["truth"]) == 600 * 600, "cells end where a scene ends"
        assert document["scenes"][path]["intervals"]["cells"] == 4
    assert "s1.tif" in page


def copied(mapped, folder):
    """The workspace, to be spoilt."""
    return shutil.copytree(mapped[0] / "ws", folder / "ws", ignore=shutil.ignore_patterns("lease"))


def test_a_page_that_cannot_be_drawn_leaves_the_old_scores_too(mapped, scored, tmp_path, monkeypatch):
    """Scores beside a page that tells of others would be believed."""
    workspace = copied(mapped, tmp_path)
    evaluate(workspace, mapped[0] / "truth.tif", also="pixels")
    products = [workspace / "products" / name for name in ("scores.json", "evaluation.html")]
    before = [path.read_bytes() for path in products]

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.evaluate.evaluation_page", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate(workspace, mapped[0] / "truth.tif", also="pixels", cell=256)
    assert [path.read_bytes() for path in products] == before


def test_a_map_that_another_tool_has_written_or_that_is_damaged(mapped, tmp_path):
    workspace = copied(mapped, tmp_path)
    path = workspace / "products" / "classes.tif"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match=r"classes\.tif cannot be read in rows .* run 'geoloom mosaic' again"):
        evaluate(workspace, mapped[0] / "truth.tif", also="pixels")
    path.unlink()
    write_truth(path, mapped[1], mapped[3])
    with pytest.raises(UnusableInput, match="was not written by 'geoloom mosaic'"):
        evaluate(workspace, mapped[0] / "truth.tif", also="pixels")


def test_a_truth_that_is_silent_about_classes_is_said_to_be(mapped, tmp_path):
    import geopandas
    import shapely
    from rasterio.transform import array_bounds

    folder, _, truth, profile = mapped
    west, south, _, _ = array_bounds(*truth.shape, profile["transform"])
    house = shapely.box(west + 20, south + 20, west + 60, south + 60)
    geopandas.GeoDataFrame({"class": ["building"]}, geometry=[house], crs=profile["crs"]).to_file(tmp_path / "b.gpkg")

    texts = []

    class Notes(Silent):
        def note(self, text):
            texts.append(text)

    steps.evaluate(
        EvaluateParams(truth=str(tmp_path / "b.gpkg"), also=("pixels",)), str(folder / "ws"), progress=Notes()
    )
    assert any("tells of no road, land, vegetation, water here" in text for text in texts)
