"""A store does what a dictionary of bytes does, in a folder and in a bucket, and nothing half-written is ever in it."""

import errno
import os
import pickle
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra import bucket as bucket_module
from infra.bucket import Bucket
from infra.errors import GeoloomError, UnusableInput, UnwritableOutput
from infra.folder import Folder
from infra.store import open_store, require_room

ROOT = Path(__file__).resolve().parents[2]

NAMES = st.sampled_from(["a", "ab", "b", "b.json", "é +%#&", "0"])
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def half_a_file(path):
    path.write_text("half")
    raise RuntimeError("half way")


def test_bytes_come_back(store):
    assert store.read("a/b.bin") is None
    assert not store.exists("a/b.bin")
    assert store.keys() == []
    store.write("a/b.bin", b"\0one")
    assert store.read("a/b.bin") == b"\0one"
    store.write("a/b.bin", b"")
    assert store.read("a/b.bin") == b""
    store.write("a/c", b"two")
    assert store.read_many(["a/c", "a/none", "a/b.bin"] * 20) == [b"two", None, b""] * 20
    assert store.exists("a/b.bin")
    # A prefix is no key.
    assert not store.exists("a")
    assert store.read("a") is None
    assert store.read("a/b.bin/c") is None
    assert not store.exists("a/b.bin/c")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["write", "create", "delete", "delete_all"]), KEYS), max_size=12),
    looked_for=KEYS,
)
def test_it_is_a_dictionary(place, steps, looked_for):
    """The oracle is a dict; keys that lie below another key, which no file system has, are left out."""
    store = open_store(f"{place}/{uuid.uuid4().hex}")
    oracle = {}
    for number, (step, key) in enumerate(steps):
        data = str(number).encode()
        nests = any(k.startswith(f"{key}/") or key.startswith(f"{k}/") for k in oracle)
        if step == "delete_all":
            store.delete_all(key)
            oracle = {k: v for k, v in oracle.items() if not k.startswith(f"{key}/")}
        elif step == "delete" and not nests:
            store.delete([key, "never/there"])
            oracle.pop(key, None)
        elif step == "create" and not nests:
            assert store.create(key, data) == (key not in oracle)
            oracle.setdefault(key, data)
        elif step == "write" and not nests:
            store.write(key, data)
            oracle[key] = data
    found = store.keys()
    assert {key: store.read(key) for key in found} == oracle
    assert found == sorted(found)
    below = sorted(k for k in oracle if k.startswith(f"{looked_for}/"))
    assert store.keys(looked_for) == store.keys(f"{looked_for}/") == below
    assert store.exists(looked_for) == (looked_for in oracle)


def test_of_many_who_create_one_does(store):
    for number in range(10):
        key = f"lease/{number}.json"
        gate = threading.Barrier(8)

        def create(who, key=key, gate=gate):
            gate.wait()
            return store.create(key, who * 1000)

        everyone = [bytes([65 + i]) for i in range(8)]
        with ThreadPoolExecutor(8) as pool:
            won = dict(zip(everyone, pool.map(create, everyone), strict=True))
        assert sum(won.values()) == 1
        assert store.read(key) == next(who for who, did in won.items() if did) * 1000
    assert len(store.keys()) == 10


def test_a_file_is_published_when_it_is_whole(store):
    with store.publishing("products/classes.tif") as path:
        assert path.suffix == ".tif"
        path.write_bytes(b"one" * 4_000_000)  # several parts of an upload
        assert not store.exists("products/classes.tif")
    assert store.read("products/classes.tif") == b"one" * 4_000_000
    with pytest.raises(RuntimeError, match="half way"), store.publishing("products/classes.tif") as path:
        half_a_file(path)
    with pytest.raises(GeoloomError, match="Nothing was made"), store.publishing("products/classes.tif"):
        pass
    with store.fetched("products/classes.tif") as path:
        assert path.name == "classes.tif"
        assert path.read_bytes() == b"one" * 4_000_000
    assert store.keys() == ["products/classes.tif"]


