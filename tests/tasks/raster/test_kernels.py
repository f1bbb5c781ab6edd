"""Kernels work wherever the package lies: their cache goes beside them, else to the user's, else nowhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.raster import kernels

CODE = """
import numpy as np, kernels
counts = np.zeros((kernels.LANES, 256), np.uint32)
kernels.tally(kernels.rows_of(np.ones((5, 6), np.uint8)), kernels.rows_of(np.ones((5, 6), bool)), 5, 6, counts)
print(counts.sum(axis=0)[:3].tolist())
"""


@pytest.mark.parametrize("home", ["writable", "read-only"])
def test_a_package_that_cannot_be_written_to_is_no_obstacle(tmp_path, home):
    # Files where folders should be: nobody can write there, root neither.
    (tmp_path / "package").mkdir()
    shutil.copy(kernels.__file__, tmp_path / "package")
    (tmp_path / "package/__pycache__").touch()
    if home == "read-only":
        (tmp_path / "home").touch()
    environment = {k: v for k, v in os.environ.items() if k not in {"XDG_CACHE_HOME", "NUMBA_CACHE_DIR"}}
    environment |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path / "package")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE],
        check=False,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("[0, 30, 0]\n", "")
    kept = [p.suffix for p in Path(tmp_path).rglob("*.nb?")]
    assert sorted(kept) == ([".nbc", ".nbi"] if home == "writable" else [])


def test_rows_are_in_place_where_they_can_be():
    a = np.arange(4 * 5 * 6, dtype=np.int32).reshape(4, 5, 6)
    for part in (a, a[1:3, 2:4, 3:5], a[::2, ::2], a[2], a[1:2, :1, :1]):
        memory, plane, row = kernels.rows_of(part)
        assert np.shares_memory(memory, a)
        again = [[memory[k * plane + y * row :][: part.shape[-1]] for y in range(part.shape[-2])] for k in range(4)]
        np.testing.assert_array_equal(again[: len(part)] if part.ndim == 3 else again[0], part)
    for part in (a[::-1], a[:, :, ::-1], a[:, :, ::2], a.T):
        memory, plane, row = kernels.rows_of(part)
        assert not np.shares_memory(memory, a)
        np.testing.assert_array_equal(memory.reshape(part.shape), part)
