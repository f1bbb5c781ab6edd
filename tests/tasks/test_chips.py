"""Data sets of chips, from workspaces to files: what numpy, rasterio and pyarrow make of them, kills, and bad input."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from PIL import Image

import tasks.dataset_chips as step
from flows import dataset_steps, steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from models.balance import class_weights
from tasks.dataset_params import ChipSetParams
from tasks.params import ClusterParams, IngestParams
from tasks.raster.gdal import rasterio
from tasks.raster.labels import change_group, create_labels, set_cube
from tasks.workspace import open_workspace

CHIP, SHAPE = 64, (450, 391)
NAMES = ("other", "building", "road")
ROOT = Path(__file__).resolve().parents[2]
FEW = {"chip": CHIP, "splits": "0.6,0.2,0.2"}


def make_workspace(folder, *, seed=0, west=450_000.0, crs="EPSG:32632", names=NAMES, dtype="uint8", bands=3, scene=None,
                   **ingest):  # fmt: skip
    """A labelled workspace with holes; gives its image (band, y, x), valid and label (y, x)."""
    rng = np.random.default_rng(seed)
    valid = np.ones(SHAPE, bool)
    valid[100:190, 130:200] = False
    small = rng.integers(1, 250, (bands, SHAPE[0] // 5 + 1, SHAPE[1] // 5 + 1))
    image = small.repeat(5, axis=1).repeat(5, axis=2)[:, : SHAPE[0], : SHAPE[1]] + rng.integers(0, 5, (bands, *SHAPE))
    image = np.where(valid, image * (200 if dtype == "uint16" else 1), 0).astype(dtype)
    path = Path(scene or f"{folder}.tif")
    if not path.exists():
        place = {} if crs is None else {"crs": crs, "transform": Affine(0.5, 0, west, 0, -0.5, 5_400_000)}
        profile = {
            "driver": "GTiff",
            "count": bands,
            "height": SHAPE[0],
            "width": SHAPE[1],
            "dtype": dtype,
            "nodata": 0,
        }
        with rasterio.open(path, "w", **profile, **place) as file:
            file.write(image)
    steps.ingest(IngestParams(scenes=(str(path),), **ingest), str(folder), run=ClusterParams(), progress=Silent())
    store = open_store(folder)
    cube = open_workspace(store).cube()
    label = (small[0].repeat(5, axis=0).repeat(5, axis=1)[: SHAPE[0], : SHAPE[1]] % len(names)).astype(np.uint8)
    label[300:310] = 255
    place = store.zarr("labels.zarr")
    create_labels(place, cube.grid, classes=names, made_by="hand", sources=[], from_truth=False)
    group = change_group(place)
    rows, cols = cube.grid.shape
    group["label"][:] = label[:rows, :cols]
    group["confidence"][:] = np.where(label == 255, 255, 127)[:rows, :cols]
    set_cube(place, cube.fingerprint)
    return image, valid, np.where(valid, label, 255).astype(np.uint8)


def chips(out, *workspaces, **params):
    return dataset_steps.make_chips(ChipSetParams(**FEW | params), [str(w) for w in workspaces], out, progress=Silent())


def check(*paths):
    return dataset_steps.check_chips(list(paths), progress=Silent())


def table_of(folder):
    return pq.read_table(folder / "chips.parquet").to_pylist()


def digests(folder):
    """What stands in a data set's folder, and the bytes."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.parent.name != "lease"
    }


