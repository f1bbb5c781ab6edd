"""Shards are zarr-python's, to the letter: each side reads what the other wrote, and damage is noticed."""

import pickle

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore as Bucket
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore, MemoryStore, ObjectStore

from tasks.raster.shards import read_shards, write_shards

DTYPES = {"uint8": 255, "uint16": 7, "int16": -3, "float32": np.nan, "uint32": 0, "bool": False}


def make(store, shape, dtype="uint8", *, chunk=16, shard=32, planes=1, level=1, name="image"):
    flat = len(shape) == 2
    return zarr.create_array(
        store,
        name=name,
        shape=shape,
        dtype=dtype,
        chunks=(chunk, chunk) if flat else (1, chunk, chunk),
        shards=(shard, shard) if flat else (planes, shard, shard),
        compressors=[ZstdCodec(level=level, checksum=True)],
        fill_value=DTYPES[dtype],
        overwrite=True,
    )


def noise(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.random(shape) > 0.5
    return rng.integers(0, 99, shape).astype(dtype)


def whole(array):
    return tuple(slice(0, n) for n in array.shape[-2:])


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_each_side_reads_what_the_other_wrote(data):
    flat = data.draw(st.booleans())
    dtype = data.draw(st.sampled_from(list(DTYPES)))
    lead = () if flat else (data.draw(st.integers(1, 5)),)
    shape = (*lead, *data.draw(st.tuples(st.integers(1, 150), st.integers(1, 150))))
    options = {"planes": data.draw(st.integers(1, 5)), "level": data.draw(st.sampled_from([-5, -1, 0, 1, 3]))}
    pixels = noise(shape, dtype)
    ours = make(MemoryStore(), shape, dtype, **options, name=data.draw(st.sampled_from([None, "a", "a/b"])))
    write_shards(ours, whole(ours), pixels)
    np.testing.assert_array_equal(ours[...], pixels)

    theirs = make(MemoryStore(), shape, dtype, **options)
    theirs[...] = pixels
    window = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)).filter(lambda v: v[0] != v[1]))))
        for n in shape[-2:]
    )
    planes = None if flat else data.draw(st.none() | st.lists(st.integers(0, shape[0] - 1), min_size=1, max_size=4))
    want = pixels[window] if flat else pixels[(slice(None) if planes is None else planes, *window)]
    for array in (ours, theirs):
        found = read_shards(array, window, planes=planes)
        assert found.dtype == pixels.dtype
        np.testing.assert_array_equal(found, want)


def test_the_objects_are_as_many_and_as_long_as_zarrs():
    # Their chunks stand in another order, which the index tells.
    ours, theirs = make(MemoryStore(), (3, 64, 64), planes=3), make(MemoryStore(), (3, 64, 64), planes=3)
    pixels = noise(ours.shape, "uint8")
    write_shards(ours, whole(ours), pixels)
    theirs[...] = pixels
    one, two = ours.store._store_dict, theirs.store._store_dict
    assert one.keys() == two.keys()
    lengths = {k: (len(one[k]), len(two[k])) for k in one}
    assert all(a == b for a, b in lengths.values())


def test_blocks_are_written_beside_each_other():
    array = make(MemoryStore(), (2, 70, 100))
    pixels = noise(array.shape, "uint8")
    for top in range(0, 70, 32):
        for left in range(0, 100, 64):
            window = (slice(top, min(top + 32, 70)), slice(left, min(left + 64, 100)))
            write_shards(array, window, pixels[:, *window])
    np.testing.assert_array_equal(array[...], pixels)


@pytest.mark.parametrize(
    "window", [(slice(1, 32), slice(0, 32)), (slice(0, 31), slice(0, 32)), (slice(0, 32), slice(16, 64))]
)
def test_windows_that_cut_a_shard_are_refused(window):
    array = make(MemoryStore(), (64, 64))
    with pytest.raises(AssertionError):
        write_shards(array, window, np.zeros([s.stop - s.start for s in window], np.uint8))


