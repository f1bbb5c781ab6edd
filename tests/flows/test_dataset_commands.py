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
