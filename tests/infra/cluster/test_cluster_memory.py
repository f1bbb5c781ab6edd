"""Memory is what the machine has free, or what the control groups leave, where that is less."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.memory import available_memory

MB = 10**6


def group(folder, *, names, limit, used, cached):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {cached}\ntotal_inactive_file {cached}\nslab 3\n")


V2 = ("memory.max", "memory.current")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def test_without_a_limit_it_is_what_the_machine_has_free(tmp_path):
    free = psutil.virtual_memory().available
    assert available_memory(root=tmp_path, membership=tmp_path / "none") == pytest.approx(free, rel=0.2)
    (tmp_path / "cgroup").write_text("0::/a\n")
    group(tmp_path / "a", names=V2, limit="max", used=5 * MB, cached=0)
    assert available_memory(root=tmp_path, membership=tmp_path / "cgroup") == pytest.approx(free, rel=0.2)


def test_the_tightest_of_nested_groups_counts_and_cached_files_are_free(tmp_path):
    (tmp_path / "cgroup").write_text("0::/job/step/task\n")
    group(tmp_path / "job", names=V2, limit=900 * MB, used=800 * MB, cached=50 * MB)
    group(tmp_path / "job/step", names=V2, limit=500 * MB, used=100 * MB, cached=0)
    group(tmp_path / "job/step/task", names=V2, limit="max", used=90 * MB, cached=0)
    assert available_memory(root=tmp_path, membership=tmp_path / "cgroup") == 150 * MB
    group(tmp_path / "job/step", names=V2, limit=500 * MB, used=501 * MB, cached=0)
    assert available_memory(root=tmp_path, membership=tmp_path / "cgroup") == 0


def test_version_1_and_a_container_that_sees_its_own_group_as_the_root(tmp_path):
    (tmp_path / "cgroup").write_text("9:name=systemd:/\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    group(tmp_path / "memory", names=V1, limit=400 * MB, used=100 * MB, cached=20 * MB)
    assert available_memory(root=tmp_path, membership=tmp_path / "cgroup") == 320 * MB


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a control group is made by Linux' root")
def test_a_real_group(tmp_path):
    places = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}
    for base, name in places.items():
        folder = base / f"geoloom-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(300 * MB))
            code = (
                f"import os; open('{folder}/cgroup.procs', 'w').write(str(os.getpid()))\n"
                "from infra.memory import available_memory; print(available_memory())"
            )
            told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert 100 * MB < int(told.stdout) <= 300 * MB
        except OSError:
            continue
        else:
            return
        finally:
            folder.rmdir()
    pytest.skip("no control group for memory can be made here")
