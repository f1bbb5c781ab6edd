"""A digest changes with anything that is in an array, and with nothing else."""

import struct
import subprocess
import sys

import numpy as np
import pytest
import xxhash

from tasks.raster.digest import digest, digest_pair


def arrays():
    rng = np.random.default_rng(0)
    yield rng.integers(0, 255, (3, 40, 50), dtype=np.uint8)
    yield rng.integers(-99, 99, (40, 50), dtype=np.int16)
    yield rng.normal(size=(40, 50)).astype(np.float32)
    yield rng.random((40, 50)) > 0.5
    yield rng.integers(0, 2**63, (2, 3, 4, 2), dtype=np.uint64)


def test_it_is_xxh3_of_header_and_content():
    a, b = np.arange(6, dtype="<u2").reshape(2, 3), np.array([True, False])
    parts = b"<u2(2, 3);" + struct.pack("<6H", *range(6)) + b"|b1(2,);" + bytes([1, 0])
    assert digest(a, b) == xxhash.xxh3_128_hexdigest(parts)
    assert len(digest(a)) == 32
    assert "{:016x}{:016x}".format(*digest_pair(a, b)) == digest(a, b)
    assert max(digest_pair(a, b)) < 1 << 64


@pytest.mark.parametrize("array", list(arrays()), ids=lambda a: str(a.dtype))
def test_one_flipped_bit_anywhere_changes_it(array):
    want = digest_pair(array)
    raw = np.frombuffer(array.tobytes(), np.uint8).copy()
    for place in np.random.default_rng(1).integers(0, raw.size, 50):
        changed = raw.copy()
        changed[place] ^= 1
        assert digest_pair(changed.view(array.dtype).reshape(array.shape)) != want


@pytest.mark.parametrize("array", list(arrays()), ids=lambda a: str(a.dtype))
def test_strides_do_not_matter(array):
    want = digest(array)
    large = np.zeros([n + 7 for n in array.shape], array.dtype)
    place = tuple(slice(3, 3 + n) for n in array.shape)
    large[place] = array
    assert digest(large[place]) == digest(np.asfortranarray(array)) == digest(array[::-1][::-1]) == want
    array = array.copy()
    array.setflags(write=False)
    assert digest(array) == want


def test_dtype_shape_order_and_borders_between_arrays_matter():
    a = np.arange(12, dtype=np.int16)
    zero = np.zeros(2, np.int16)
    kinds = [(a,), (a.view(np.uint16),), (a.view(np.uint8),), (a.reshape(3, 4),), (a.reshape(4, 3),), (a[::-1],), ()]
    kinds += [(a, zero), (zero, a), (a[:6], a[6:]), (a, a[:0]), (np.concatenate([a, zero]),), (a.astype(">i2"),)]
    found = [digest(*kind) for kind in kinds]
    assert len(set(found)) == len(found)


def test_empty_arrays_and_scalars_have_one_too():
    assert digest(np.zeros((0, 5), np.uint8)) != digest(np.zeros((5, 0), np.uint8))
    assert digest(np.int64(3).reshape(())) == digest(np.array([[3]])[0, 0].reshape(()))


def test_it_is_the_same_in_every_process():
    code = "import numpy as np; from tasks.raster.digest import digest; print(digest(np.arange(99).reshape(9, 11)))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert found == digest(np.arange(99).reshape(9, 11))
