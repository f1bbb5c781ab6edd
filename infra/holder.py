"""Who holds a workspace: a process, described so that another can tell whether it is still alive."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a workspace, or held it."""

    command: str
    host: str
    boot: str
    """Of the machine, since it was started; empty where it cannot be told."""
    namespace: str
    """Of process numbers: each container has its own. Empty where it cannot be told."""
    pid: int
    started: str
    """When the process started, in ticks since the boot where the system counts so: clocks may change."""
    token: str
    """Secret of this one hold."""

    @classmethod
    def here(cls, command: str) -> Holder:
        """This process, with a new token."""
        pid = os.getpid()
        return cls(command, socket.gethostname(), _boot(), _namespace(), pid, _started(pid) or "", secrets.token_hex(8))

    @classmethod
    def parse(cls, data: bytes | None) -> Holder:
        """A holder that was written down; somebody unknown where it is gone or damaged."""
        try:
            return cls(**json.loads(data or b""))
        except (ValueError, TypeError):
            return cls("", "", "", "", 0, "", "")

    def packed(self) -> bytes:
        """What `parse` reads."""
        return json.dumps(asdict(self), indent=1).encode()

    def lives(self) -> bool | None:
        """Whether the process is alive; None where this cannot be told from here."""
        here = (socket.gethostname(), _boot(), _namespace())
        if (self.host, self.boot, self.namespace) != here or not all(here):
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody else's
        started = _started(self.pid)
        if started is None:
            return None  # hidden from us, or gone just now
        return started == self.started

    def is_this_process(self) -> bool:
        """Whether it is the process that asks."""
        return self.pid == os.getpid() and self.lives() is True

    def __str__(self) -> str:
        return f"'geoloom {self.command}' (process {self.pid} on {self.host})" if self.pid else "another run"


@cache
def _boot() -> str:
    if sys.platform == "darwin":
        asked = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    return _text(Path("/proc/sys/kernel/random/boot_id"))


@cache
def _namespace() -> str:
    if sys.platform == "darwin":
        return "one"
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process started; empty where it has ended and its parent has not asked yet; None where it is not seen."""
    if not Path("/proc/self/stat").exists():
        import psutil

        try:
            process = psutil.Process(pid)
            return "" if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
        except psutil.Error:
            return None
    # The name, in brackets, may hold anything: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    if not fields:
        return None
    return "" if fields[0] in "ZX" else fields[19]  # field 22, counted from the third


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
