"""The command line as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def geoloom():
    """Run a command to its end; gives its last line as JSON, and what it said on standard error."""

    def run(*words, code=0, **env):
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, words), "--json"],
            capture_output=True, text=True, env=os.environ | env, check=False, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        lines = done.stdout.strip().splitlines()
        return (json.loads(lines[-1]) if lines else None), done.stderr

    return run
