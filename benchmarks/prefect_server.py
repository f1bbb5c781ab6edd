"""A Prefect server of one's own, as `prefect server start` gives it, for as long as a benchmark runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""Seconds that the server may take to answer first."""


@contextmanager
def prefect_server() -> Iterator[dict[str, str]]:
    """Start a server with an empty database; gives the environment in which flows report to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="geoloom-prefect-", ignore_cleanup_errors=True) as home:
        environment = {
            "PREFECT_HOME": home,
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        log = Path(home) / "server.log"
        with log.open("w") as out:
            server = subprocess.Popen(
                command, env=os.environ | environment, stdout=out, stderr=out, start_new_session=True
            )
        try:
            _wait(environment["PREFECT_API_URL"], log)
            yield environment
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def ask(api: str, path: str, document: dict[str, Any] | None = None) -> Any:
    """What the server's API answers; asked again while its database is locked (503)."""
    request = urllib.request.Request(  # noqa: S310 - an address of our own
        api + path,
        data=None if document is None else json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > until:  # noqa: PLR2004
                raise
            time.sleep(0.2)


def _wait(api: str, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            ask(api, "/health")
        except OSError:
            time.sleep(0.3)
        else:
            return
    sys.exit(f"The Prefect server did not start:\n{log.read_text()}")
