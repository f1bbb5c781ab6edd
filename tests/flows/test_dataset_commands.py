"""`geoloom dataset` from outside: what it says, and how it ends."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def masks(tmp_path):
    """Two pictures with masks, and one without."""
    folder = tmp_path / "set"
    (folder / "masks").mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.fromarray(np.full((50, 60, 3), 9, np.uint8)).save(folder / f"{name}.png")
        if name != "c":
            Image.fromarray(np.ones((50, 60), np.uint8)).save(folder / "masks" / f"{name}.png")
    (folder / "labelmap.txt").write_text("background:0,0,0::\nroad:1,2,3::\n")
    return folder


def test_in_and_out_again(geoloom, masks, tmp_path):
    report, _ = geoloom("dataset", "import", "masks", masks, "--out", tmp_path / "ws", code=3)
    assert (report["status"], report["command"]) == ("partial", "dataset import")
    assert sorted(report["outputs"]["workspaces"]) == ["a", "b"]
    assert len(report["left_out"]) == 1
    assert "c.png has no mask" in report["left_out"][0]

    report, _ = geoloom("dataset", "export", tmp_path / "ws" / "a", "--format", "coco", "--out", tmp_path / "coco")
    assert report["pictures"] == 1
    document = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    assert [c["name"] for c in document["categories"]][:2] == ["building", "road"]
    assert document["annotations"][0]["area"] == 3000

    again, _ = geoloom("dataset", "import", "masks", masks, "--out", tmp_path / "ws", code=3)
    assert again["kept"] == 2


def test_what_cannot_be_used_ends_with_2(geoloom, masks, tmp_path):
    report, said = geoloom("dataset", "import", "coco", masks, "--out", tmp_path / "ws", code=2)
    assert report["status"] == "failed"
    assert "holds no COCO document" in said
    _, said = geoloom("dataset", "export", masks, "--format", "coco", "--out", tmp_path / "x", code=2)
    assert "is not a workspace" in said
    _, said = geoloom("dataset", "import", "pascal", masks, "--out", tmp_path / "ws", code=2)
    assert "pascal" in said
    assert not (tmp_path / "ws").exists()
    assert not (tmp_path / "x").exists()


def test_chips_and_their_check(geoloom, tmp_path):
    """Two scenes of noise, one for each split."""
    for name, seed in (("a", 0), ("b", 1)):
        folder = tmp_path / name
        (folder / "masks").mkdir(parents=True)
        rng = np.random.default_rng(seed)
        Image.fromarray(rng.integers(0, 255, (128, 192, 3), dtype=np.uint8)).save(folder / f"{name}.png")
        Image.fromarray(rng.integers(0, 2, (128, 192), dtype=np.uint8)).save(folder / "masks" / f"{name}.png")
        (folder / "labelmap.txt").write_text("background:0,0,0::\nroad:1,1,1::\n")
        geoloom("dataset", "import", "masks", folder, "--out", tmp_path / "ws")
    words = (tmp_path / "ws" / "a", tmp_path / "ws" / "b", "--chip", 64, "--by", "scenes", "--splits", "0.5,0.5")
    report, _ = geoloom("dataset", "chips", *words, "--out", tmp_path / "set")
    assert (report["command"], report["chips"], report["kept"]) == ("dataset chips", {"train": 6, "val": 6}, False)
    assert "<h1>" in (tmp_path / "set" / "index.html").read_text()
    report, _ = geoloom("dataset", "check", tmp_path / "set")
    assert report["chips"] == {"train": 6, "val": 6}

    chips = sorted((tmp_path / "set" / "images" / "train").iterdir())
    (tmp_path / "set" / "images" / "val" / "copy.tif").write_bytes(chips[2].read_bytes())
    report, said = geoloom("dataset", "check", tmp_path / "set", code=2)
    assert report["status"] == "failed"
    assert "copy.tif (val)" in said
    assert f"{chips[2].name} (train)" in said
    _, said = geoloom("dataset", "chips", *words[:-1], "0.5,0.4", "--out", tmp_path / "other", code=2)
    assert "0.5,0.4 are not shares" in said
    _, said = geoloom("dataset", "chips", words[0], "--chip", 64, "--by", "scenes", "--out", tmp_path / "other", code=2)
    assert "3 splits" in said
    assert not (tmp_path / "other").exists()
