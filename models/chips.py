"""Training samples, in the source's own units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Chips:
    """A batch of square windows of scenes with their labels."""

    images: NDArray[Any]
    """(n, band, y, x), any numeric dtype, source units."""
    labels: NDArray[np.uint8]
    """(n, y, x) class ids, 255 = ignore."""
    valid: NDArray[np.bool_]
    """(n, y, x), True = data."""
    told: NDArray[np.bool_]
    """(n, class) which classes each sample's labels can tell: what they never tell is `other` to them."""
    sure: NDArray[np.float32] | None = None
    """(n, y, x) 0..1, how much each label counts; all alike if None."""
    objects: NDArray[np.int32] | None = None
    """(n, y, x) ids of objects within each sample, 0 = none; None where they are not learnt."""

    def __post_init__(self) -> None:
        """Check that they fit together."""
        plane = (self.images.shape[0], *self.images.shape[2:])
        if self.labels.shape != plane or self.valid.shape != plane or len(self.told) != len(self.images):
            raise ValueError(
                f"images are {self.images.shape}, labels {self.labels.shape}, valid {self.valid.shape}, told "
                f"{self.told.shape}: expected (n, band, y, x), twice (n, y, x) and (n, class)"
            )
        if self.labels.dtype != np.uint8 or self.valid.dtype != np.bool_ or self.told.dtype != np.bool_:
            raise ValueError(
                f"labels are {self.labels.dtype}, valid is {self.valid.dtype}, told is {self.told.dtype}: expected "
                "uint8, bool and bool"
            )
        if self.sure is not None and (self.sure.shape != plane or self.sure.dtype != np.float32):
            raise ValueError(f"sure is {self.sure.dtype} {self.sure.shape}: expected float32 {plane}")
        if self.objects is not None and (self.objects.shape != plane or self.objects.dtype != np.int32):
            raise ValueError(f"objects is {self.objects.dtype} {self.objects.shape}: expected int32 {plane}")

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def join(cls, parts: Sequence[Chips]) -> Chips:
        """One batch of several, in their order; where one says how sure it is, the others are certain.

        Objects are told by all of them or by none.
        """
        sure = None
        if any(part.sure is not None for part in parts):
            sure = np.concatenate([np.ones(p.labels.shape, np.float32) if p.sure is None else p.sure for p in parts])
        images, labels, valid, told = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "labels", "valid", "told")
        )
        known = [part.objects for part in parts if part.objects is not None]
        return cls(images, labels, valid, told, sure, np.concatenate(known) if known else None)

    def part(self, which: slice) -> Chips:
        """Some of the samples."""
        sure = None if self.sure is None else self.sure[which]
        objects = None if self.objects is None else self.objects[which]
        return Chips(self.images[which], self.labels[which], self.valid[which], self.told[which], sure, objects)


Draw: TypeAlias = Callable[[int], Chips]
"""Step -> its batch: a pure function, so that a resumed training sees the batches that it would have seen."""
