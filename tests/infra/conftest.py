"""What the tests of infra share: stores of both kinds, a bad network, and a disk that fills up."""

import os
import socket
import subprocess
import threading
from contextlib import suppress

import pytest


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    """Where a workspace may be: a folder that is not there yet, a prefix of a bucket."""
    if request.param == "folder":
        return str(tmp_path / "maps" / "one")
    return f"s3://{request.getfixturevalue('bucket')}/maps/one"


@pytest.fixture
def store(place):
    """A store at that place."""
    from infra.store import open_store

    return open_store(place)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Proxy:
    """A network between us and the server that can be down, or lose answers."""

    def __init__(self, target):
        self.down = self.loses_answers = False
        self.lost = 0
        host, port = target.removeprefix("http://").split(":")
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                ours, _ = self.listener.accept()
            except OSError:
                return
            if self.down:
                ours.close()
                continue
            theirs = socket.create_connection(self.target)
            threading.Thread(target=self.carry, args=(ours, theirs, False), daemon=True).start()
            threading.Thread(target=self.carry, args=(theirs, ours, True), daemon=True).start()

    def carry(self, source, target, is_answer):
        with suppress(OSError):
            while data := source.recv(65536):
                if self.down or (is_answer and self.loses_answers):
                    self.lost += not self.down
                    self.loses_answers = False
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def proxy(s3, monkeypatch):
    """A bad network to the S3 server; stores opened from here on use it."""
    proxy = Proxy(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield proxy
    proxy.listener.close()
