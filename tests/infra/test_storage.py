"""Nothing half-written stands under a final name, and what cannot be written is told in one sentence."""

import errno
import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from infra.errors import GeoloomError, UnusableInput, UnwritableOutput
from infra.storage import explaining, make_folder, remove_leftover, replacing
from infra.store import open_store, require_room, write_json


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def half_a_folder(folder):
    (folder / "c").mkdir(parents=True)
    raise KeyboardInterrupt


def half_a_file(path):
    path.write_text("half")
    raise RuntimeError("half way")


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "er" / "a.tif"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".tif"
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.tif"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(open_store(tmp_path), "a.json", {"a": 1})
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="half way"), replacing(path) as temporary:
        half_a_file(temporary)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.json"]


def test_a_folder_replaces_a_folder_whole_and_a_failure_leaves_the_old_one(tmp_path):
    path = tmp_path / "cube.zarr"
    for text in ("one", "two"):
        with replacing(path) as temporary:
            (temporary / "c").mkdir(parents=True)
            (temporary / "c" / text).write_text(text)
    assert names(path / "c") == ["two"]
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        half_a_folder(temporary)
    # A step that made nothing is a fault, and costs nothing.
    with pytest.raises(GeoloomError, match="Nothing was made"), replacing(path):
        pass
    # Nor does a file take a folder's place.
    with pytest.raises(UnwritableOutput, match="is a folder"), replacing(path) as temporary:
        temporary.touch()
    assert names(path / "c") == ["two"]
    assert names(tmp_path) == ["cube.zarr"]


def test_two_at_once_do_not_meet(tmp_path):
    """Threads of one process, or containers, in each of which the process has the number 1."""
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert (tmp_path / "a").read_text() == "one"  # the last to end
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("killed_between", [False, True])
def test_an_old_folder_gets_its_name_back_if_the_new_one_never_got_it(tmp_path, killed_between):
    old = tmp_path / ".old17.abc1230.cube.zarr"
    old.mkdir()
    (old / "pixels").touch()
    if not killed_between:
        (tmp_path / "cube.zarr").mkdir()
    remove_leftover(old)
    assert names(tmp_path) == ["cube.zarr"]
    assert names(tmp_path / "cube.zarr") == (["pixels"] if killed_between else [])


def test_a_new_folder_s_name_is_durable_too(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("infra.storage.sync", flushed.append)
    make_folder(tmp_path / "a" / "b")
    assert set(flushed) == {tmp_path, tmp_path / "a"}
    make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2


def test_the_bytes_are_flushed_before_they_get_their_name(tmp_path, monkeypatch):
    order = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor):
        order.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", lambda self, to: (order.append("rename"), real_rename(self, to))[1])
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc to name open files")
    with replacing(tmp_path / "a") as temporary:
        (temporary / "b").mkdir(parents=True)
        (temporary / "b" / "c").write_text("x")
    flushed = order[: order.index("rename")]
    assert {str(temporary), str(temporary / "b"), str(temporary / "b" / "c")} <= set(flushed)
    assert order[-1] == str(tmp_path)  # and so is the name


def test_json_keeps_floats_and_letters_exactly(tmp_path):
    document = {"b": 0.1 + 0.2, "a": "مدينة", "list": [1e-300, None, True]}
    write_json(open_store(tmp_path), "a.json", document)
    assert json.loads((tmp_path / "a.json").read_text()) == document
    assert "مدينة" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [make_folder, lambda path: write_json(open_store(path), "a.json", {})])
def test_a_file_where_a_folder_should_be_is_told(tmp_path, make):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UnwritableOutput, match=r"taken/out cannot be written \(.*\); choose a folder") as caught:
        make(tmp_path / "taken" / "out")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_threads_may_make_the_same_folder_at_once(tmp_path):
    errors = []

    def make():
        try:
            for _ in range(100):
                make_folder(tmp_path / "a" / "b")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names(tmp_path / "a" / "b") == []


def test_threads_that_write_on_after_a_failure_leave_nothing(tmp_path):
    def write_on(folder, *, seconds=0.3):
        for piece in range(int(seconds / 0.002)):
            (folder / "c").mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                (folder / "c" / str(piece)).write_text("late")
            time.sleep(0.002)

    def fail_at_once(folder):
        folder.mkdir()
        threads.append(threading.Thread(target=write_on, args=[folder]))
        threads[0].start()
        raise RuntimeError("half way")

    threads = []
    with pytest.raises(RuntimeError, match="half way"), replacing(tmp_path / "cube.zarr") as temporary:
        fail_at_once(temporary)
    threads[0].join()
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_the_system_s_reasons_become_one_sentence(tmp_path, number):
    with pytest.raises(UnwritableOutput) as caught, explaining(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    text = str(caught.value)
    assert str(tmp_path / "a") in text
    full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    assert ("The disk is full" in text) == full
    assert ("cannot be written" in text) != full


def test_our_own_errors_and_faults_pass_as_they_are(tmp_path):
    for error in (UnusableInput("bad"), UnwritableOutput("no"), OSError(errno.EIO, "broken"), ValueError("x")):
        with pytest.raises(type(error)) as caught, explaining(tmp_path):
            raise error
        assert caught.value is error


def test_too_little_room_is_refused_before_work_starts(tmp_path):
    require_room(open_store(tmp_path / "not" / "yet" / "there"), 1)
    with pytest.raises(UnwritableOutput, match=r"needs about 1000000000000 MB and \d+ MB are free"):
        require_room(open_store(tmp_path / "not" / "yet"), 10**18)


def write_bytes(path):
    path.write_bytes(os.urandom(4_000_000))


def write_zarr(path):
    import zarr

    array = zarr.create_array(path, shape=(2000, 2000), dtype="uint8", chunks=(500, 500))
    array[:] = np.random.default_rng(0).integers(0, 256, (2000, 2000), dtype=np.uint8)


def write_raster(path, *, side=2000):
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from tasks.raster.geotiff import Layout, write_geotiff

    grid = GeoBox((side, side), Affine.identity(), None)
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side), dtype=np.uint8)
    window = (slice(0, side), slice(0, side))
    write_geotiff(path, Layout(grid, ("a",), None, "AVERAGE"), [(window, pixels)], scratch=path.with_suffix(".scratch"))


def copy_raster(path):
    """The tiled GeoTIFF finds room, its copy does not."""
    write_raster(path, side=1024)


@pytest.mark.parametrize("write", [write_bytes, write_zarr, write_raster, copy_raster])
def test_a_full_disk_is_told_and_leaves_nothing(small_disk, write):
    (small_disk / "a").write_text("old")
    words = r"The disk is full while writing .*small/a \(\d+ MB are free\)"
    with pytest.raises(UnwritableOutput, match=words), replacing(small_disk / "a") as temporary:
        write(temporary)
    assert names(small_disk) == ["a"]
    assert (small_disk / "a").read_text() == "old"