def test_a_folder_is_published_whole_and_takes_the_old_one_s_place(store):
    store.write("models/other.json", b"stays")
    for names in (["a.json", "deep/b.bin", "deep/c.bin"], ["a.json", "deep/b.bin"]):
        with store.publishing("models/one") as path:
            for name in names:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_text(f"{name} of {len(names)}")
        assert store.keys() == [*(f"models/one/{name}" for name in names), "models/other.json"]
    with store.fetched("models/one") as path:
        files = {p.relative_to(path).as_posix(): p.read_text() for p in path.rglob("*") if p.is_file()}
    assert files == {"a.json": "a.json of 2", "deep/b.bin": "deep/b.bin of 2"}


def test_what_is_not_there_cannot_be_fetched(store):
    with pytest.raises(UnusableInput, match=r"one/products/none\.tif is not there"), store.fetched("products/none.tif"):
        pass


def test_zarr_arrays_live_in_it(store):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    group = zarr.open_group(store.zarr("cube.zarr"), mode="w")
    group.create_array("image", shape=(8, 8), dtype="uint8", chunks=(4, 4))[:] = pixels
    written = ["cube.zarr/image/c/0/0", "cube.zarr/image/c/1/1", "cube.zarr/zarr.json"]
    assert set(written) <= set(store.keys("cube.zarr"))
    store.settle([*written, "cube.zarr/image/c/9/9", "cube.zarr/image"])
    seen = zarr.open_group(open_store(store.url).zarr("cube.zarr"), mode="r")["image"]
    assert np.array_equal(seen[:], pixels)
    store.delete_all("cube.zarr/image")
    assert store.keys() == ["cube.zarr/zarr.json"]


def test_it_travels(store):
    """Only the place does: a worker reads credentials from its own environment."""
    store.write("a", b"1")
    packed = pickle.dumps(store)
    assert b"sesame-of-the-tests" not in packed
    other = pickle.loads(packed)
    assert other == store == open_store(store.url)
    assert other.read("a") == b"1"
    assert hash(other) == hash(store)


def test_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Folder(tmp_path / "maps one")
    for way in (Path("maps one"), "maps one", "./maps one/", f"file://{tmp_path}/maps%20one", tmp_path / "maps one"):
        assert open_store(way) == here
    assert here.url == str(tmp_path / "maps one")
    (tmp_path / "maps one").mkdir()
    (tmp_path / "link").symlink_to("maps one")
    assert open_store(tmp_path / "link") == here
    assert open_store("s3://maps/one/") == Bucket("s3://maps/one")
    for way in ("gs://maps/one", "https://there/maps", "file://otherhost/maps"):
        with pytest.raises(UnusableInput, match=r"is not a place for a workspace; give a folder or s3://"):
            open_store(way)
    for way in ("s3://", "s3:///maps", "s3://MAPS/one"):
        with pytest.raises(UnusableInput, match="names no bucket"):
            open_store(way)


def test_room(store):
    require_room(store, 1)
    if isinstance(store, Folder):
        with pytest.raises(UnwritableOutput, match=r"one needs about 1000000000000 MB and \d+ MB are free"):
            require_room(store, 10**18)
    else:
        require_room(store, 10**18)


# Folders


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "maps")


