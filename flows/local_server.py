"""Prefect on one machine: where no server is named, a flow starts one of its own for as long as it runs."""

from __future__ import annotations

import os

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # an error is told once, by the command line
    # Its server's shutdown prints CancelledError tracebacks that mean nothing, and so does its database library's.
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # Its server takes 14 s to start where nothing else runs, and Prefect gives up after 20.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def quiet_prefect() -> None:
    """Set what Prefect reads at import: no telemetry, no log lines between the progress bars, time for its server."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
