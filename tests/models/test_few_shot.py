"""A few labelled windows teach which class a pixel is of."""

import numpy as np
import pytest
from scipy import ndimage

from infra.errors import UnusableInput
from models.few_shot import UNDECIDED, FewShot

RNG = np.random.default_rng(0)
SHAPE, CELLS = (96, 128), (0.125, 0.125)
CENTRES = RNG.normal(size=(5, 6)).astype(np.float32)
MEANINGS = RNG.normal(size=(5, 32)).astype(np.float32)


def window(ids=(0, 1, 2, 4), look=1.0, meaning=1.0):
    """(features, embedding, classes) of blobs: both tell the class, under noise."""
    score = np.stack([ndimage.gaussian_filter(RNG.normal(size=SHAPE), 8) for _ in ids])
    classes = np.array(ids, np.uint8)[score.argmax(0)]
    features = CENTRES[classes] * look + RNG.normal(size=(*SHAPE, 6)) * 1.5
    cells = classes[4::8, 4::8]
    embedding = MEANINGS[cells] * meaning + RNG.normal(size=(*cells.shape, 32))
    return features.astype(np.float32), embedding.transpose(2, 0, 1).astype(np.float32), classes


def taught(*windows, known=None):
    looks, embeddings, classes = (list(part) for part in zip(*windows, strict=True))
    return FewShot().fit(looks, embeddings, known or classes, cells=[CELLS] * len(windows))


def right(model, *, look=1.0, meaning=1.0):
    features, embedding, classes = window(look=look, meaning=meaning)
    likely = model.predict(features, embedding, cells=CELLS)
    np.testing.assert_allclose(likely.sum(2), 1, atol=1e-5)
    return np.mean(model.ids[likely.argmax(2)] == classes)


def test_look_and_embedding_both_count():
    model = taught(window(), window(), window())
    both = right(model)
    assert list(model.ids) == [0, 1, 2, 4]
    assert both > 0.85
    assert both > right(taught(window(meaning=0), window(meaning=0)), meaning=0) + 0.05
    assert both > right(taught(window(look=0), window(look=0)), look=0) + 0.05


def test_pixels_without_a_class_teach_nothing():
    """Half of the labels are wrong, and said to be unknown."""
    windows = [window(), window()]
    known = [np.where(np.indices(SHAPE)[1] < 64, ids, UNDECIDED).astype(np.uint8) for _, _, ids in windows]
    rotten = [(look, embedding, np.where(np.indices(SHAPE)[1] < 64, ids, 0)) for look, embedding, ids in windows]
    assert right(taught(*windows, known=known)) > right(taught(*rotten)) + 0.05


def test_the_same_windows_teach_the_same():
    windows = [window(), window()]
    features, embedding, _ = window()
    first, again = (taught(*windows).predict(features, embedding, cells=CELLS) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("ids", [(3,), ()])
def test_one_class_is_too_few(ids):
    look, embedding, classes = window()
    classes[:] = ids[0] if ids else UNDECIDED
    with pytest.raises(UnusableInput, match=f"show {len(ids)} class.*at least two"):
        taught((look, embedding, classes))