@pytest.fixture
def system_calls(monkeypatch):
    """Names of files and folders in the order in which they are flushed and named."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc to name open files")
    order = []
    real_fsync, real_rename, real_link = os.fsync, Path.rename, os.link

    def fsync(descriptor):
        order.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink()))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", lambda a, b: (order.append(("name", a, b)), real_rename(a, b))[1])
    monkeypatch.setattr(os, "link", lambda a, b: (order.append(("name", a, b)), real_link(a, b))[1])
    return order


@pytest.mark.parametrize("way", ["write", "create"])
def test_bytes_are_flushed_then_named_then_the_name_is_flushed(folder, system_calls, way):
    (folder.root / "a").mkdir(parents=True)
    getattr(folder, way)("a/b", b"1")
    (_, temporary), named, last = system_calls
    assert temporary.parent == folder.root / "a"
    assert named == ("name", temporary, folder.root / "a" / "b")
    assert last == ("flush", folder.root / "a")
    system_calls.clear()
    folder.write("a/b", b"2", durable=False)
    assert [call[0] for call in system_calls] == ["name"]


def test_settling_flushes_files_and_the_folders_above_them(folder, system_calls):
    for key in ("cube/c/0/0", "cube/c/0/1", "cube/c/1/0", "else/x"):
        (folder.root / key).parent.mkdir(parents=True, exist_ok=True)
        (folder.root / key).touch()
    folder.settle(["cube/c/0/0", "cube/c/1", "cube/none"])
    flushed = [entry.relative_to(folder.root).as_posix() for _, entry in system_calls]
    assert sorted(flushed) == [".", "cube", "cube/c", "cube/c/0", "cube/c/0/0", "cube/c/1", "cube/c/1/0"]
    assert flushed[-1] == "."


def test_where_there_are_no_hard_links_creating_is_exclusive_all_the_same(folder, monkeypatch):
    def link(_from, _to):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    assert folder.create("a", b"one")
    assert not folder.create("a", b"two")
    assert folder.read("a") == b"one"
    assert [p.name for p in folder.root.iterdir()] == ["a"]


def test_a_newcomer_whose_file_is_swept_away_writes_it_again(folder, monkeypatch):
    real, calls = os.link, []

    def link(source, target):
        calls.append(source)
        if len(calls) == 1:
            source.unlink()
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    assert folder.create("lease/1.json", b"one")
    assert folder.read("lease/1.json") == b"one"
    assert len(calls) == 2


def test_what_is_not_finished_is_not_listed(folder):
    folder.write("a/b", b"1")
    with folder.publishing("a/c") as path:
        path.mkdir()
        (path / "half").touch()
        (folder.root / "a" / ".DS_Store").touch()
        (folder.root / "a" / f"1.{uuid.uuid4().hex}.partial").touch()
        assert folder.keys() == ["a/b"]
    assert folder.keys() == ["a/b", "a/c/half"]


def test_sweeping_takes_what_killed_runs_left_and_nothing_else(folder):
    """A process is killed while zarr, and while we, give a file its name."""
    killed = """
import os, pathlib, sys
import zarr
from infra.folder import Folder
folder = Folder(pathlib.Path(sys.argv[1]))
array = zarr.open_group(folder.zarr("cube.zarr")).require_array("image", shape=(4, 4), dtype="u1", chunks=(2, 2))
setattr(pathlib.Path, sys.argv[2], lambda *_: os._exit(9))
if sys.argv[2] == "replace":
    array[:] = 1
else:
    with folder.publishing("model") as path:
        path.mkdir()
        (path / "weights").touch()
