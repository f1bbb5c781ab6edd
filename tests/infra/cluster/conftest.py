"""Real schedulers and workers (tests/support/dask_machines.py), which find the jobs of this folder."""

import sys

from dask_machines import JOBS, certificate, dask_processes, showing  # noqa: F401 - fixtures

sys.path.insert(0, JOBS)  # so that workers of this process find cluster_jobs; those of the command line by PYTHONPATH
