"""Prefect's own server of one machine."""

import os
import subprocess
import sys

import pytest

from flows.local_server import QUIET

SAYS = "import logging, prefect.main; logging.getLogger('sqlalchemy.pool').error('torn down'); print('done')"


@pytest.mark.parametrize("quiet", [{}, QUIET])
def test_what_its_libraries_log_as_it_ends_does_not_reach_the_screen(quiet, tmp_path):
    free = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env = free | {"PREFECT_HOME": str(tmp_path)} | quiet
    done = subprocess.run([sys.executable, "-c", SAYS], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"
    assert ("torn down" in done.stderr) == (not quiet)