"""
    for way in ("replace", "rename"):
        done = subprocess.run([sys.executable, "-c", killed, str(folder.root), way], cwd=ROOT, check=False)
        assert done.returncode == 9
    kept = {folder.root / name for name in ("notes.partial", ".hidden", "part1.tif")}
    for path in kept:
        path.touch()
    left = set(folder.root.rglob("*"))
    unfinished = {p for p in left if p.suffix == ".partial" or p.name.startswith(".part")} - kept
    assert len(unfinished) >= 2  # zarr writes several chunks at once
    outside = folder.root.parent / ".part1.x.y"
    outside.touch()
    (folder.root / "link").symlink_to(folder.root.parent)
    with folder.publishing("mine") as path:
        path.touch()
        folder.sweep()
        assert path.exists()
    unfinished |= {p for p in left if p.parent in unfinished}
    assert set(folder.root.rglob("*")) == (left - unfinished) | {folder.root / "mine", folder.root / "link"}
    assert outside.exists()


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "taken").write_text("a file")
    folder = Folder(tmp_path / "taken" / "maps")
    for write in (
        lambda: folder.write("a", b""),
        lambda: folder.create("a", b""),
        lambda: folder.publishing("a").__enter__(),
    ):
        with pytest.raises(UnwritableOutput, match=r"taken/maps.* cannot be written \(.*\); choose a folder"):
            write()
    assert folder.read("a") is None
    assert folder.keys() == []
    folder.delete(["a"])
    folder.delete_all("a")


def test_a_full_disk_is_told_and_leaves_nothing(small_disk):
    folder = Folder(small_disk)
    folder.write("a", b"old")
    for write in (folder.write, folder.create):
        with pytest.raises(UnwritableOutput, match="The disk is full while writing"):
            write("a", bytes(4_000_000))
    assert [p.name for p in small_disk.iterdir()] == ["a"]
    assert folder.read("a") == b"old"


# Buckets


def test_a_bucket_that_is_not_there_is_told(s3):
    store = open_store(f"s3://none-{uuid.uuid4().hex}/maps")
    for call in (lambda: store.read("a"), store.keys, lambda: store.fetched("a").__enter__()):
        with pytest.raises(UnusableInput, match=r"^s3://none-\w+/maps cannot be read: there is no such bucket; .*\.$"):
            call()
    for call in (
        lambda: store.write("a", b"1"),
        lambda: store.create("a", b"1"),
        lambda: store.delete(["a"]),
    ):
        with pytest.raises(UnwritableOutput, match=r"/maps cannot be written: there is no such bucket; .*\.$"):
            call()


def test_refused_credentials_are_told(s3, bucket, monkeypatch):
    store = open_store(f"s3://{bucket}/maps")
    with monkeypatch.context() as patch:
        patch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)  # the server checks them from here on
        with pytest.raises(UnusableInput, match=r"/maps cannot be read: its server refuses .*InvalidAccessKeyId"):
            store.keys()
        with pytest.raises(UnwritableOutput, match=r"/maps cannot be written: its server refuses these credentials"):
            store.write("a", b"1")
    store.write("a", b"1")


def test_missing_credentials_and_settings_are_told(s3, monkeypatch):
    monkeypatch.setattr(bucket_module, "OUTAGE_S", 0.5)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(UnusableInput, match="its server does not answer; check AWS_ENDPOINT_URL"):
            open_store("s3://nobody-answers").read("a")
        patch.delenv("AWS_ALLOW_HTTP")
        with pytest.raises(UnusableInput, match="no TLS; set AWS_ALLOW_HTTP=true"):
            open_store("s3://no-tls").read("a")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnusableInput, match="no credentials were found; set AWS_ACCESS_KEY_ID"):
        open_store("s3://no-credentials").read("a")


def test_a_fork_is_refused_and_does_not_hang(s3, bucket):
    store = open_store(f"s3://{bucket}/maps")
    store.write("a", b"1")
    child = os.fork()
    if not child:
        try:
            store.read("a")
        except GeoloomError as error:
            os._exit(7 if "spawn" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_an_outage_is_waited_for(proxy, bucket):
    store = open_store(f"s3://{bucket}/maps")
    store.write("a", b"1")
    proxy.down = True
    threading.Timer(5, lambda: setattr(proxy, "down", False)).start()
    began = time.monotonic()
    store.write("a", b"2")
    assert time.monotonic() - began > 4
    assert store.read("a") == b"2"


def test_connections_that_are_closed_as_they_open_are_waited_out(proxy, bucket):
    """obstore does not retry a request whose connection closed before it was sent; 1 in 25 of these were."""
    store = open_store(f"s3://{bucket}/maps")
    array = zarr.create_array(store.zarr("cube"), shape=(4,), dtype="uint8", chunks=(4,))
    for i in range(60):
        proxy.down = True
        threading.Timer(0.01 + 0.02 * (i % 10), lambda: setattr(proxy, "down", False)).start()
        store.write("a", bytes([i]))
        array[:] = i
        proxy.down = False
        assert store.read("a") == bytes([i])
        assert array[:].tolist() == [i] * 4


def test_a_lost_answer_costs_nothing(proxy, bucket):
    store = open_store(f"s3://{bucket}/maps")
    store.write("a", b"1")
    for call, expected in ((lambda: store.read("a"), b"1"), (lambda: store.write("a", b"1"), None)):
        proxy.loses_answers = True
        assert call() == expected
    proxy.loses_answers = True
    store.create("b", b"2")  # true or false: it was made, and then it was there
    assert store.read("b") == b"2"
    assert proxy.lost == 3
