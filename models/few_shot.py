"""Few-shot labelling: what a SAM mask looks like as a vector, and a classifier fitted on the masks of a few windows.

SAM finds regions and does not say what they are. Its embedding under a mask, with colour, size and shape, is what a
linear classifier gets; a window of 512 gives 20 to 40 masks against 520 features, hence the strong regularisation.

The examples must look like the rest. Three windows of three Dubai scenes, each classed by the other two (33 masks a fit
on average): 0.43 of the masks and 0.28 of their pixels were right, where always saying the commonest class gives 0.63.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from infra.errors import UnusableInput

UNDECIDED = 255
"""The class of a mask that mixes classes or lies where the truth says nothing."""


def mask_features(
    embedding: NDArray[np.float32],
    image: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    *,
    cells: tuple[float, float],
) -> NDArray[np.float32]:
    """The look of each mask: SAM's embedding, colour, size and shape.

    A cell of the embedding counts by the number of the mask's pixels in it, so that masks smaller than a cell have
    features too.

    Args:
        embedding: (256, 64, 64) or so, SAM's for this window.
        image: (y, x, 3) uint8 RGB.
        masks: (n, y, x) bool, none empty.
        cells: rows and columns of the embedding that a pixel takes.

    Returns:
        (n, 520) float32: mean and standard deviation of the embedding (512) and of the colours (6, in 0..1), log of the
        area in pixels, and compactness (1 for a square, towards 0 for lines).
    """
    height, width = image.shape[:2]
    row = (np.arange(height) + 0.5) * cells[0]
    column = (np.arange(width) + 0.5) * cells[1]
    cell = row.astype(np.intp)[:, None] * embedding.shape[2] + column.astype(np.intp)  # (y, x) → index of its cell
    flat = embedding.reshape(len(embedding), -1).astype(np.float64)  # (256, 4096)
    found = [_features(flat, cell[mask], image[mask] / 255.0, mask) for mask in masks]
    return np.array(found, np.float32).reshape(len(masks), 2 * len(flat) + 8)


def _features(
    flat: NDArray[np.float64], cells: NDArray[np.intp], colours: NDArray[np.float64], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    share = np.bincount(cells, minlength=flat.shape[1]) / len(cells)
    under = np.flatnonzero(share)
    values, weights = flat[:, under], share[under]
    mean = values @ weights
    spread = np.sqrt(np.maximum(values**2 @ weights - mean**2, 0))
    padded = np.pad(mask, 1)
    edges = sum(int(np.count_nonzero(np.diff(padded, axis=axis))) for axis in (0, 1))
    shape = (np.log(len(cells)), 16 * len(cells) / edges**2)
    return np.concatenate([mean, spread, colours.mean(0), colours.std(0), shape])


def majority_classes(
    masks: NDArray[np.bool_], truth: NDArray[np.uint8], *, purity: float = 0.7, coverage: float = 0.5
) -> NDArray[np.uint8]:
    """The class that fills each mask; 255 where none does, or where the truth is mostly 255.

    Args:
        masks: (n, y, x) bool.
        truth: (y, x) class ids, 255 = ignore.
        purity: least share of the class among the mask's labelled pixels.
        coverage: least share of the mask's pixels that are labelled.

    Returns:
        (n,) uint8.
    """
    classes = np.full(len(masks), UNDECIDED, np.uint8)
    for number, mask in enumerate(masks):
        counts = np.bincount(truth[mask], minlength=256)
        labelled = int(counts[:UNDECIDED].sum())
        if labelled and labelled >= coverage * counts.sum() and counts[:UNDECIDED].max() >= purity * labelled:
            classes[number] = counts[:UNDECIDED].argmax()
    return classes


class FewShotClassifier:
    """Which class a mask is, by its features: logistic regression with classes weighted evenly."""

    def __init__(self, *, regularisation: float = 0.01) -> None:
        """Begin unfitted.

        Args:
            regularisation: scikit-learn's C; smaller is stronger.
        """
        self._model = make_pipeline(
            StandardScaler(), LogisticRegression(C=regularisation, class_weight="balanced", max_iter=1000)
        )

    def fit(self, features: NDArray[np.float32], classes: NDArray[np.uint8]) -> Self:
        """Learn from masks whose class is known; undecided ones (255) are left out.

        Args:
            features: (n, d).
            classes: (n,) class ids.

        Raises:
            UnusableInput: fewer than two classes have a mask.
        """
        known = classes != UNDECIDED
        present = np.unique(classes[known])
        if len(present) < 2:  # noqa: PLR2004 a classifier needs two classes
            raise UnusableInput(
                f"The examples give masks of {len(present)} class(es), expected at least two; "
                "add example windows that show another class."
            )
        self._model.fit(features[known], classes[known])
        return self

    @property
    def classes(self) -> frozenset[int]:
        """Ids of the classes that it has learnt."""
        return frozenset(int(n) for n in self._model.classes_)

    def predict(self, features: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The class of each mask and how sure it is.

        Args:
            features: (n, d), as fitted.

        Returns:
            (n,) class ids and (n,) probabilities in 0..1.
        """
        if not len(features):
            return np.zeros(0, np.uint8), np.zeros(0, np.float32)
        probability = self._model.predict_proba(features)
        best = probability.argmax(1)
        return self._model.classes_[best].astype(np.uint8), probability.max(1).astype(np.float32)
