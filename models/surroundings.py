"""What Segment Anything makes of a pixel's surroundings, in few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.decomposition import PCA


class Surroundings:
    """The directions in which embeddings differ most (principal components), each of variance 1."""

    def __init__(self, components: int) -> None:
        """Take so many, or all where there are fewer."""
        self._components = components

    def fit(self, embeddings: Sequence[NDArray[np.float32]]) -> Self:
        """Find them in embeddings of (c, v, u)."""
        flat = np.concatenate([e.reshape(len(e), -1).T for e in embeddings])
        self._pca = PCA(min(self._components, *flat.shape), whiten=True, random_state=0).fit(flat)
        return self

    def at(
        self,
        embedding: NDArray[np.float32],
        rows: NDArray[np.intp],
        cols: NDArray[np.intp],
        *,
        cells: tuple[float, float],
    ) -> NDArray[np.float32]:
        """Of pixels of a picture, interpolated between the middles of the embedding's cells.

        Args:
            embedding: (c, v, u) of the picture.
            rows: (n,) of the pixels.
            cols: (n,).
            cells: rows and columns of the embedding that a pixel takes.

        Returns:
            (n, components).
        """
        parts = self._pca.transform(embedding.reshape(len(embedding), -1).T).T.reshape(-1, *embedding.shape[1:])
        places = [(pixels + 0.5) * cell - 0.5 for pixels, cell in zip((rows, cols), cells, strict=True)]
        found = [ndimage.map_coordinates(part, places, order=1, mode="nearest") for part in parts]
        return np.stack(found, axis=-1, dtype=np.float32)