@pytest.mark.parametrize("kind", ["folder", "memory", "bucket"])
def test_any_store_will_do(tmp_path, kind):
    store = {"folder": LocalStore(tmp_path), "memory": MemoryStore(), "bucket": ObjectStore(Bucket())}[kind]
    array = make(store, (2, 96, 80), "uint16")
    pixels = noise(array.shape, "uint16")
    write_shards(array, whole(array), pixels)
    np.testing.assert_array_equal(array[...], pixels)
    np.testing.assert_array_equal(read_shards(array, (slice(5, 90), slice(40, 41))), pixels[:, 5:90, 40:41])
    if kind == "folder":
        again = pickle.loads(pickle.dumps(array))
        np.testing.assert_array_equal(read_shards(again, whole(again)), pixels)


@pytest.mark.filterwarnings("ignore:Object at")
def test_what_is_not_stored_is_the_fill_value():
    array = make(MemoryStore(), (2, 64, 64))
    assert (read_shards(array, whole(array)) == 255).all()
    pixels = noise((2, 64, 32), "uint8")
    write_shards(array, (slice(0, 64), slice(0, 32)), pixels)
    found = read_shards(array, whole(array))
    np.testing.assert_array_equal(found[:, :, :32], pixels)
    assert (found[:, :, 32:] == 255).all()
    # zarr-python leaves out a chunk of nothing but fill.
    pixels[0, :16, :16] = 255
    with zarr.config.set({"array.write_empty_chunks": False}):
        array = make(MemoryStore(), (2, 64, 64))
        array[:, :, :32] = pixels
    np.testing.assert_array_equal(read_shards(array, (slice(0, 64), slice(0, 32))), pixels)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), large=st.booleans())
def test_a_flipped_bit_never_passes_for_pixels(tmp_path, place, bit, large):
    array = make(LocalStore(tmp_path), (64, 64), chunk=16, shard=64)
    pixels = noise(array.shape, "uint8")
    write_shards(array, whole(array), pixels)
    file = tmp_path / "image/c/0/0"
    raw = bytearray(file.read_bytes())
    raw[int(place * len(raw))] ^= 1 << bit
    file.write_bytes(raw)
    window = whole(array) if large else (slice(20, 30), slice(20, 30))
    try:
        found = read_shards(array, window)
    except (ValueError, RuntimeError):
        return
    # Damage to what was not read, or to what says nothing of the pixels.
    np.testing.assert_array_equal(found, pixels[window])


@pytest.mark.parametrize("keep", [0, 3, 70, -5, -300])
def test_a_truncated_shard_is_an_error(tmp_path, keep):
    array = make(LocalStore(tmp_path), (64, 64), chunk=16, shard=64)
    write_shards(array, whole(array), noise(array.shape, "uint8"))
    file = tmp_path / "image/c/0/0"
    file.write_bytes(file.read_bytes()[:keep])
    for window in (whole(array), (slice(0, 10), slice(0, 10))):
        with pytest.raises((ValueError, RuntimeError)):
            read_shards(array, window)


def test_a_frame_that_is_too_short_does_not_show_another_chunks_pixels(tmp_path):
    array = make(LocalStore(tmp_path), (32, 32), chunk=16, shard=32)
    write_shards(array, whole(array), noise(array.shape, "uint8"))
    from google_crc32c import value
    from numcodecs.zstd import Zstd

    frames = [Zstd(checksum=True).encode(np.zeros(256 if n < 3 else 20, np.uint8)) for n in range(4)]
    ends = np.cumsum([len(f) for f in frames])
    index = np.array([(end - len(f), len(f)) for end, f in zip(ends, frames, strict=True)], "<u8").tobytes()
    (tmp_path / "image/c/0/0").write_bytes(b"".join(frames) + index + value(index).to_bytes(4, "little"))
    assert not read_shards(array, (slice(0, 16), slice(0, 32))).any()
    with pytest.raises(ValueError, match="reshape"):
        read_shards(array, whole(array))
