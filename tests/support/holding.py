"""Another process at work on a workspace."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def held(workspace):
    """A process that holds the workspace as `geoloom predict` does, until the block ends."""
    code = (
        "import sys; from infra.lease import hold; from infra.store import open_store\n"
        f"with hold(open_store({str(workspace)!r}), command='predict'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()
        assert process.wait(20) == 0
