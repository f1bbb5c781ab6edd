"""Real schedulers and workers: processes of Dask's own command line, ended with the block that started them.

Fixtures and contexts for a folder's conftest.py to take in.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import dask
import distributed  # before any test sets, and takes back, one of its options: it lays its defaults now
import pytest

NO_PAGES = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
TLS = "distributed.comm.tls"
JOBS = str(Path(__file__).parents[1] / "infra" / "cluster")
"""Where workers find the jobs of tests."""


class Processes:
    """Dask's command line, with certificates or without, in this network or in a namespace's."""

    def __init__(self, folder, certificates=None):
        self.folder, self.running, self.logs = folder, [], []
        self.tls = [part for name, path in (certificates or {}).items() for part in (f"--tls-{name}", str(path))]

    def start(self, *arguments, inside=()):
        log = self.folder / f"{len(self.logs)}-{arguments[0]}.log"
        self.logs.append(log)
        command = [*inside, sys.executable, "-m", "dask", *arguments, *self.tls]
        with log.open("wb") as file:
            environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": JOBS}
            process = subprocess.Popen(command, stdout=file, stderr=file, cwd=self.folder, env=environment)
        self.running.append(process)
        return process

    def scheduler(self, host, *more):
        """Start a scheduler on a free port; its process and its address."""
        named = self.folder / f"scheduler-{len(self.logs)}.json"
        protocol = ("--protocol", "tls") if self.tls else ()
        process = self.start(
            "scheduler", "--host", host, "--port", "0", "--scheduler-file", str(named), *NO_PAGES, *protocol, *more
        )
        until = time.monotonic() + 30
        while time.monotonic() < until and process.poll() is None:
            with suppress(FileNotFoundError, json.JSONDecodeError):
                return process, json.loads(named.read_text())["address"]
            time.sleep(0.05)
        pytest.fail(f"the scheduler did not start: {self.logs[-1].read_text()}")

    def workers(self, address, *more, inside=()):
        """Start worker processes of one machine."""
        options = [*NO_PAGES, "--death-timeout", "30", "--local-directory", str(self.folder)]
        return self.start("worker", address, *options, *more, inside=inside)

    def end(self):
        """At once: workers end when their nanny has, and what they would tidy up lies in this folder."""
        for process in self.running:
            process.kill()
        for process in self.running:
            process.wait()


@pytest.fixture(scope="session")
def dask_processes(tmp_path_factory):
    """Makes `Processes` that end with the block."""

    @contextmanager
    def make(certificates=None):
        processes = Processes(tmp_path_factory.mktemp("dask"), certificates)
        try:
            yield processes
        finally:
            processes.end()

    return make


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Makes a key and a certificate that vouches for itself: paths by the name of Dask's option."""

    def make():
        made = distributed.Security.temporary()
        folder = tmp_path_factory.mktemp("tls")
        paths = {"ca-file": folder / "ca.pem", "cert": folder / "cert.pem", "key": folder / "key.pem"}
        paths["ca-file"].write_text(made.tls_ca_file)
        paths["cert"].write_text(made.tls_client_cert)
        paths["key"].write_text(made.tls_client_key)
        paths["key"].chmod(0o600)
        return paths

    return make


@pytest.fixture(scope="session")
def showing():
    """Gives a context in which this process shows a certificate, by Dask's own configuration."""

    def show(paths):
        mine = {f"{TLS}.client.{part}": str(paths[part]) for part in ("cert", "key")}
        return dask.config.set({f"{TLS}.ca-file": str(paths["ca-file"]), **mine})

    return show


WORKERS = ["--nworkers", "2", "--nthreads", "2", "--memory-limit", "2 GiB"]


@contextmanager
def tcp(dask_processes, certificate, showing):
    with dask_processes() as processes:
        _, address = processes.scheduler("127.0.0.1")
        processes.workers(address, *WORKERS)
        yield address


@contextmanager
def tls(dask_processes, certificate, showing):
    paths = certificate()
    with dask_processes(paths) as processes, showing(paths):
        _, address = processes.scheduler("127.0.0.1")
        assert address.startswith("tls://")
        processes.workers(address, *WORKERS)
        yield address


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


@contextmanager
def hosts(dask_processes, certificate, showing):
    """Two hosts: a network namespace each, joined to this one by a cable each; workers there share its files alone."""
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("network namespaces need the command ip and root")
    number = os.getpid() % 10_000
    names = [f"gl{number}a", f"gl{number}b"]
    net = f"10.{200 + number % 50}"
    made = []
    try:
        try:
            for place, name in enumerate(names):
                ip("netns", "add", name)
                made.append(name)
                ip("link", "add", name, "type", "veth", "peer", "name", "up0", "netns", name)
                ip("addr", "add", f"{net}.{place}.1/24", "dev", name)
                ip("link", "set", name, "up")
                for command in (
                    ["addr", "add", f"{net}.{place}.2/24", "dev", "up0"],
                    ["link", "set", "up0", "up"],
                    ["link", "set", "lo", "up"],
                    ["route", "add", "default", "via", f"{net}.{place}.1"],
                ):
                    ip("-n", name, *command)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        paths = certificate()
        with dask_processes(paths) as processes, showing(paths):
            _, address = processes.scheduler(f"{net}.0.1")
            for place, name in enumerate(names):
                options = ["--host", f"{net}.{place}.2", "--nthreads", "2"]
                processes.workers(address, *options, inside=["ip", "netns", "exec", name])
            yield address
    finally:
        for name in made:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)
        for name in set(made) & {p.name for p in Path("/sys/class/net").iterdir()}:
            with suppress(subprocess.CalledProcessError):
                ip("link", "del", name)


SCHEDULERS = {"tcp": tcp, "tls": tls, "hosts": hosts}
