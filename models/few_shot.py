"""Few-shot labelling: classes of pixels, taught by a few labelled windows.

What a pixel looks like (`tasks/raster/appearance.py`, `models/deep_look.py`) says more of its class than what Segment
Anything makes of its surroundings, which says what belongs together and not what it is; the two together say most. Two
weak classifiers are averaged, as trees and a linear model err differently. `benchmarks/few_shot.py` measures it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from infra.errors import UnusableInput
from models.surroundings import Surroundings

UNDECIDED = 255
"""The class of a pixel that the examples do not label."""
COMPONENTS = 16
"""Of SAM's embedding, those in which the examples differ most."""
SAMPLE = 20_000
"""Pixels that a class is taught by at most."""
PRIOR = 0.25
"""Classes are taught evenly; how common they are in the examples counts with this power."""
AT_ONCE = 1 << 16
"""Pixels that are classed at once."""


class FewShot:
    """Which class a pixel is of, by its look and SAM's embedding."""

    def fit(
        self,
        looks: Iterable[NDArray[np.float32]],
        embeddings: list[NDArray[np.float32]],
        classes: list[NDArray[np.uint8]],
        *,
        cells: list[tuple[float, float]],
        step: int = 1,
    ) -> Self:
        """Learn from labelled windows.

        Args:
            looks: (y, x, d) of each window; of one after the other.
            embeddings: (c, v, u) of each, SAM's.
            classes: (y, x) ids of each; 255 is not known.
            cells: rows and columns of the embedding that a pixel of the window takes.
            step: of a window's pixels, looks and classes are one of every so many rows and columns.

        Raises:
            UnusableInput: they show fewer than two classes.
        """
        counts = np.sum([np.bincount(ids.ravel(), minlength=256)[:UNDECIDED] for ids in classes], axis=0)
        self.ids = np.flatnonzero(counts)
        if len(self.ids) < 2:  # noqa: PLR2004 a classifier needs two classes
            raise UnusableInput(
                f"The examples show {len(self.ids)} class(es), expected at least two; "
                "add example windows that show another class."
            )
        self._prior = (counts[self.ids] / counts.sum()) ** PRIOR
        self._surroundings = Surroundings(COMPONENTS).fit(embeddings)
        share = np.minimum(1.0, SAMPLE / np.maximum(counts, 1))
        chance = np.random.default_rng(0)
        features, labels = [], []
        for look, embedding, ids, size in zip(looks, embeddings, classes, cells, strict=True):
            known = ids != UNDECIDED
            taken = known & (chance.random(ids.shape) < share[np.where(known, ids, 0)])
            features.append(self._features(look, embedding, size, step=step)[taken])
            labels.append(ids[taken])
        pixels, known_ids = np.concatenate(features), np.concatenate(labels)
        self._models = (
            HistGradientBoostingClassifier(
                max_iter=60, max_leaf_nodes=15, min_samples_leaf=200, l2_regularization=10.0, early_stopping=False,
                class_weight="balanced", random_state=0,
            ).fit(pixels, known_ids),
            make_pipeline(
                StandardScaler(), LogisticRegression(C=0.01, max_iter=200, class_weight="balanced")
            ).fit(pixels, known_ids),
        )  # fmt: skip
        return self

    def predict(
        self, look: NDArray[np.float32], embedding: NDArray[np.float32], *, cells: tuple[float, float], step: int = 1
    ) -> NDArray[np.float32]:
        """How likely each class of `ids` is.

        Args:
            look: (y, x, d), as fitted.
            embedding: (c, v, u) of the same window.
            cells: rows and columns of the embedding that a pixel of the window takes.
            step: of the window's pixels, `look` is one of every so many rows and columns.

        Returns:
            (y, x, n) of sum 1.
        """
        features = self._features(look, embedding, cells, step=step).reshape(look.shape[0] * look.shape[1], -1)
        found = np.empty((len(features), len(self.ids)), np.float32)
        for start in range(0, len(features), AT_ONCE):
            part = features[start : start + AT_ONCE]
            both = [model.predict_proba(part) for model in self._models]
            found[start : start + AT_ONCE] = np.sqrt(both[0] * both[1]) * self._prior
        found /= found.sum(1, keepdims=True)
        return found.reshape(*look.shape[:2], -1)

    def _features(
        self, look: NDArray[np.float32], embedding: NDArray[np.float32], cells: tuple[float, float], *, step: int
    ) -> NDArray[np.float32]:
        """(y, x, d + components)."""
        rows, cols = (step * axis.ravel() for axis in np.indices(look.shape[:2]))
        around = self._surroundings.at(embedding, rows, cols, cells=cells)
        return np.concatenate([look, around.reshape(*look.shape[:2], -1)], axis=-1, dtype=np.float32)
