"""The labels of a workspace as they stand: finished, of its cube, and whether a truth had a hand in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.store import Store
from tasks.raster.classes import IGNORE, ClassMap, class_map
from tasks.raster.grid import Window, windows
from tasks.raster.labels import SHARD, open_labels
from tasks.raster.truth import file_fingerprint
from tasks.workspace import LABELS, Workspace

GIVEN_OUT = "review/objects.parquet"
"""The objects as a review gave them out: what the edited file is compared with."""
LOOKED_AT = "review/truths.json"
"""sha256 of every truth that a review showed: what is corrected after it is no longer apart from that truth."""
DROPPED = "review/dropped.json"
"""Vectors that labels were to be made from, and that the picture does not show."""


@dataclass(frozen=True, slots=True)
class MadeLabels:
    """Labels, and what is known of how they were made."""

    group: zarr.Group
    about: dict[str, Any]

    @property
    def classes(self) -> ClassMap:
        """Their classes in id order."""
        return class_map(self.about["classes"])

    def fold(self, reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Classes of a reference as these labels can tell them, (y, x): what they do not know is `other` to them.

        Where they say nothing of the rest, 255.
        """
        table = np.full(256, IGNORE, np.uint8)
        names, known = self.about["classes"], set(self.about["known"])
        for number, name in enumerate(names):
            if name in known or (number == 0 and self.about["rest"] == "other"):
                table[number] = number
            elif self.about["rest"] == "other":
                table[number] = 0
        return table[reference]

    def read(self, window: Window, what: str = "label") -> NDArray[Any]:
        """(y, x) of `label`, `instance` or `confidence`."""
        return np.asarray(self.group[what][window])  # type: ignore[index]

    def has_objects(self) -> bool:
        """Whether they give ids to objects; those of a class raster do not."""
        shape: tuple[int, int] = self.group["label"].shape[:2]  # type: ignore[union-attr, assignment]
        return any(self.read(window, "instance").any() for window in windows(shape, SHARD))

    def refuse_their_truth(self, truth: str, *, ablation: bool) -> bool:
        """Whether they were made from a truth or corrected in its sight, which then says nothing of their quality.

        A file is known again by its bytes; the same shapes saved anew are not.

        Raises:
            UnusableInput: they were, and that is not what was asked for.
        """
        leaks, how = bool(self.about["from_truth"]), "made from"
        if not leaks:
            mark = file_fingerprint(truth)
            seen = mark in self.about.get("looked_at", [])
            leaks, how = seen or mark in self.about["sources"], "corrected by a review against" if seen else how
        if leaks and not ablation:
            raise UnusableInput(
                f"The labels were {how} {truth}, so scoring them against it says nothing; "
                "give --ablation to do so on purpose."
            )
        return leaks


def truths_looked_at(store: Store) -> list[str]:
    """sha256 of every truth that a workspace's labels were reviewed against."""
    found: list[str] = json.loads(store.read(LOOKED_AT) or b"[]")
    return found


def remember_truth(store: Store, truth: str) -> None:
    """Remember that a review against a truth is given out."""
    store.write(LOOKED_AT, json.dumps(sorted({*truths_looked_at(store), file_fingerprint(truth)})).encode())


def open_made_labels(workspace: Workspace) -> MadeLabels:
    """Open a workspace's labels.

    Raises:
        UnusableInput: there are none, they are not finished, or they are of other pixels than the cube's.
    """
    group = open_labels(workspace.store.zarr(LABELS))
    about: dict[str, Any] = dict(group.attrs)
    if about["cube"] != workspace.cube().fingerprint:
        command = "dataset import" if str(about["made_by"]).startswith("import ") else "label"
        raise UnusableInput(
            f"The labels in {workspace.store.url} are not finished, or of other pixels than its cube's; "
            f"run 'geoloom {command}' again."
        )
    return MadeLabels(group, about)
