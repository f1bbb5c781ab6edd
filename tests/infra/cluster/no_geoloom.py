"""Loaded by a scheduler or worker of the tests: geoloom cannot be imported there."""

import sys

sys.modules["infra"] = None


def dask_setup(_server):
    """Nothing more to do."""
