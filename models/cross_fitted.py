"""Labels mended by what they teach: a classifier of pixels fitted on rough labels, asked where it saw none of them.

Rough labels are right more often than not, and wrong in no way that pixels show: what a classifier learns from them is
what they have in common (Natarajan et al. 2013, "Learning with noisy labels"). One that is asked about the very pixels
it was taught gives back their labels with their mistakes; hence two, each asked about the other's part.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

MOST = 4.0
"""Logits are cut here: no pixel is surer than 98 %."""
ENOUGH = 300
"""Pixels of either label that each part must have."""


class CrossFitted:
    """Whether a pixel is of a class, by its features.

    The mean of two logits: trees tell more where there is much to learn from, a linear model less that is wrong where
    there is little.
    """

    def __init__(self) -> None:
        """Begin unfitted."""
        self._models: list[tuple[HistGradientBoostingClassifier | Pipeline, ...]] = [(), ()]

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.bool_], parts: NDArray[np.intp]) -> Self:
        """Learn from as many pixels of either label; where a part has too few of one, nothing is learnt from both.

        Args:
            features: (n, d).
            labels: (n,).
            parts: (n,) 0 or 1: which half of the scene each lies in.
        """
        counts = np.bincount(2 * parts + labels, minlength=4)
        if counts.min() >= ENOUGH:
            chance = np.random.default_rng(0)
            for part in (0, 1):
                each = [np.flatnonzero((parts == part) & (labels == label)) for label in (False, True)]
                fewest = min(map(len, each))
                here = np.sort(np.concatenate([chance.permutation(which)[:fewest] for which in each]))
                self._models[part] = tuple(m.fit(features[here], labels[here]) for m in (_trees(), _linear()))
        return self

    @property
    def taught(self) -> bool:
        """Whether it has learnt anything."""
        return all(self._models)

    def logits(self, features: NDArray[np.float32], parts: NDArray[np.intp]) -> NDArray[np.float32]:
        """How much the picture speaks for the class, were half of all pixels of it.

        Args:
            features: (n, d), as fitted.
            parts: (n,) as in `fit`; each is judged by what the other taught.

        Returns:
            (n,) in -4..4; 0 where nothing was taught.
        """
        found = np.zeros(len(features), np.float32)
        for part, models in enumerate(self._models):
            here = parts != part
            if models and here.any():
                found[here] = np.mean([model.decision_function(features[here]) for model in models], axis=0)
        return np.clip(found, -MOST, MOST)


def _trees() -> HistGradientBoostingClassifier:
    # Rough labels want weak trees.
    return HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=300,
        l2_regularization=10.0,
        early_stopping=False,
        random_state=0,
    )


def _linear() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
