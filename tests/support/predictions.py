"""A workspace whose prediction is known: made of planes, not of a network."""

from infra.ledger import Entry, Ledger
from infra.store import open_store
from tasks.raster import probability as prob
from tasks.raster.digest import digest
from tasks.raster.grid import windows
from tasks.units import unit_of
from tasks.workspace import PREDICT, PROBABILITY, open_workspace


def put_prediction(workspace, planes, *, side=1024, classes=None, colours=None):
    """Store planes (class, y, x) uint8 as a workspace's prediction, as 'predict' would have left it."""
    store = open_store(workspace)
    opened = open_workspace(store)
    place = store.zarr(PROBABILITY)
    names = classes or opened.classes.names
    store.delete_all(PROBABILITY)
    Ledger(store, PREDICT).forget_all()
    prob.create_probability(place, opened.grid, classes=names, shard=side, attributes={})
    units = {}
    for window in windows(planes.shape[1:], side):
        part = planes[(slice(None), *window)]
        prob.write_probability(place, window, part)
        unit, mark = unit_of(window, side), digest(part)
        valid = int((part[0] != 255).sum())
        Ledger(store, PREDICT).record(Entry(unit, mark, digest(part), short=False, facts={"valid": valid, "lost": []}))
        units[unit] = mark
    about = {
        "trained_here": False, "model": "0" * 64, "cube": opened.cube().fingerprint, "parameters": "none",
        "colours": colours or [list(c.colour) for c in opened.classes.classes], "units": prob.state_of(units),
        "card": {"name": "none", "architecture": "none", "bands": ["red"], "mean": [0.0], "std": [1.0], "tile": 512,
                 "weights": "none", "sha256": "0" * 64},
    }  # fmt: skip
    prob.update_attributes(place, about)
