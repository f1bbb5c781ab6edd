"""The step that writes a model as ONNX, and the page that says how such a file is run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from infra.errors import UnusableInput
from infra.progress import Silent
from models.card import ModelCard
from models.checkpoint import save_model
from models.onnx_check import open_session
from models.predictor import load_predictor
from models.registry import build
from tasks.export_model import export_model
from tasks.model import find_model
from tasks.raster.gdal import rasterio

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
KEPT = b"what was there"


def read(path):
    """Bands (band, y, x) and what is valid (y, x)."""
    with rasterio.open(path) as scene:
        return scene.read([1, 2, 3]), scene.dataset_mask() > 0


def test_the_shipped_model_gives_the_same_classes_as_a_prediction(world, tmp_path):
    made = export_model("default", tmp_path / "new" / "dubai.onnx", progress=Silent())
    image, valid = read(world.scene)
    image, valid = image[None, :, :512, :640].copy(), valid[None, :512, :640].copy()
    valid[:, 100:200, 300:420] = False
    image[np.broadcast_to(~valid[:, None], image.shape)] = 255
    wanted = load_predictor(find_model("default")).probabilities(image, valid)
    session = open_session(Path(made.onnx).read_bytes())
    got = session.run(None, {"image": image.astype(np.float32), "valid": valid})[0]
    same = (got.argmax(axis=1) == wanted.argmax(axis=1))[valid]
    assert len(np.unique(wanted.argmax(axis=1))) > 2
    assert same.mean() >= 0.999
    assert np.abs(got - wanted).max() < 1e-3
    assert made.difference < 1e-3
    assert made.megabytes == pytest.approx(Path(made.onnx).stat().st_size / 1e6)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["dubai.onnx"]


def test_what_cannot_be_exported_leaves_the_file_that_was_there(tmp_path):
    arguments = {"encoder": "tu-mobilevit_xs"}
    card = ModelCard(
        architecture="smp-unet", arguments=arguments, bands=("grey",), mean=(9,), std=(9,), classes=("a", "b"),
        colours=((0, 0, 0), (9, 9, 9)), stride=32, tile=256, margin=32, ramp=32,
    )  # fmt: skip
    torch.manual_seed(0)
    save_model(tmp_path / "model", build("smp-unet", arguments, bands=1, classes=2), card)
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "model.onnx"
    out.write_bytes(KEPT)
    with pytest.raises(UnusableInput, match="tu-mobilevit_xs cannot be written as ONNX"):
        export_model(str(tmp_path / "model"), out, progress=Silent())
    assert [p.read_bytes() for p in out.parent.iterdir()] == [KEPT]


@pytest.mark.parametrize(
    ("out", "says"), [("model.pt", "ends in .onnx"), ("folder.onnx", "is a folder"), ("model", "ends in .onnx")]
)
def test_places_that_are_none_are_refused(tiny_model, tmp_path, out, says):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UnusableInput, match=says):
        export_model(str(tiny_model), tmp_path / out, progress=Silent())
    assert [p.name for p in tmp_path.iterdir()] == ["folder.onnx"]


def test_the_page_s_code_maps_a_scene_as_one_whole_pass_does(world, tiny_model, tmp_path, monkeypatch):
    """The tiny network reaches less far than its margin, so that tiles must equal a pass over the padded scene."""
    monkeypatch.chdir(tmp_path)
    export_model(str(tiny_model), Path("model.onnx"), progress=Silent())
    Path("scene.tif").symlink_to(Path(world.scene).resolve())
    code = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    image, valid = read(world.scene)
    pad = ((16, 16), (16, 16))
    whole = load_predictor(tiny_model).probabilities(np.pad(image, ((0, 0), *pad))[None], np.pad(valid, pad)[None])
    wanted = np.where(valid, whole[0, :, 16:-16, 16:-16].argmax(axis=0), 255)
    assert 0 < (~valid).sum() < valid.size
    assert (names["classes"] == wanted).mean() > 0.9999
    assert names["classes"].dtype == np.uint8
