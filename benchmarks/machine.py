"""The machine that measures: what it is, what a process holds of its memory, and children that measure in their own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

LIBRARIES = ("torch", "numpy", "zarr", "rasterio", "dask", "prefect")


def describe_machine() -> dict[str, Any]:
    """Processor, memory, system and versions, and the same as one sentence (`said`)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {name: version(name) for name in LIBRARIES}
    found = {
        "processor": _processor(),
        "cores": cores,
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }
    said = ", ".join(f"{name} {number}" for name, number in versions.items())
    found["said"] = (
        f"{found['processor']}, {cores} cores, {memory:.0f} GiB, {found['system']}, Python {found['python']}, {said}"
    )
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def resident_mb(process: int | str = "self") -> float:
    """What a process holds in memory of its own now, MB: not the pages of libraries' files, which the system can drop.

    torch's libraries touch some hundred MB more of those as a process ends.
    """
    return _status(process, "RssAnon") + _status(process, "RssShmem")


def peak_mb(process: int | str = "self") -> float:
    """The most a process has held of its own since it began or since `forget_peak`, MB.

    The system keeps the peak of all pages; those of files, which hardly ever become fewer, are taken off as they are
    now.
    """
    return _status(process, "VmHWM") - _status(process, "RssFile")


def highest_mb(process: int | str = "self") -> float:
    """The most a process has held of all pages, those of libraries' files too, MB."""
    return _status(process, "VmHWM")


def forget_peak() -> None:
    """Let the peak of this process begin at what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(process: int | str, field: str) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) * 1024 / 1e6 if found else 0.0  # a process that is going has no memory


class Watch:
    """Samples the peaks of this process and all that descend from it, while the block runs.

    A peak only grows, so a sample every 50 ms loses at most what a process took in its last 50 ms.
    """

    every = 0.05

    def __init__(self, measure: Callable[[int], float] = peak_mb) -> None:
        self.measure = measure
        self.peaks: dict[int, float] = {}
        self.together = 0.0
        """The largest sum of what all held at one moment, MB."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        forget_peak()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _sample(self) -> None:
        while not self._stop.wait(self.every):
            self._look()

    def _look(self) -> None:
        held, own = 0.0, Path("/proc/self/cmdline").read_bytes()
        for process in (os.getpid(), *descendants(os.getpid())):
            with suppress(OSError):
                # Between fork and exec a child counts its parent's pages as its own.
                if process == os.getpid() or Path(f"/proc/{process}/cmdline").read_bytes() != own:
                    self.peaks[process] = max(self.peaks.get(process, 0.0), self.measure(process))
                    held += resident_mb(process)
        self.together = max(self.together, held)


def descendants(process: int) -> list[int]:
    """Processes that descend from one, by id."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            with suppress(OSError):
                for child in (task / "children").read_text().split():
                    found += [int(child), *descendants(int(child))]
    return found


def measure_in_child(
    module: str, document: Mapping[str, Any], *, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run `python -m MODULE DOCUMENT` as a process of its own and return the JSON object of its last line."""
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(document, default=str)],
        check=False,
        env=os.environ | dict(environment or {}),
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{module} ended with {done.returncode} for {document}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def geoloom(words: Sequence[str]) -> dict[str, Any]:
    """Run a command of the command line as a process of its own; its JSON object.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, "-m", "flows.cli", *words, "--quiet", "--json"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def asked() -> dict[str, Any] | None:
    """What a parent asked this process for by `measure_in_child`; None where a person called it."""
    document: dict[str, Any] | None = None
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        document = json.loads(sys.argv[1])
    return document


def answer(found: Mapping[str, Any]) -> None:
    """Give a parent what it asked for."""
    print(json.dumps(found))
