"""Objects within a window, numbered."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def numbered(
    label: NDArray[np.uint8], classes: Iterable[int], *, instance: NDArray[np.uint32] | None = None
) -> NDArray[np.int32]:
    """(y, x) a number from 1 for each object of some classes; 0 elsewhere.

    Args:
        label: (y, x) class ids.
        classes: ids of those that have objects.
        instance: (y, x) ids of objects, 0 where they are not told apart: there, and without it, connected regions of a
            class are its objects.
    """
    found, count = np.zeros(label.shape, np.int32), 0
    for klass in classes:
        free = label == klass
        if instance is not None:
            told = free & (instance > 0)
            ids, numbers = np.unique(instance[told], return_inverse=True)
            found[told] = numbers + 1 + count
            count += len(ids)
            free &= ~told
        parts, more = ndimage.label(free)
        found[free] = parts[free] + count
        count += more
    return found
