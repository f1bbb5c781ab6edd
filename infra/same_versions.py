"""Scheduler, workers and flow have the same installation: another version may give other bits, or none.

Dask itself only warns. What differs is told as one sentence, before the first job.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import metadata

from distributed import Client

from infra.errors import UnusableInput

PACKAGES = ("geoloom", "dask", "distributed", "numpy", "zarr", "torch")
REMEDY = "install the same set everywhere (constraints.txt)"


def installed() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on; a package that is not there is left out."""
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def require_same_scheduler(client: Client) -> None:
    """Compare this process with the scheduler.

    Raises:
        UnusableInput: the first difference, with both versions.
    """
    _compare(_ask_scheduler(client), "scheduler", needs_torch=False)


def require_same_workers(client: Client, workers: Iterable[str]) -> list[str]:
    """Compare this process with the workers at these addresses; those that answered, as some may have just gone.

    Raises:
        UnusableInput: the first difference, with both versions.
    """
    told = client.run(installed, workers=list(workers), on_error="return")
    there = [address for address in sorted(told) if not isinstance(told[address], OSError)]
    for address in there:
        _compare(told[address], f"worker {address}", needs_torch=True)
    return there


def _ask_scheduler(client: Client) -> dict[str, str] | Exception:
    try:
        found: dict[str, str] = client.run_on_scheduler(installed)
    except OSError:  # it is gone
        raise
    except Exception as error:  # noqa: BLE001 - see _compare
        return error
    return found


def _compare(there: dict[str, str] | Exception, place: str, *, needs_torch: bool) -> None:
    if isinstance(there, Exception):  # what cannot import `installed` cannot call it; Dask wraps that in several ways
        raise UnusableInput(f"The Dask {place} has no geoloom like this one ({there}); {REMEDY}.") from there
    here = installed()
    for name in ("Python", *PACKAGES):
        if name == "torch" and name not in there and not needs_torch:
            continue
        ours, theirs = here.get(name, "none"), there.get(name, "none")
        if ours != theirs:
            raise UnusableInput(f"The Dask {place} has {name} {theirs} and this process has {ours}; {REMEDY}.")
