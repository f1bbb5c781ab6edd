"""Loaded by a scheduler or worker of the tests: its geoloom says that it is of another version."""

from importlib import metadata


def version(name, *, real=metadata.version):
    """The version of a package, but for one."""
    return "0.0.9" if name == "geoloom" else real(name)


metadata.version = version


def dask_setup(_server):
    """Nothing more to do."""