@pytest.fixture(scope="module")
def north(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "north"
    return folder, *make_workspace(folder)


@pytest.fixture(scope="module")
def south(tmp_path_factory):
    """Elsewhere; its classes are the same in another order."""
    folder = tmp_path_factory.mktemp("scenes") / "south"
    return folder, *make_workspace(folder, seed=1, west=460_000.0, names=("other", "road", "building"))


@pytest.fixture(scope="module")
def made(north, tmp_path_factory):
    out = tmp_path_factory.mktemp("set") / "set"
    done = chips(out, north[0])
    assert not done.kept
    return out


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_chips_are_the_scene_and_lie_where_it_does(made, north):
    _, image, valid, label = north
    rows = table_of(made)
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    for row in rows:
        window = np.s_[row["row"] : row["row"] + CHIP, row["column"] : row["column"] + CHIP]
        with rasterio.open(made / row["image"]) as file:
            data = file.dataset_mask() > 0
            np.testing.assert_array_equal(data, valid[window])
            np.testing.assert_array_equal(file.read(), image[:, *window])
            assert (file.descriptions, file.crs.to_epsg()) == (("red", "green", "blue"), 32632)
            corner = 450_000 + row["column"] / 2, 5_400_000 - row["row"] / 2
            assert file.transform == Affine(0.5, 0, corner[0], 0, -0.5, corner[1])
            assert shapely.from_wkb(row["geometry"]).equals(shapely.box(*file.bounds))
        with rasterio.open(made / row["label"]) as file:
            found = file.read(1)
            assert (file.nodata, file.tags()["CLASS_NAMES"]) == (255, "other,building,road")
            assert file.colormap(1)[1][:3] == (214, 69, 65)
        np.testing.assert_array_equal(found, label[window])
        with Image.open(made / row["label"]) as picture:
            np.testing.assert_array_equal(np.asarray(picture), label[window], "ids, and no colours")
        assert [row[f"pixels_{name}"] for name in NAMES] == np.bincount(found[found < 255], minlength=3).tolist()
        assert row["valid"] == valid[window].mean()
        assert row["labelled"] == (found != 255).mean() >= 0.5
        assert row["confidence"] == pytest.approx(127 / 254)


def test_the_document_says_what_numpy_finds(made, north):
    _, image, valid, label = north
    document, rows = json.loads((made / "dataset.json").read_text()), table_of(made)
    taught = np.zeros(SHAPE, bool)
    for split, told in document["splits"].items():
        mine = np.zeros(SHAPE, bool)
        for row in rows:
            if row["split"] == split:
                mine[row["row"] : row["row"] + CHIP, row["column"] : row["column"] + CHIP] = True
        counts = np.bincount(label[mine & (label < 255)], minlength=3)
        assert list(told["pixels"].values()) == counts.tolist()
        assert told["chips"] == mine.sum() / CHIP**2
        if split == "train":
            taught = mine & valid
            weights = class_weights(counts.tolist()).tolist()
            assert list(document["class_weights"].values()) == pytest.approx(weights, abs=1e-6)
    for plane, (name, told) in zip(image, document["statistics"]["bands"].items(), strict=True):
        values = plane[taught].astype(int)
        assert (told["count"], told["minimum"], told["maximum"]) == (len(values), values.min(), values.max()), name
        assert told["mean"] == values.sum() / len(values)
        assert told["std"] == pytest.approx(values.std(), rel=1e-12)
        assert told["percentiles"]["98"] == np.percentile(values, 98, method="inverted_cdf")


def test_a_clean_set_passes_and_is_made_once(made, north):
    done = check(made)
    assert done.chips == {
        split: n["chips"] for split, n in json.loads((made / "dataset.json").read_text())["splits"].items()
    }
    assert (done.without_place, check(made / "chips.parquet")) == (0, done)
    before = digests(made)
    assert chips(made, north[0]).kept
    assert digests(made) == before
    assert not {"unfinished.json", "ledger"} & {p.split("/")[0] for p in before}


def test_the_same_bytes_again_and_others_with_another_seed(made, north, tmp_path):
    chips(tmp_path / "again", north[0])
    assert digests(tmp_path / "again") == digests(made)
    chips(tmp_path / "other", north[0], seed=1)
    assert [r["split"] for r in table_of(tmp_path / "other")] != [r["split"] for r in table_of(made)]


def test_the_page_needs_nothing_else_and_tells_all(made):
    page = (made / "index.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("<img") == page.count("alt=")
    for text in ("building", "train", "val", "test", "find out before use", "450"):
        assert text in page
    with Image.open(made / "classes.png") as chart:
        assert chart.width == 1500


KILLED = """
import os, signal
from pathlib import Path
import tasks.dataset_chips as step
from flows import dataset_steps
from infra.progress import Silent
from tasks.dataset_params import ChipSetParams

left, write = [60], step.write_chip

def dying(*args, **kwargs):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*args, **kwargs)

step.write_chip = dying
params = ChipSetParams(chip=64, splits="0.6,0.2,0.2")
dataset_steps.make_chips(params, {workspaces!r}, Path({out!r}), progress=Silent())
"""


def test_what_a_killed_run_wrote_is_kept(north, south, tmp_path, monkeypatch):
    """It dies in the second of two units; the first is not written again."""
    pair = [str(north[0]), str(south[0])]
    chips(tmp_path / "whole", *pair)
    names = [row["workspace"] for row in table_of(tmp_path / "whole")]
    assert names.count("north") < 60 < len(names), "else the kill is elsewhere"
    out = tmp_path / "set"
    code = KILLED.format(workspaces=pair, out=str(out))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / "dataset.json").exists()
    for path in [p for p in out.rglob("*.tif") if not p.name.startswith(".")]:
        with rasterio.open(path) as file:
            file.read()
    written, write = [], step.write_chip
    monkeypatch.setattr(step, "write_chip", lambda path, *a, **k: (written.append(path.name), write(path, *a, **k)))
    chips(out, *pair)
    assert len(written) == names.count("south")
    assert all(name.startswith("south") for name in written)
    assert digests(out) == digests(tmp_path / "whole")


def test_whole_scenes_to_a_split_and_classes_by_name(north, south, tmp_path):
    chips(tmp_path / "set", north[0], south[0], by="scenes", splits="0.5,0.5")
    rows = table_of(tmp_path / "set")
    by_scene = {name: {r["split"] for r in rows if r["workspace"] == name} for name in ("north", "south")}
    assert sorted(map(list, by_scene.values())) == [["train"], ["val"]]
    for row in rows:
        if row["workspace"] == "south":
            label = south[3][row["row"] : row["row"] + CHIP, row["column"] : row["column"] + CHIP]
            counts = [row["pixels_building"], row["pixels_road"]]
            assert counts == [(label == 2).sum(), (label == 1).sum()], "building is 2 in the south, and 1 in the north"
    check(tmp_path / "set")


@pytest.mark.parametrize("why", ["overlap", "file", "pixels"])
def test_workspaces_of_the_same_place_stay_together(why, north, tmp_path):
    second = tmp_path / "second"
    if why == "overlap":
        make_workspace(second, seed=5, west=450_000.0 + 380 / 2)  # eleven columns of both
    elif why == "file":  # no CRS: nothing but the path tells
        for n, bounds in enumerate([(0, 0, 391, 200), (0, 220, 391, 450)]):
            make_workspace(tmp_path / f"part{n}", crs=None, scene=tmp_path / "one.tif", bounds=bounds)
    else:
        make_workspace(second, crs=None)
        make_workspace(tmp_path / "third", crs=None)
    pair = {"overlap": (north[0], second), "file": (tmp_path / "part0", tmp_path / "part1"),
            "pixels": (second, tmp_path / "third")}[why]  # fmt: skip
    for by in ("scenes", "blocks"):
        with pytest.raises(UnusableInput, match=r"1 separate part.* 2 splits"):
            chips(tmp_path / "set", *pair, by=by, splits="0.5,0.5")
    assert not (tmp_path / "set").exists()


def test_neighbours_that_do_not_overlap_keep_the_gap(north, tmp_path):
    make_workspace(tmp_path / "east", seed=7, west=450_000.0 + 391 / 2)
    chips(tmp_path / "set", north[0], tmp_path / "east", by="scenes", splits="0.5,0.5")
    shapes = {s: shapely.union_all([shapely.from_wkb(r["geometry"]) for r in table_of(tmp_path / "set")
                                    if r["split"] == s]) for s in ("train", "val")}  # fmt: skip
    assert shapely.distance(*shapes.values()) >= CHIP / 2


def test_scenes_without_a_place_and_of_other_dtypes(tmp_path):
    image, _, _ = make_workspace(tmp_path / "scene", crs=None, dtype="uint16", bands=4)
    chips(tmp_path / "set", tmp_path / "scene")
    row = table_of(tmp_path / "set")[0]
    with rasterio.open(tmp_path / "set" / row["image"]) as file:
        window = np.s_[:, row["row"] : row["row"] + CHIP, row["column"] : row["column"] + CHIP]
        np.testing.assert_array_equal(file.read(), image[window])
        assert file.crs is None
    assert check(tmp_path / "set").without_place == 0, "the table knows the windows"


def first(folder, split):
    return next(row for row in table_of(folder) if row["split"] == split)


def test_planted_leaks_are_found(copy, north):
    """A copy, one that was recompressed, and a window that was shifted, each into another split."""
    train, val = first(copy, "train"), first(copy, "val")
    planted = copy / "images" / "val" / "planted.tif"
    shutil.copy(copy / train["image"], planted)
    with pytest.raises(
        UnusableInput, match=rf"{train['name']}.tif \(train\) and .*planted.tif \(val\) have the same pix"
    ):
        check(copy)
    with rasterio.open(copy / train["image"]) as file:
        pixels = file.read().transpose(1, 2, 0)
    planted.unlink()
    Image.fromarray(pixels).save(planted.with_suffix(".jpg"), quality=70)
    with pytest.raises(UnusableInput, match=r"\(train\) and .*planted.jpg \(val\) look the same"):
        check(copy)
    planted.with_suffix(".jpg").unlink()
    _, image, _, _ = north
    row, col = train["row"] + 20, min(train["column"] + 9, SHAPE[1] - CHIP)
    place = Affine(0.5, 0, 450_000 + col / 2, 0, -0.5, 5_400_000 - row / 2)
    with rasterio.open(planted, "w", driver="GTiff", count=3, height=CHIP, width=CHIP, dtype="uint8", crs="EPSG:32632",
                       transform=place) as file:  # fmt: skip
        file.write(image[:, row : row + CHIP, col : col + CHIP])
    with pytest.raises(UnusableInput, match=r"planted.tif \(val\) overlap on the ground"):
        check(copy)
    planted.unlink()
    check(copy)
    shutil.copy(copy / train["image"], copy / val["image"])
    with pytest.raises(UnusableInput, match="The splits leak"):
        check(copy)


def test_two_sets_of_one_scene_with_other_seeds_leak(made, north, tmp_path):
    chips(tmp_path / "other", north[0], seed=3)
    with pytest.raises(UnusableInput, match=r"have the same pixels, and .* more pairs do"):
        check(made / "chips.parquet", tmp_path / "other" / "chips.parquet")


def test_a_foreign_set_is_checked(tmp_path):
    rng = np.random.default_rng(0)
    how = {"images": Image.Resampling.BICUBIC, "masks": Image.Resampling.NEAREST}
    for n in range(12):
        split = ("train", "valid", "test")[n % 3]
        for what, pixels in (
            ("images", rng.integers(0, 256, (24, 24, 3))),
            ("masks", 255 * np.eye(7)[..., None].repeat(3, 2)),
        ):
            folder = tmp_path / "set" / split / what
            folder.mkdir(parents=True, exist_ok=True)
            large = Image.fromarray(pixels.astype(np.uint8)).resize((96, 96), how[what])
            large.save(folder / f"{n}.png")
    done = check(tmp_path / "set")
    assert (done.chips, done.without_place) == ({"test": 4, "train": 4, "val": 4}, 12)
    with Image.open(tmp_path / "set/train/images/0.png") as picture:
        picture.save(tmp_path / "set/test/images/copy.jpg", quality=60)
    with pytest.raises(UnusableInput, match=r"copy.jpg \(test\).* and .*0.png \(train\) look the same"):
        check(tmp_path / "set")


def test_shifted_windows_of_one_picture_leak_where_nothing_says_their_place(tmp_path):
    """They share 56 % of their pixels, and their hashes differ."""
    small = np.random.default_rng(1).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((800, 800), Image.Resampling.BICUBIC)
    for split, x, y in (("train", 10, 20), ("val", 74, 84), ("test", 500, 500)):
        (tmp_path / "set" / split).mkdir(parents=True)
        large.crop((x, y, x + 256, y + 256)).save(tmp_path / "set" / split / "a.png")
    with pytest.raises(UnusableInput, match=r"share pixels \(64 rows and 64 columns apart\)"):
        check(tmp_path / "set")


def test_damage_is_told(copy, tmp_path):
    row = first(copy, "train")
    whole = (copy / row["image"]).read_bytes()
    (copy / row["image"]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnusableInput, match=rf"{row['name']}.tif .*(damaged|not a raster)"):
        check(copy)
    (copy / row["image"]).unlink()
    with pytest.raises(UnusableInput, match=rf"{row['name']}.tif is missing"):
        check(copy)
    (copy / "chips.parquet").write_bytes((copy / "chips.parquet").read_bytes()[:500])
    with pytest.raises(UnusableInput, match=r"chips\.parquet is damaged"):
        check(copy)
    with pytest.raises(UnusableInput, match="There is no file"):
        check(tmp_path / "nowhere")
    with pytest.raises(UnusableInput, match="holds 0 chips of no split"):
        check(copy / "lease")


def test_bad_input_is_one_sentence(north, made, tmp_path):
    out = tmp_path / "set"

    def refused(*workspaces, match, into=out, **params):
        with pytest.raises(UnusableInput, match=match):
            chips(into, *workspaces, **params)

    refused(match="No workspace was given")
    refused(tmp_path / "nowhere", match="is not a workspace")
    make_workspace(tmp_path / "grey", bands=1, west=470_000.0)
    refused(north[0], tmp_path / "grey", match=r"has the bands .* and .* has red, green, blue")
    make_workspace(tmp_path / "wet", names=(*NAMES, "water"), west=480_000.0)
    refused(north[0], tmp_path / "wet", match=r"has the classes .*water and")
    refused(north[0], match="450 x 391 pixels and a chip 512 x 512", chip=512)
    refused(north[0], match=r"separate part.* 3 splits|none is left for", chip=190)
    shutil.copytree(north[0], tmp_path / "unlabelled", ignore=shutil.ignore_patterns("labels.zarr"))
    refused(tmp_path / "unlabelled", match="label")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text.txt").write_text("mine")
    refused(north[0], match="is not an empty folder", into=tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["text.txt"]
    before = digests(made)
    refused(north[0], match="data set of other workspaces, labels or options", into=made, seed=9)
    assert digests(made) == before
    for splits in ("0.8,0.1", "0.8,0.1,0.2", "x,y", "0,1", "1.2,-0.2", "0.25,0.25,0.25,0.25"):
        with pytest.raises(ValueError, match=f"the splits {splits} are not shares"):
            ChipSetParams(splits=splits)
