"""How much memory this process may still use: what is free on the machine, or in its control group where that is less.

A container, a batch job or a systemd unit is killed when its control group is full, however much the machine has free.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available_memory(*, root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Bytes that can be taken before this process or its neighbours are killed or swapped.

    Args:
        root: where control groups are mounted.
        membership: the file that names those of this process.
    """
    return max(0, min([int(psutil.virtual_memory().available), *_rooms(root, membership)]))


def resident_memory() -> int:
    """Bytes that this process holds in memory now."""
    return int(psutil.Process().memory_info().rss)


def _rooms(root: Path, membership: Path) -> Iterator[int]:
    """Free bytes of each control group that this process is in, up to the mounted root (version 2, then 1)."""
    try:
        rows = membership.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for row in rows:
        _, controllers, path = row.split(":", 2)
        if not controllers:
            names, base = ("memory.max", "memory.current", "inactive_file"), root
        elif "memory" in controllers.split(","):
            # In version 1 the counts of a group's children are in the fields that begin with total_.
            names, base = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), root / "memory"
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            room = _room(base / group, *names)
            if room is not None:
                yield room


def _room(group: Path, limit: str, usage: str, cached: str) -> int | None:
    """A group's limit less what it holds; pages of files that are not in use count as free, as they are dropped."""
    try:
        most = (group / limit).read_text(encoding="utf-8").strip()
        held = int((group / usage).read_text(encoding="utf-8"))
        rows = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:  # a container sees its own groups only, and the root of version 2 has no limit
        return None
    if most == "max":
        return None
    droppable = next((int(row.split()[1]) for row in rows if row.split()[0] == cached), 0)
    return int(most) - held + droppable
