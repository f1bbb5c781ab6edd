"""Prefect on one machine: where no server is named, a flow starts one of its own for as long as it runs."""

from __future__ import annotations

import os

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # an error is told once, by the command line
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",  # its shutdown prints CancelledError tracebacks that mean nothing
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def quiet_prefect() -> None:
    """Set what Prefect reads at import: no telemetry, and no log lines between the progress bars."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
