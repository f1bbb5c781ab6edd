"""Labels as they stood before a labelling that starts from them: kept beside those that it makes, in `given.zarr`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from infra.errors import UnusableInput
from tasks.made_labels import MadeLabels, open_made_labels
from tasks.raster.digest import digest
from tasks.raster.fingerprint import fingerprint
from tasks.raster.grid import Window, windows
from tasks.raster.labels import SHARD, create_labels, open_labels, set_cube, write_labels
from tasks.raster.zarrays import change_group, consolidate
from tasks.units import writing_to
from tasks.workspace import LABELS, Workspace

GIVEN = "given.zarr"
PRESENT = "present"
"""The way that starts from them."""
NAMES = ("label", "instance", "confidence")


@dataclass(frozen=True, slots=True)
class GivenLabels:
    """Labels in the numbering of a workspace's classes."""

    group: zarr.Group
    table: NDArray[np.uint8]
    """(256,) from their class ids to the workspace's."""
    known: frozenset[int]
    """Classes that they tell from everything else."""
    rest: str
    """What pixels are of which they say nothing else: see `tasks/raster/labels.py`."""
    from_truth: bool
    content: str
    """What stands for them and their pixels."""

    def read(self, window: Window, name: str) -> NDArray[Any]:
        """(y, x) of `label`, `instance` or `confidence`."""
        pixels = np.asarray(self.group[name][window])  # type: ignore[index]
        return self.table[pixels] if name == "label" else pixels


def keep_given(workspace: Workspace) -> GivenLabels:
    """Set a workspace's labels aside, unless they were themselves made from such; returns those set aside.

    Raises:
        UnusableInput: there are none, or they are not finished.
    """
    try:
        made = open_made_labels(workspace)
    except UnusableInput:
        if not workspace.store.exists(f"{GIVEN}/zarr.json"):
            raise
    else:
        if PRESENT not in str(made.about["made_by"]).split(", "):
            _set_aside(made, workspace)
    return open_given(workspace)


def _set_aside(made: MadeLabels, workspace: Workspace) -> None:
    store = workspace.store
    place = store.zarr(GIVEN)
    shape = (workspace.grid.shape[0], workspace.grid.shape[1])
    about = {n: made.about[n] for n in ("made_by", "sources", "from_truth", "known", "rest")}
    with writing_to(store):
        store.delete_all(GIVEN)
        create_labels(place, workspace.grid, classes=tuple(made.about["classes"]), **about)
        sums = []
        for window in windows(shape, SHARD):
            pixels = {name: made.read(window, name) for name in NAMES}
            write_labels(place, window, **pixels)
            sums.append(digest(*pixels.values()))
        change_group(place).attrs["content"] = fingerprint({"about": about, "blocks": sums})
        consolidate(place)
        set_cube(place, str(made.about["cube"]))  # last: they are whole


def open_given(workspace: Workspace) -> GivenLabels:
    """The labels that were set aside.

    Raises:
        UnusableInput: there are none, or they are not whole.
    """
    group = open_labels(workspace.store.zarr(GIVEN))
    about: dict[str, Any] = dict(group.attrs)
    if about["cube"] != workspace.cube().fingerprint:
        raise UnusableInput(
            f"The labels in {workspace.store.url}/{GIVEN} are not whole, or of other pixels than the cube's, and "
            f"{LABELS} holds what was made from them; import or label again."
        )
    names = workspace.classes.names
    known = frozenset(names.index(name) for name in about["known"] if name in names)
    return GivenLabels(
        group=group,
        table=workspace.classes.translation(about["classes"]),
        known=known,
        rest=str(about["rest"]),
        from_truth=bool(about["from_truth"]),
        content=str(about["content"]),
    )
